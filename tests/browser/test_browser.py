"""The page in a real Chromium, in front of a real service with the bundled bears."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
import skimage
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect

from tests.drawings import bear, jpeg
from tests.live import ROOT, Live, live_service

expect.set_options(timeout=20_000)

MARKUP = "<img src=x onerror=alert(1)><b>bear</b>"
BUSY = {"error": {"code": "busy", "message": "The service is busy.", "hint": "Wait."}}
OVERFLOWS = "document.documentElement.scrollWidth > innerWidth"


def cat() -> bytes:
    """A real photo as JPEG: scikit-image's Chelsea (CC0, by Stéfan van der Walt)."""
    out = io.BytesIO()
    with Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png") as photo:
        photo.convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()


CAT, TEDDY, BLACK = cat(), jpeg(bear("teddys", 4)), jpeg(bear("black", 1))


class PhotoSite(BaseHTTPRequestHandler):
    """A web site with one photo, at every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(TEDDY)))
        self.end_headers()
        self.wfile.write(TEDDY)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Host and port of a PhotoSite."""
    with ThreadingHTTPServer(("127.0.0.1", 0), PhotoSite) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def live(site: str) -> Iterator[Live]:
    with live_service("--url-hosts", site, "--max-upload-mb", "2") as service:
        yield service


@contextmanager
def opened(chromium: Browser, live: Live, **options: Any) -> Iterator[Page]:
    """The page in a fresh browser context; afterwards nothing must have gone wrong there."""
    with chromium.new_context(base_url=live.url, **options) as context:
        page = context.new_page()
        problems = watch(page, live.url)
        page.goto("/")
        yield page
    assert not problems


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    with opened(chromium, live) as page:
        yield page


