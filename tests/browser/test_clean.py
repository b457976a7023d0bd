"""The clean page in a real Chromium, in front of the real command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_browser import OVERFLOWS, watch
from tests.training.clean_run import cleaning, make_run
from tests.training.conftest import picture

MARKUP = "<img src=x onerror=alert(1)>"
NAMES = {"disc": ["1.jpg", f"{MARKUP}.jpg"[:60], "3.jpg"], "square": ["1.jpg", "2.jpg", "3.jpg"]}
FILES = [f"{label}/{name}" for label, names in NAMES.items() for name in names]
# by loss: disc/1 (the network says square), square/2, then the markup name, and so on
TRUTH = dict(zip(FILES, (0.05, 0.5, 0.9, 0.7, 0.2, 0.95), strict=True))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Six photos, five on the validation side; each has a look-alike of the other class."""
    data = tmp_path / "data"
    for number, file in enumerate(FILES):
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        picture(Path(file).parent.name, number, (640, 480)).save(data / file)
    sides = dict.fromkeys(FILES, "validation") | {"square/3.jpg": "train"}
    features = {file: [1.0, number / 10] for number, file in enumerate(FILES)}
    return make_run(tmp_path / "run", data, TRUTH, sides, features)


@contextmanager
def opened(chromium: Browser, run: Path, **options: Any) -> Iterator[Page]:
    """The page in a fresh browser, by the address that the command printed; nothing must have gone wrong there."""
    with cleaning(run) as (address, _), chromium.new_context(**options) as context:
        page = context.new_page()
        problems = watch(page, address.split("/?")[0])
        page.goto(address)
        expect(page.locator("#file")).not_to_be_empty()
        yield page
        assert not problems


def looks(page: Page, done: int, of: int = 5) -> None:
    expect(page.get_by_role("status")).to_contain_text(f"{done} of {of} looked at")


def shows(page: Page, file: str) -> None:
    """The photo is named, and its picture is there."""
    expect(page.locator("#file")).to_have_text(file)
    expect(page.locator("#photo")).to_have_attribute("alt", file)
    loaded = "(src) => { const i = document.querySelector('#photo'); return i.complete && i.naturalWidth > 300; }"
    page.wait_for_function(loaded)


def saved(run: Path) -> list[str]:
    return [",".join(line.split(",")[:4]) for line in (run / "decisions.csv").read_text().splitlines()[1:]]


def test_by_keyboard_alone_from_worst_to_confirmed(chromium: Browser, run: Path) -> None:
    with opened(chromium, run) as page:
        assert page.url.endswith("/")  # the token is out of the address
        shows(page, "disc/1.jpg")
        expect(page.locator("#says")).to_have_text("Labelled disc. The network says square, 95.0\u00a0%.")
        expect(page.locator("#near li")).to_have_count(5)
        page.keyboard.press("d")
        looks(page, 1)
        shows(page, "square/2.jpg")
        page.keyboard.press("1")
        looks(page, 2)
        shows(page, FILES[1])  # markup in a name stays a name
        page.keyboard.press("r")
        page.keyboard.type("SQUARE")
        page.keyboard.press("Enter")
        looks(page, 3)
        page.keyboard.press("k")
        looks(page, 4)
        assert saved(run)[:2] == ["disc/1.jpg,disc,delete,", "square/2.jpg,square,relabel,disc"]
        page.keyboard.press("Control+z")
        looks(page, 3)
        page.keyboard.press("u")
        looks(page, 2)
        shows(page, FILES[1])
        page.keyboard.press("ArrowLeft")
        shows(page, "square/2.jpg")
        expect(page.locator("#mark")).to_have_text("Relabel as disc")
        page.get_by_role("button", name="Apply 2 changes").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("listitem")).to_have_text(["disc/1.jpg → quarantine", "square/2.jpg: square → disc"])
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert (run.parent / "data/disc/1.jpg").is_file()
        page.keyboard.press("Enter")
        dialog.get_by_role("button", name="Move them").focus()
        page.keyboard.press("Enter")
        done = page.get_by_role("region", name="What was done")
        expect(done).to_contain_text("1 moved to the quarantine, 1 moved to another class.")
        expect(done).to_contain_text("--undo")
        expect(done).to_contain_text(re.compile(r"training train .*--out .*training compare ", re.DOTALL))
        assert not (run.parent / "data/disc/1.jpg").exists()
        assert (run.parent / "data/disc/2.jpg").is_file()
        expect(page.get_by_role("button", name="No changes yet")).to_be_disabled()


