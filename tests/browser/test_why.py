"""Heat maps, verdicts in words and feedback, in a real Chromium."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Route, expect

from tests.browser.test_browser import BLACK, OVERFLOWS, TEDDY, cards, choose, live, opened, photo, site
from tests.live import Live, live_service

__all__ = ["live", "site"]  # fixtures

CLASSES = ["grizzly", "black", "teddys"]
CORNER = [[1.0] + [0.0] * 6, *[[0.0] * 7] * 6]
NOWHERE = [[0.0] * 7] * 7
# left, top, width and height of the canvas as shares of the photo as it is shown, told by the photo's own box
PLACE = """card => {
  const image = card.querySelector("img"), box = image.getBoundingClientRect();
  const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  const [left, top] = [box.left + (box.width - width) / 2, box.top + (box.height - height) / 2];
  const map = card.querySelector("canvas").getBoundingClientRect();
  return [(map.left - left) / width, (map.top - top) / height, map.width / width, map.height / height];
}"""


def picture(width: int, height: int) -> bytes:
    """The drawn teddy bear at another shape."""
    out = io.BytesIO()
    Image.open(io.BytesIO(TEDDY)).resize((width, height)).save(out, "JPEG")
    return out.getvalue()


def answer(verdict: str, **more: Any) -> dict[str, Any]:
    image = {"format": "JPEG", "width": 360, "height": 288, "notes": [{"code": "dark", "text": "very dark"}]}
    shares = zip(CLASSES, (0.5, 0.3, 0.2), strict=True)
    return {"predictions": [list(pair) for pair in shares], "verdict": verdict, "image": image, **more}


@pytest.mark.parametrize("viewport", [(1100, 800), (320, 640)], ids=["desktop", "phone"])
@pytest.mark.parametrize("size", [(400, 300), (200, 500)], ids=["landscape", "portrait"])
def test_the_map_lies_on_the_square_that_was_seen(
    chromium: Browser, live: Live, viewport: tuple[int, int], size: tuple[int, int]
) -> None:
    with opened(chromium, live, viewport={"width": viewport[0], "height": viewport[1]}) as page:
        choose(page, photo("bear.jpg", picture(*size)))
        cards(page).get_by_role("button", name="Show where").click()
        expect(cards(page).locator("canvas")).to_be_visible()
        side = min(size) * 224 / 256
        seen = [(size[0] - side) / 2 / size[0], (size[1] - side) / 2 / size[1], side / size[0], side / size[1]]
        assert cards(page).evaluate(PLACE) == pytest.approx(seen, abs=0.01)
        assert not page.evaluate(OVERFLOWS)


def test_maps_are_asked_for_when_wanted(chromium: Browser, live: Live, site: str) -> None:
    with opened(chromium, live) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.get_by_label("web address").fill(f"http://{site}/teddy.jpg")
        page.get_by_role("button", name="Classify").click()
        switch = cards(page).get_by_role("button", name="Show where")
        switch.click()
        expect(cards(page).locator(".place")).to_contain_text("teddys")
        expect(switch).to_have_attribute("aria-pressed", "true")
        cards(page).get_by_role("button", name="black").click()
        expect(cards(page).locator(".place")).to_contain_text("black")
        cards(page).get_by_role("button", name="teddys").click()  # known by now
        expect(cards(page).locator("canvas")).to_have_count(1)
        switch.click()
        expect(cards(page).locator("canvas")).to_have_count(0)
        named = [url.partition("explain=")[2] for url in asked if "/classify-url" in url]
        assert named == ["", "teddys", "black"]


def test_the_map_in_words(chromium: Browser, live: Live) -> None:
    def reply(route: Route) -> None:
        name = route.request.url.partition("explain=")[2]
        grid = CORNER if name == "grizzly" else NOWHERE
        route.fulfill(json=answer("grizzly", heatmap={"class": name, "grid": grid, "box": [0.15, 0.0625, 0.7, 0.875]}))

    with opened(chromium, live) as page:
        page.route("**/upload*", reply)
        choose(page, photo("bear.jpg", TEDDY))
        cards(page).get_by_role("button", name="Show where").click()
        expect(cards(page).locator(".place")).to_contain_text("is in the upper left part of the photo.")
        opacity = (
            "canvas => [...canvas.getContext('2d').getImageData(0, 0, 112, 112).data].filter((_, i) => i % 4 == 3)"
        )
        drawn = cards(page).locator("canvas").evaluate(opacity)
        assert drawn[0] == 191 and not any(drawn[112 * 56 :])  # 0.75 · 255 in the corner, nothing below the middle
        cards(page).get_by_role("button", name="black").click()
        expect(cards(page).locator(".place")).to_contain_text("Nothing in the photo speaks for")


@pytest.mark.parametrize(
    ("verdict", "words", "meaning"),
    [
        ("grizzly", "grizzly", ""),
        ("not sure", "Not sure: \u2068grizzly\u2069 or \u2068black\u2069", ""),
        ("none of these", "None of these", "It looks like none of the photos this model learned from."),
    ],
)
def test_verdicts_in_words(chromium: Browser, live: Live, verdict: str, words: str, meaning: str) -> None:
    with opened(chromium, live) as page:
        page.route("**/upload*", lambda route: route.fulfill(json=answer(verdict)))
        choose(page, photo("bear.jpg", TEDDY))
        expect(cards(page).get_by_role("heading")).to_have_text(words)
        expect(cards(page).locator(".meaning")).to_have_text(meaning)
        expect(cards(page).locator(".facts")).to_contain_text("⚠ very dark")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def keeping(folder: Path, site: str) -> Iterator[Live]:
    """A service with feedback on."""
    with live_service("--feedback-dir", str(folder), "--url-hosts", site) as service:
        yield service


def kept(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.rglob("*.jpg")}


def test_feedback_is_sent_after_consent_alone(chromium: Browser, keeping: Live, folder: Path) -> None:
    with opened(chromium, keeping) as page:
        choose(page, photo("bear.jpg", TEDDY))
        button = cards(page).get_by_role("button", name="Wrong? Tell us")
        button.click()
        expect(cards(page)).to_contain_text("This photo will be kept on this server")
        cards(page).get_by_role("button", name="Cancel").click()
        expect(button).to_be_focused()
        button.click()
        expect(cards(page).get_by_role("combobox").locator("option")).to_have_count(5)  # a prompt, 3 classes, none
        cards(page).get_by_role("button", name="Send").click()  # nothing is chosen yet
        assert kept(folder) == {}
        cards(page).get_by_role("combobox").select_option("none of these")
        cards(page).get_by_role("button", name="Send").click()
        expect(cards(page)).to_contain_text("Thank you. The photo was kept.")
        assert kept(folder) == {"_none of these": TEDDY}
        expect(page.locator("footer")).to_contain_text("not stored, unless you send one as feedback")


def test_a_photo_from_a_url_cannot_be_sent_as_feedback(chromium: Browser, keeping: Live, site: str) -> None:
    with opened(chromium, keeping) as page:
        page.get_by_label("web address").fill(f"http://{site}/teddy.jpg")
        page.get_by_role("button", name="Classify").click()
        expect(cards(page).get_by_role("button", name="Show where")).to_be_visible()
        expect(cards(page).get_by_role("button", name="Wrong?")).to_have_count(0)


def test_feedback_without_javascript(chromium: Browser, keeping: Live, folder: Path) -> None:
    with opened(chromium, keeping, java_script_enabled=False) as page:
        page.get_by_text("Was an answer wrong?").click()
        page.get_by_label("The photo", exact=True).set_input_files([photo("black.jpg", BLACK)])
        page.get_by_label("What is in the photo?").select_option("grizzly")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("status")).to_have_text("Thank you. The photo was kept.")
        expect(cards(page)).to_have_count(0)
        assert kept(folder)["grizzly"] == BLACK


def test_heat_map_without_javascript(chromium: Browser, live: Live) -> None:
    with opened(chromium, live, java_script_enabled=False) as page:
        page.route("**/upload", lambda route: route.continue_(url=f"{live.url}/upload?explain=1&thumbnail=1"))
        choose(page, photo("bear.jpg", TEDDY))
        page.get_by_role("button", name="Classify").first.click()
        expect(cards(page)).to_contain_text("Where \u2068teddys\u2069 was seen in the middle square of the photo")
        expect(cards(page).locator("svg rect").first).to_be_visible()