def watch(page: Page, origin: str) -> list[str]:
    """Collects what must not happen: script errors, anything on the console, broken files, requests to elsewhere."""
    problems: list[str] = []

    def console(text: str) -> None:
        if not text.startswith("Failed to load resource"):  # refusals are answers too; `response` looks at the rest
            problems.append(text)

    def request(url: str) -> None:
        if not url.startswith((f"{origin}/", f"blob:{origin}/", "data:image/jpeg;")):
            problems.append(f"request to {url}")

    def response(status: int, url: str) -> None:
        if status >= 400 and "/static/" in url:
            problems.append(f"{status} for {url}")

    page.on("console", lambda message: console(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda asked: request(asked.url))
    page.on("response", lambda got: response(got.status, got.url))
    return problems


def photo(name: str, content: bytes = CAT) -> FilePayload:
    return {"name": name, "mimeType": "image/jpeg", "buffer": content}


def choose(page: Page, *photos: FilePayload) -> None:
    page.get_by_label("Choose photos").set_input_files(list(photos))


def cards(page: Page) -> Locator:
    return page.get_by_role("article")


def expected(live: Live, content: bytes) -> tuple[str, list[str]]:
    """What heading and bars must say: what POST /upload answers for the same file."""
    with httpx2.Client(trust_env=False) as client:
        answer = client.post(f"{live.url}/upload", files={"file": content}).json()
    bars = [f"{name} {percent(p)}" for name, p in answer["predictions"]]
    return {"none of these": "None of these"}.get(answer["verdict"], answer["verdict"]), bars


def percent(p: float) -> str:
    return f"{100 * p:.1f}\u00a0%"


def expect_answer(card: Locator, live: Live, content: bytes) -> None:
    """The card shows verdict, bars in words and in widths, and the photo itself."""
    verdict, bars = expected(live, content)
    expect(card.locator(".bar")).to_have_text(bars)
    expect(card.get_by_role("heading")).to_have_text(verdict)
    for bar, words in zip(card.locator(".bar progress").all(), bars, strict=True):
        value = float(bar.get_attribute("value") or "nan")
        assert percent(value) in words
    expect(card.locator("img")).to_be_visible()


def test_chosen_photo_is_classified_at_once(page: Page, live: Live) -> None:
    choose(page, photo("cat.jpg"))
    expect_answer(cards(page), live, CAT)
    expect(cards(page)).to_contain_text("cat.jpg")
    expect(cards(page)).to_contain_text("JPEG, 451 × 300")
    assert cards(page).locator("img").evaluate("image => image.naturalWidth") == 451
    expect(page.locator("#status")).to_have_text("\u2068cat.jpg\u2069: None of these")


def test_dropped_photo_is_classified(page: Page, live: Live, tmp_path: Path) -> None:
    (tmp_path / "teddy.jpg").write_bytes(TEDDY)
    dragged = {"items": [], "files": [str(tmp_path / "teddy.jpg")], "dragOperationsMask": 1}
    mouse = page.context.new_cdp_session(page)

    def drag(kind: str) -> None:
        mouse.send("Input.dispatchDragEvent", {"type": kind, "x": 20, "y": 600, "data": dragged})

    drag("dragEnter")
    drag("dragOver")  # far below the drop zone: the whole page takes drops
    expect(page.locator("body.dragging")).to_be_visible()
    drag("drop")
    expect(page.locator("body.dragging")).to_have_count(0)
    expect_answer(cards(page), live, TEDDY)
    expect(cards(page)).to_contain_text("teddy.jpg")


def test_photo_from_a_url(page: Page, live: Live, site: str) -> None:
    url = f"http://{site}/teddy.jpg"
    page.get_by_label("web address").fill(url)
    page.get_by_role("button", name="Classify").click()
    expect_answer(cards(page), live, TEDDY)
    expect(cards(page)).to_contain_text(url)
    expect(cards(page).locator("img")).to_have_attribute("src", re.compile("^data:image/jpeg;base64,"))


def test_refused_url_is_told_in_words(page: Page) -> None:
    page.get_by_label("web address").fill("http://127.0.0.1:9/private.jpg")
    page.get_by_label("web address").press("Enter")
    expect(cards(page)).to_contain_text("Only public addresses on ports 80 and 443 are fetched")
    expect(cards(page).locator(".photo")).to_be_hidden()


def test_several_photos_and_a_broken_one(page: Page, live: Live) -> None:
    choose(page, photo("cat.jpg"), photo("broken.jpg", CAT[:300]), photo("teddy.jpg", TEDDY), photo("b.jpg", BLACK))
    expect(page.locator("#status")).to_have_text("4 photos done, 1 of them without an answer.")
    for index, content in ((0, CAT), (2, TEDDY), (3, BLACK)):
        expect_answer(cards(page).nth(index), live, content)
    broken = cards(page).nth(1)
    expect(broken).to_contain_text("broken.jpg")
    expect(broken).to_contain_text("This JPEG file is damaged and cannot be read.")
    expect(broken).to_contain_text("Open the photo in an image editor and save it again as JPEG.")
    choose(page, photo("cat.jpg"))  # once more: newer answers stand above older ones
    expect_answer(cards(page).first, live, CAT)
    expect(cards(page)).to_have_count(5)


def test_too_large_photo_is_not_sent(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    choose(page, photo("large.jpg", bytes(2_000_001)))
    expect(cards(page)).to_contain_text("This photo is larger than 2 MB.")
    assert not [url for url in asked if url.endswith("/upload")]


def test_busy_service_is_asked_again(page: Page, live: Live) -> None:
    page.route("**/upload", lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}, json=BUSY), times=1)
    choose(page, photo("cat.jpg"))
    expect(cards(page)).to_contain_text("trying again in 1 s")
    expect_answer(cards(page), live, CAT)


def test_busy_service_is_not_asked_for_ever(page: Page) -> None:
    asked: list[str] = []

    def busy(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503, headers={"Retry-After": "0.05"}, json=BUSY)

    page.route("**/upload", busy)
    choose(page, photo("cat.jpg"))
    expect(cards(page)).to_contain_text("The service is busy. Wait.")
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda route: route.abort(), "The service could not be reached."),
        (lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"), "The service could not be reached."),
        (lambda route: route.fulfill(status=413, body="<h1>Too large</h1>"), "This photo is larger than 2 MB."),
        (lambda route: route.fulfill(status=429, json={"error": "rate limit"}), "The service could not be reached."),
        (lambda route: route.fulfill(body="<h1>Log in</h1>"), "This page cannot read"),
    ],
    ids=["unreachable", "bad gateway", "too large for a proxy", "not our JSON", "not JSON"],
)
def test_failure_on_the_way_is_told_in_words(page: Page, answer: Any, words: str) -> None:
    page.route("**/upload", answer)
    choose(page, photo("cat.jpg"))
    expect(cards(page)).to_contain_text(words)