def test_by_mouse_and_taken_up_again(chromium: Browser, run: Path) -> None:
    with opened(chromium, run) as page:
        page.get_by_role("button", name="Keep").click()
        looks(page, 1)
        page.locator("#classes button").nth(0).click()
        looks(page, 2)
        page.get_by_role("button", name="Next photo").click()
        page.get_by_role("button", name="Delete").click()
        looks(page, 3)
        page.get_by_role("button", name="Training").click()
        shows(page, "square/3.jpg")
        looks(page, 0, of=1)
        page.locator("#classes button").nth(1).click()  # its own label: kept
        looks(page, 1, of=1)
    assert saved(run)[1] == "square/2.jpg,square,relabel,disc"
    assert saved(run)[-1] == "square/3.jpg,square,keep,"
    with opened(chromium, run) as page:
        looks(page, 3)
        shows(page, FILES[1])  # the first not yet decided on
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("status")).to_contain_text("Undone: square/3.jpg")


def test_a_held_key_or_a_key_for_the_browser_decides_nothing(chromium: Browser, run: Path) -> None:
    with opened(chromium, run) as page:
        page.keyboard.down("d")
        for _ in range(4):
            page.keyboard.down("d")
        page.keyboard.up("d")
        looks(page, 1)
        page.locator("body").dispatch_event("keydown", {"key": "d", "ctrlKey": True, "bubbles": True})
        page.keyboard.press("Shift+?")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("d")
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        page.keyboard.type("dk")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("no other class “dk”")
        assert len(saved(run)) == 1


def test_a_missing_photo_is_said_and_passed_over(chromium: Browser, run: Path) -> None:
    (run.parent / "data/disc/1.jpg").unlink()
    picture("disc", 99).save(run.parent / "data/square/2.jpg")
    with opened(chromium, run) as page:
        looks(page, 1)
        expect(page.locator("#file")).to_have_text("square/2.jpg")
        expect(page.locator("#trouble")).to_contain_text("changed since the run")
        expect(page.get_by_role("button", name="Delete")).to_be_disabled()
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#trouble")).to_contain_text("no longer in its folder")
        page.keyboard.press("d")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        shows(page, FILES[1])
        expect(page.locator("#trouble")).to_be_hidden()
        expect(page.get_by_role("button", name="Delete")).to_be_enabled()
    assert not (run / "decisions.csv").exists()


def test_it_fits_a_phone_and_shows_where_the_focus_is(chromium: Browser, run: Path) -> None:
    with opened(chromium, run, viewport={"width": 390, "height": 844}) as page:
        shows(page, "disc/1.jpg")
        assert not page.evaluate(OVERFLOWS)
        expect(page.get_by_role("button", name="Delete")).to_be_in_viewport(ratio=1)
        for _ in range(4):
            page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_it_says_so_when_the_command_has_ended(chromium: Browser, run: Path) -> None:
    with cleaning(run) as (address, process), chromium.new_context() as context:
        page = context.new_page()
        page.goto(address)
        shows(page, "disc/1.jpg")
        process.terminate()
        process.wait(20)
        page.keyboard.press("d")
        expect(page.get_by_role("status")).to_contain_text("has ended")
        expect(page.locator("#file")).to_have_text("disc/1.jpg")


def test_another_site_in_the_same_browser_sees_and_changes_nothing(chromium: Browser, run: Path) -> None:
    """Its request comes without the cookie, and from a foreign origin."""
    with opened(chromium, run) as page:
        here = page.url
        other = page.context.new_page()
        other.route("http://evil.test/", lambda route: route.fulfill(body="<h1>hello</h1>", content_type="text/html"))
        other.goto("http://evil.test/")
        send = """(url) => fetch(url, {method: "POST", mode: "no-cors", credentials: "include",
            body: '{"row": 0, "decision": "delete"}'}).then((response) => response.type, () => "failed")"""
        assert other.evaluate(send, f"{here}decide") in ("opaque", "failed")
        other.close()
        looks(page, 0)
    assert not (run / "decisions.csv").exists()
