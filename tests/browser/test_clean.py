"""The clean page in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.test_browser import OVERFLOWS, watch
from tests.training.conftest import picture
from tests.training.runs import cleaning, write_run
from training import clean
from training.run_folder import read_run

TOKEN = "a-token-of-some-length"
MARKUP = "<img src=x onerror=alert(1)>.jpg"
# The first of each class validates; the others train, and these are the hardest of them, in this order.
DISCS, SQUARES = ["0.jpg", "1.jpg", MARKUP, "3.jpg"], ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
FILES = [*(f"disc/{name}" for name in DISCS), *(f"square/{name}" for name in SQUARES)]
FIRST, SECOND, THIRD, FOURTH = "disc/1.jpg", "square/2.jpg", f"disc/{MARKUP}", "square/1.jpg"
MISTAKES = {FIRST: "square", SECOND: "disc"}
SURE = {FIRST: 0.95, SECOND: 0.8, THIRD: 0.5, FOURTH: 0.55}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Eight photos of two classes."""
    for number, file in enumerate(FILES):
        path = tmp_path / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(path.parent.name, number, (640, 480)).save(path)
    return write_run(tmp_path / "run", tmp_path / "data", mistakes=MISTAKES, sure=SURE, lane="fast")


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address that the command would print; the same server, in a thread."""
    finished = read_run(run)
    session = clean.open_session(finished, finished.data / "_tellapart")
    with clean.listen(0) as listening:
        port = listening.getsockname()[1]
        server = clean.server(session, TOKEN, port)
        thread = Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/#{TOKEN}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def opened(chromium: Browser, run: Path, **options: Any) -> Iterator[Page]:
    """The page in a fresh browser; nothing must have gone wrong there."""
    with served(run) as address, chromium.new_context(**options) as context:
        page = context.new_page()
        problems = watch(page, address.split("/#")[0])
        page.goto(address)
        expect(page.locator("#file")).not_to_be_empty()
        yield page
        assert not problems


def looks(page: Page, done: int, of: int = 6) -> None:
    expect(page.locator("#status")).to_contain_text(f"{done} of {of} looked at")


def shows(page: Page, file: str) -> None:
    """The photo is named, and its picture is there."""
    expect(page.locator("#file")).to_have_text(file)
    expect(page.locator("#photo")).to_have_attribute("alt", file)
    loaded = "(src) => { const i = document.querySelector('#photo'); return i.complete && i.naturalWidth > 300; }"
    page.wait_for_function(loaded)


def isolated(text: str) -> str:
    """A name as it stands in a sentence of the page: between marks that keep its direction of writing to itself."""
    return f"\u2068{text}\u2069"


def saved(run: Path) -> list[str]:
    return [",".join(line.split(",")[:4]) for line in (run / "decisions.csv").read_text().splitlines()[1:]]


def test_by_keyboard_alone_from_worst_to_confirmed(chromium: Browser, run: Path) -> None:
    with opened(chromium, run) as page:
        assert page.url.endswith("/")  # the token is out of the address
        shows(page, FIRST)  # on the training side, where the worst is
        says = f"Labelled {isolated('disc')}. The network says {isolated('square')}, 95.0\u00a0%."
        expect(page.locator("#says")).to_have_text(says)
        expect(page.locator("#about")).to_contain_text("got 2 of 6 wrong")
        expect(page.locator("#near li img[src^=blob]")).to_have_count(6)
        page.keyboard.press("d")
        looks(page, 1)
        shows(page, SECOND)
        page.keyboard.press("1")
        looks(page, 2)
        shows(page, THIRD)  # markup in a name stays a name
        page.keyboard.press("2")
        looks(page, 3)
        shows(page, FOURTH)
        page.keyboard.press("k")
        looks(page, 4)
        assert saved(run)[:2] == [f"{FIRST},disc,delete,", f"{SECOND},square,relabel,disc"]
        page.keyboard.press("Control+z")
        looks(page, 3)
        page.keyboard.press("u")
        looks(page, 2)
        shows(page, THIRD)
        page.keyboard.press("t")
        looks(page, 0, of=2)
        page.keyboard.press("t")
        page.keyboard.press("ArrowLeft")
        shows(page, SECOND)
        expect(page.locator("#mark")).to_have_text(f"Relabel as {isolated('disc')}")
        page.get_by_role("button", name="Apply 2 changes").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        changes = [f"{isolated(FIRST)}: delete", f"{isolated(SECOND)}: {isolated('square')} → {isolated('disc')}"]
        expect(dialog.get_by_role("listitem")).to_have_text(changes)
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert (run.parent / "data" / FIRST).is_file()
        page.keyboard.press("Enter")
        dialog.get_by_role("button", name="Move them").focus()
        page.keyboard.press("Enter")
        done = page.get_by_role("region", name="What was done")
        expect(done).to_contain_text("1 moved to the quarantine, 1 moved to another class.")
        expect(done).to_contain_text("--undo")
        expect(done).to_contain_text(re.compile(r"training train .*--out .*training compare ", re.DOTALL))
        expect(done).to_be_focused()
        assert not (run.parent / "data" / FIRST).exists()
        assert (run.parent / "data/disc/2.jpg").is_file()
        expect(page.get_by_role("button", name="No changes yet")).to_be_disabled()
        page.keyboard.press("u")
        expect(page.locator("#status")).to_have_text("There is nothing left to undo.")


def test_by_mouse_and_taken_up_again(chromium: Browser, run: Path) -> None:
    with opened(chromium, run) as page:
        shows(page, FIRST)
        page.get_by_role("button", name="Keep").click()
        looks(page, 1)
        shows(page, SECOND)
        page.locator("#classes button").nth(0).click()
        looks(page, 2)
        page.get_by_role("button", name="Next photo").click()
        shows(page, FOURTH)
        page.get_by_role("button", name="Delete").click()
        looks(page, 3)
        page.get_by_role("button", name="Validation").click()
        looks(page, 0, of=2)
        shows(page, page.locator("#file").inner_text())
        page.locator("#classes .label").click()  # its own label: kept
        looks(page, 1, of=2)
        page.reload()  # the tab still knows the token
        looks(page, 3)
    assert saved(run)[1] == f"{SECOND},square,relabel,disc"
    assert saved(run)[-1].endswith(",keep,")
    with opened(chromium, run) as page:
        looks(page, 3)
        shows(page, THIRD)  # the first not yet decided on
        page.get_by_role("button", name="Undo").click()
        looks(page, 0, of=2)
        expect(page.locator("#status")).to_contain_text("Undone: ")


def test_a_held_key_or_a_key_for_the_browser_decides_nothing(chromium: Browser, run: Path) -> None:
    with opened(chromium, run) as page:
        shows(page, FIRST)
        page.keyboard.down("d")
        for _ in range(4):
            page.keyboard.down("d")
        page.keyboard.up("d")
        looks(page, 1)
        shows(page, SECOND)
        page.locator("body").dispatch_event("keydown", {"key": "d", "ctrlKey": True, "bubbles": True})
        page.keyboard.press("Shift+?")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("d")
        page.keyboard.press("Escape")
        looks(page, 1)
        assert len(saved(run)) == 1


def test_no_key_decides_about_a_photo_that_is_not_to_be_seen_yet(chromium: Browser, run: Path) -> None:
    with opened(chromium, run) as page:
        shows(page, FIRST)
        waiting: list[Route] = []
        page.route("**/photo/*", lambda route: waiting.append(route))
        page.keyboard.press("ArrowRight")  # fetched ahead
        shows(page, SECOND)
        page.keyboard.press("ArrowRight")
        expect(page.locator("#file")).to_have_text(THIRD)
        page.keyboard.press("d")
        page.wait_for_timeout(200)
        assert not (run / "decisions.csv").exists()
        for route in waiting:
            route.continue_()
        page.unroute("**/photo/*")
        shows(page, THIRD)
        page.keyboard.press("d")
        looks(page, 1)


def test_of_many_classes_the_probable_ones_have_buttons_and_the_rest_is_typed(
    chromium: Browser, tmp_path: Path
) -> None:
    names = [*(f"kind {number:02}" for number in range(9)), "a" * 200, "דוב", "🐻 " * 20]
    for name in names:
        for number in range(2):
            path = tmp_path / "data" / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture("disc", number, (640, 480)).save(path)
    wrong = f"{names[9]}/1.jpg"
    run = write_run(tmp_path / "run", tmp_path / "data", mistakes={wrong: names[11]}, sure={wrong: 0.9}, lane="fast")
    with opened(chromium, run, viewport={"width": 320, "height": 640}) as page:
        shows(page, wrong)
        assert not page.evaluate(f"() => {OVERFLOWS}")
        expect(page.locator("#classes .name")).to_have_text([names[9], names[11], *names[:4]])
        page.keyboard.press("r")
        page.keyboard.type("dk")  # letters, not decisions
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_have_text(f"There is no class {isolated('dk')} in this run.")
        page.locator("#other").fill("KIND 07")
        page.keyboard.press("Enter")
        looks(page, 1, of=12)
        assert saved(run) == [f"{wrong},{names[9]},relabel,kind 07"]


def test_a_missing_or_changed_photo_is_said_and_passed_over(chromium: Browser, run: Path) -> None:
    (run.parent / "data" / FIRST).unlink()
    picture("disc", 99).save(run.parent / "data" / SECOND)
    with opened(chromium, run) as page:
        looks(page, 1)
        expect(page.locator("#file")).to_have_text(SECOND)
        expect(page.locator("#trouble")).to_contain_text("changed since the run")
        page.keyboard.press("d")
        expect(page.locator("#status")).to_contain_text("changed since the run")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#trouble")).to_contain_text("no longer in its folder")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        shows(page, THIRD)
        expect(page.locator("#trouble")).to_be_hidden()
    assert not (run / "decisions.csv").exists()


def test_a_second_tab_does_not_move_what_was_not_listed(chromium: Browser, run: Path) -> None:
    with served(run) as address, chromium.new_context() as context:
        one, two = context.new_page(), context.new_page()
        for page in (one, two):
            page.goto(address)
            shows(page, FIRST)
        one.keyboard.press("d")
        looks(one, 1)
        one.get_by_role("button", name="Apply 1 change").press("Enter")
        two.keyboard.press("k")
        looks(two, 1)
        one.get_by_role("button", name="Move them").press("Enter")
        expect(one.locator("#status")).to_contain_text("decisions have changed since")
        assert (run.parent / "data" / FIRST).is_file()
        two.keyboard.press("u")  # the last decision, and then that of the other tab
        looks(two, 1)
        expect(two.locator("#mark")).to_have_text("Delete")


def test_it_fits_a_phone_and_shows_where_the_focus_is(chromium: Browser, run: Path) -> None:
    with opened(chromium, run, viewport={"width": 390, "height": 844}) as page:
        shows(page, FIRST)
        assert not page.evaluate(f"() => {OVERFLOWS}")
        for name in ("Keep", "Delete", "Undo", "Next photo"):
            expect(page.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
        for _ in range(4):
            page.keyboard.press("Tab")
        assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_it_says_so_when_the_command_has_ended(chromium: Browser, run: Path) -> None:
    with cleaning(run) as (address, process), chromium.new_context() as context:
        page = context.new_page()
        page.goto(address)
        shows(page, FIRST)
        process.terminate()
        process.wait(20)
        page.keyboard.press("d")
        expect(page.locator("#status")).to_contain_text("has ended")
        expect(page.locator("#file")).to_have_text(FIRST)


class Elsewhere(BaseHTTPRequestHandler):
    """Another server at 127.0.0.1: of another user, say. It notes what browsers tell it."""

    told: list[str]

    def do_GET(self) -> None:
        self.told.append(f"{self.path} {self.headers}")
        body = b"<script>fetch('/again')</script>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def elsewhere() -> Iterator[str]:
    Elsewhere.told = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_no_other_page_learns_the_token_or_decides_anything(chromium: Browser, run: Path, elsewhere: str) -> None:
    with served(run) as address, chromium.new_context() as context:
        page, other = context.new_page(), context.new_page()
        page.goto(address)
        shows(page, FIRST)
        here = page.url
        other.goto(elsewhere)  # the same host, so the same cookies if there were any
        other.wait_for_load_state("networkidle")
        body = '{"row": 0, "decision": "delete"}'
        send = """([url, options]) => fetch(url, {method: "POST", credentials: "include", ...options})
            .then((response) => response.type, () => "failed")"""
        plain = {"mode": "no-cors", "body": body}
        assert other.evaluate(send, [f"{here}decide", plain]) == "opaque"
        with_header = {"body": body, "headers": {"Authorization": "Bearer guess"}}
        assert other.evaluate(send, [f"{here}decide", with_header]) == "failed"
        other.goto("about:blank")
        page.goto(f"{elsewhere}after")  # the token's own tab goes there, too
        page.wait_for_load_state("networkidle")
        assert not [told for told in Elsewhere.told if TOKEN in told or "Cookie" in told or "Referer: " + here in told]
        page.go_back()
        looks(page, 0)
    assert not (run / "decisions.csv").exists()


def test_without_the_whole_address_it_says_what_to_do(chromium: Browser, run: Path) -> None:
    with served(run) as address, chromium.new_context() as context:
        page = context.new_page()
        page.goto(address.split("#")[0])
        expect(page.locator("#nothing")).to_contain_text("Open the whole address")
        page.goto(address)  # typed into the same tab
        shows(page, FIRST)