def test_hostile_names_do_no_harm(chromium: Browser, live: Live) -> None:
    names = [MARKUP, "W" * 300, "🐻" * 100, "\u202edrawkcab", "日本語" * 60]
    answer = {
        "predictions": [[name, 0.2] for name in names],
        "verdict": MARKUP,
        "image": {"format": "JPEG", "width": 1, "height": 1, "notes": []},
    }
    with opened(chromium, live, viewport={"width": 320, "height": 640}) as page:
        page.route("**/upload", lambda route: route.fulfill(json=answer))
        choose(page, photo(MARKUP + "x" * 200))
        expect(cards(page).locator(".name")).to_have_text(names)
        expect(cards(page).get_by_role("heading")).to_have_text(MARKUP)
        expect(cards(page).locator("b")).to_have_count(0)
        assert not page.evaluate(OVERFLOWS)


def test_an_example_is_classified_at_a_click(page: Page, live: Live) -> None:
    page.get_by_role("button", name="Example 3").click()
    address = page.locator(".examples img").nth(2).get_attribute("src")
    with httpx2.Client(trust_env=False) as client:
        expect_answer(cards(page), live, client.get(f"{live.url}{address}").content)
    expect(cards(page)).to_contain_text("Example 3")


def test_phone_shows_the_whole_answer(chromium: Browser, live: Live) -> None:
    with opened(chromium, live, viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True) as page:
        choose(page, photo("cat.jpg"))
        expect(cards(page).locator(".bar").last).to_be_in_viewport(ratio=1)
        assert not page.evaluate(OVERFLOWS)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 20, 18)"


def test_focus_is_visible(page: Page) -> None:
    page.keyboard.press("Tab")
    folder = page.get_by_text("Choose a whole folder")
    box, examples = page.get_by_label("web address"), page.locator(".examples button")
    for element in (page.locator(".brand"), page.locator(".zone strong"), folder, *examples.all(), box):
        assert element.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
        page.keyboard.press("Tab")


def test_forms_work_without_javascript(chromium: Browser, live: Live, site: str) -> None:
    with opened(chromium, live, java_script_enabled=False) as page:
        choose(page, photo("cat.jpg"), photo("broken.jpg", CAT[:300]))
        page.get_by_role("button", name="Classify").first.click()
        expect_answer(cards(page).first, live, CAT)
        expect(cards(page).last).to_contain_text("This JPEG file is damaged and cannot be read.")
        page.get_by_label("web address").fill(f"http://{site}/teddy.jpg")
        page.get_by_role("button", name="Classify").last.click()
        expect_answer(cards(page), live, TEDDY)
        expect(page).to_have_title("teddys · tellapart")


def test_model_page(page: Page) -> None:
    page.get_by_role("link", name="bears").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Model bears")
    expect(page.get_by_role("definition").nth(1)).to_contain_text("grizzly")


def test_page_of_the_api(chromium: Browser, live: Live) -> None:
    with opened(chromium, live, viewport={"width": 360, "height": 740}) as page:
        page.get_by_role("link", name="API").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The API")
        assert not page.evaluate(OVERFLOWS)
        page.get_by_role("link", name="Answers", exact=True).first.click()
        expect(page.locator("#schema-Answers")).to_be_in_viewport()


def test_javascript_of_the_guide(page: Page, live: Live) -> None:
    guide = (ROOT / "docs" / "api.md").read_text()
    source = re.search(r"```js\n(.*?)```", guide, re.DOTALL)
    assert source
    page.route(
        "**/upload", lambda route: route.fulfill(status=503, headers={"Retry-After": "0.05"}, json=BUSY), times=1
    )
    classify = source[1].replace("http://127.0.0.1:8000", live.url)
    blobs = "photos.map((bytes) => new Blob([new Uint8Array(bytes)]))"
    found = page.evaluate(f"photos => {{ {classify} return classify({blobs}); }}", [list(TEDDY), list(b"text")])
    assert found[0]["predictions"][0][0] == found[0]["verdict"]
    assert found[1]["error"]["code"] == "not_an_image"


def test_policy_is_in_force(chromium: Browser, live: Live) -> None:
    """An inline style is refused, and `watch` would have told."""
    with pytest.raises(AssertionError, match="Content Security Policy"), opened(chromium, live) as page:
        page.evaluate("document.body.setAttribute('style', 'color: red')")
