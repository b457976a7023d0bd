"""For everyone: axe finds nothing, the keyboard does everything, and the page stays small."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from app.assets import STATIC
from tests.browser.test_browser import BLACK, CAT, OVERFLOWS, TEDDY, cards, choose, live, opened, photo, site
from tests.live import Live
from tests.test_page import render, serving

__all__ = ["live", "site"]  # fixtures

BUDGET = 60_000  # bytes of the HTML, CSS, JavaScript and service worker that a browser gets, icons apart
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
DESKTOP = {"viewport": {"width": 1100, "height": 800}}
PHONE = {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark", "has_touch": True}


def answered(page: Page, count: int) -> None:
    expect(cards(page)).to_have_count(count)
    expect(page.locator("[aria-busy]")).to_have_count(0)


def one(page: Page) -> None:
    choose(page, photo("teddy.jpg", TEDDY))
    answered(page, 1)
    page.get_by_role("button", name="Show where").click()
    expect(page.locator("canvas")).to_be_visible()
    page.get_by_text("For developers").click()


def many(page: Page) -> None:
    choose(
        page, photo("teddy.jpg", TEDDY), photo("cat.jpg", CAT), photo("broken.jpg", CAT[:300]), photo("b.jpg", BLACK)
    )
    answered(page, 4)


def visit(path: str) -> Callable[[Page], None]:
    def go(page: Page) -> None:
        page.goto(path)

    return go


STATES: dict[str, Callable[[Page], object]] = {
    "empty": lambda page: None,
    "one answer": one,
    "many": many,
    "the model": visit("/model"),
    "the API": visit("/docs"),
    "offline": visit("/offline"),
}


@pytest.mark.parametrize("options", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(chromium: Browser, live: Live, state: str, options: dict[str, object]) -> None:
    with opened(chromium, live, **options, reduced_motion="reduce") as page:
        STATES[state](page)
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
        assert not page.evaluate(OVERFLOWS)


@pytest.mark.parametrize("state", ["one answer", "many"])
def test_it_can_be_mirrored_and_twice_as_large(chromium: Browser, live: Live, state: str) -> None:
    """As for a language that is written from the right; 200 % of 1,000 pixels leave 500."""
    with opened(chromium, live, viewport={"width": 500, "height": 320}) as page:
        page.evaluate("document.documentElement.dir = 'rtl'")
        expect(page.locator("#status")).to_have_text("")
        STATES[state](page)
        assert not page.evaluate(OVERFLOWS)
        left, right = (page.locator(name).first.bounding_box() for name in (".percent", ".name"))
        assert left and right and left["x"] < right["x"]
        for code in page.locator("pre").all():
            assert code.evaluate("code => getComputedStyle(code).direction") == "ltr"


def test_axe_would_find_something(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        page.evaluate("document.querySelector('.brand img').removeAttribute('alt')")
        assert Axe().run(page, options=RULES).violations_count == 1


def test_the_keyboard_does_it_all(chromium: Browser, live: Live) -> None:
    with opened(chromium, live) as page:
        many(page)
        reached = set()
        for _ in range(80):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()")
            )
        assert reached >= {
            "Answers as CSV",
            "Photos in folders (ZIP)",
            "Clear",
            "Show where",
            "For developers",
            "teddys",
        }
        page.get_by_role("button", name="Clear").focus()
        page.keyboard.press("Enter")
        expect(cards(page)).to_have_count(0)
        expect(page.locator("#file")).to_be_focused()


def test_the_page_stays_small() -> None:
    """With all that a page can have, uncompressed."""
    everything = serving(["black", "grizzly", "teddys"], feedback_dir=Path("feedback"), api_key="secret")
    pages = [render({}, everything), render({}, everything, "offline.html")]
    scripts = [path for path in STATIC.iterdir() if re.fullmatch(r"(page.*|sw)\.(js|css)", path.name)]
    assert sum(len(page.encode()) for page in pages) + sum(path.stat().st_size for path in scripts) <= BUDGET
