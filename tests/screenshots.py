"""The page's main states as pictures, of drawn bears and scikit-image's cat: `python -m tests.screenshots FOLDER`.

Look at each after a change of the page; docs/ has some of them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import ARGS, find_chromium
from tests.browser.test_browser import CAT, choose, photo
from tests.drawings import bear, jpeg
from tests.live import live_service

BEARS = [
    *[photo(f"black-{seed}.jpg", jpeg(bear("black", seed))) for seed in (62, 8)],
    *[photo(f"teddy-{seed}.jpg", jpeg(bear("teddys", seed))) for seed in (58, 48, 27)],
]
DESKTOP = {"viewport": {"width": 1000, "height": 640}}
PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}


def answer(page: Page) -> None:
    choose(page, BEARS[2])
    page.get_by_role("button", name="Show where").click()
    page.locator("canvas").wait_for()


def many(page: Page) -> None:
    choose(page, *BEARS, photo("chelsea.jpg", CAT))
    page.locator(".card:not([aria-busy])").nth(5).wait_for()


def mirrored(page: Page) -> None:
    page.evaluate("document.documentElement.dir = 'rtl'")
    answer(page)
    page.get_by_text("For developers").click()


def error(page: Page) -> None:
    choose(page, photo("broken.jpg", CAT[:300]))


STATES: dict[str, tuple[Callable[[Page], object], dict[str, Any]]] = {
    "page-empty": (lambda page: None, DESKTOP),
    "page": (answer, DESKTOP),
    "page-many": (many, DESKTOP),
    "page-error": (error, DESKTOP),
    "page-dark": (many, {**DESKTOP, **DARK}),
    "page-phone": (answer, PHONE),
    "page-zoomed": (answer, {"viewport": {"width": 500, "height": 320}}),
    "page-mirrored": (mirrored, DESKTOP),
}


def shot(browser: Browser, url: str, state: str) -> Image.Image:
    """The whole page in that state, at half the size of what a sharp screen shows."""
    act, options = STATES[state]
    with browser.new_context(base_url=url, device_scale_factor=2, reduced_motion="reduce", **options) as context:
        page = context.new_page()
        page.goto("/")
        act(page)
        page.locator("[aria-busy]").wait_for(state="detached")
        page.wait_for_timeout(300)  # pictures are drawn after they have loaded
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    return picture.reduce(2)


def main(folder: Path) -> None:
    """Every state, as a PNG of 128 colours."""
    folder.mkdir(parents=True, exist_ok=True)
    with live_service() as live, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGS))
        for state in STATES:
            picture = shot(browser, live.url, state).quantize(128, dither=Image.Dither.NONE)
            picture.save(folder / f"{state}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
