"""Large photos are scaled down in a real Chromium before they are sent; the answers stay."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_browser import CAT, cards, choose, opened, photo
from tests.live import ROOT, Live, live_service
from tests.photos import encode, real_photos

PIXELS = 12e6
TURNED = "coffee.png"  # stored on its side, with EXIF data that says so
# Keeps what the page puts into forms.
SPY = """() => {
  const append = FormData.prototype.append;
  window.sent = [];
  FormData.prototype.append = function (name, value) {
    if (name === "file") window.sent.push(value);
    append.call(this, name, value);
  };
}"""
SENT = """() => new Promise((resolve) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.split(",")[1]);
  reader.readAsDataURL(window.sent.at(-1));
})"""
# What guards against fingerprints does to a canvas; the service's own file follows.
NOISE = """const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...box) {
  const image = read.apply(this, box);
  crypto.getRandomValues(image.data);
  return image;
};
"""


@dataclass(frozen=True)
class Large:
    """A photo of 12 megapixels: its file, its upright size."""

    name: str
    data: bytes
    size: tuple[int, int]


def large(path: Path) -> Large:
    image = Image.open(path).convert("RGB")
    scale = (PIXELS / (image.width * image.height)) ** 0.5
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    stored = image
    if path.name == TURNED:
        exif[0x0112] = 6
        stored = image.transpose(Image.Transpose.ROTATE_90)
    return Large(path.name, encode(stored, "JPEG", quality=95, exif=exif), image.size)


@pytest.fixture(scope="module")
def larges() -> list[Large]:
    return [large(path) for path in real_photos()]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_service("--feedback-dir", str(tmp_path_factory.mktemp("feedback"))) as service:
        yield service


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    with opened(chromium, live) as page:
        page.evaluate(SPY)
        yield page


def sent_by(page: Page) -> bytes:
    """The last file that the page put into a form."""
    return base64.b64decode(page.evaluate(SENT))


def answer_to(page: Page, name: str, content: bytes) -> tuple[dict[str, Any], bytes]:
    """Choose a photo: the service's answer, and what was sent to it."""
    with page.expect_response("**/upload") as response:
        choose(page, photo(name, content))
    return response.value.json(), sent_by(page)


def test_scaled_down_photos_get_the_same_answers(page: Page, live: Live, larges: list[Large]) -> None:
    differences = []
    for each in larges:
        answer, sent = answer_to(page, each.name, each.data)
        original = httpx2.post(f"{live.url}/upload", files={"file": each.data}, trust_env=False).json()
        before, after = dict(original["predictions"]), dict(answer["predictions"])
        differences.append(sum(abs(before[name] - after[name]) for name in before) / len(before))
        first, second = (p for _, p in original["predictions"][:2])
        assert first - second <= 0.1 or answer["predictions"][0][0] == original["predictions"][0][0], each.name

        width, height = (round(side * 512 / min(each.size)) for side in each.size)
        assert (answer["image"]["width"], answer["image"]["height"]) == (width, height)
        with Image.open(io.BytesIO(sent)) as copy:
            assert (copy.format, copy.size, dict(copy.getexif())) == ("JPEG", (width, height), {})
        assert b"camera" not in sent
        words = f"JPEG, {width} × {height} · scaled down in the browser from {each.size[0]} × {each.size[1]}"
        expect(cards(page).first).to_contain_text(words)
    assert sum(differences) / len(differences) <= 0.02


def moving(kind: str) -> bytes:
    """Two frames of noise, far above the size that is left alone."""
    frames = [Image.effect_noise((900, 900), 80), Image.effect_noise((900, 900), 60)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def test_what_is_small_or_moves_or_cannot_be_read_is_sent_as_it_is(page: Page) -> None:
    large = {
        "few pixels": encode(Image.effect_noise((640, 900), 80), "PNG"),
        "GIF": moving("GIF"),
        "APNG": moving("PNG"),
        "moving WebP": moving("WEBP"),
        "cut off": encode(Image.effect_noise((1200, 900), 80), "PNG")[:400_000],
    }
    for name, content in {"few bytes": CAT, **large}.items():
        assert name == "few bytes" or len(content) > 300_000
        assert answer_to(page, name, content)[1] == content, name
    expect(cards(page)).to_have_count(6)
    expect(page.locator("#results")).not_to_contain_text("in the browser")


def test_two_at_most_are_decoded_at_once(page: Page, larges: list[Large]) -> None:
    choose(page, *(photo(each.name, each.data) for each in larges[:4]))
    expect(page.get_by_role("status").first).to_have_text("4 photos done.")
    assert len(page.workers) == 2


def test_originals_on_request(page: Page, larges: list[Large]) -> None:
    page.get_by_label("Send originals").check()
    answer, sent = answer_to(page, "original.jpg", larges[0].data)
    assert sent == larges[0].data
    assert (answer["image"]["width"], answer["image"]["height"]) == larges[0].size
    expect(cards(page)).not_to_contain_text("in the browser")
    page.reload()
    expect(page.get_by_label("Send originals")).not_to_be_checked()


def test_feedback_is_of_the_original(page: Page, larges: list[Large]) -> None:
    _, sent = answer_to(page, "photo.jpg", larges[1].data)
    assert len(sent) < len(larges[1].data) / 4
    cards(page).get_by_role("button", name="Wrong?").click()
    cards(page).get_by_label("What is in the photo?").select_option("none of these")
    cards(page).get_by_role("button", name="Send").click()
    expect(cards(page)).to_contain_text("The photo was kept.")
    assert sent_by(page) == larges[1].data


def test_transparent_parts_are_white(page: Page) -> None:
    hole = Image.effect_noise((1200, 1200), 80).convert("RGBA")
    hole.putalpha(0)
    _, sent = answer_to(page, "hole.png", encode(hole, "PNG"))
    with Image.open(io.BytesIO(sent)) as copy:
        assert copy.size == (512, 512)
        assert copy.convert("L").getextrema()[0] > 250


def test_a_browser_whose_canvas_lies_sends_originals(page: Page, live: Live, larges: list[Large]) -> None:
    source = (ROOT / "static" / "page_shrink_worker.js").read_text()
    page.route(
        "**/page_shrink_worker.js", lambda route: route.fulfill(body=NOISE + source, content_type="text/javascript")
    )
    assert answer_to(page, "photo.jpg", larges[0].data)[1] == larges[0].data


def test_without_the_worker_originals_are_sent(page: Page, larges: list[Large]) -> None:
    page.route("**/page_shrink_worker.js", lambda route: route.abort())
    for _ in range(3):  # more than there are workers: none is waited for in vain
        assert answer_to(page, "photo.jpg", larges[0].data)[1] == larges[0].data
