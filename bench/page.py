"""The page in a real Chromium before a real service: `python -m bench.page`. Needs the test group, and Chromium.

First paint with a CPU slowed four times; from a 12-megapixel photo given to its answer; 200 photos of 2 megapixels, and
the longest time that the page did not answer meanwhile.
"""

from __future__ import annotations

import io
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from bench.bundles import INT8
from bench.photos import MEGAPIXELS, of_size, photos
from bench.report import table
from bench.results import RESULTS, store
from bench.served import PORT, tellapart
from bench.service import service
from bench.tables import page as tables

ROUNDS = 5
HANG_MS = 300_000
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LONG_TASKS = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const each of list.getEntries()) window.longest = Math.max(window.longest, each.duration);
  }).observe({ entryTypes: ["longtask"] });
}"""
NOTE_TIME = "document.querySelector('#file').addEventListener('change', () => { window.given = performance.now() })"
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
ALL_DONE = "count => document.querySelectorAll('.card:not([aria-busy])').length === count"


def enlarged(photo: bytes, size: tuple[int, int]) -> bytes:
    """The photo at that size, as a JPEG of a camera's quality."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as image:
        image.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=92)
    return out.getvalue()


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Page]:
    with browser.new_context(base_url=url) as context:
        page = context.new_page()
        page.set_default_timeout(HANG_MS)
        yield page


def first_paint_ms(browser: Browser, url: str) -> float:
    """From the navigation's start, in a new browser context: nothing is cached."""
    with opened(browser, url) as page:
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
        page.goto("/")
        page.wait_for_function(PAINT)
        return float(page.evaluate(PAINT))


def give(page: Page, files: list[Path]) -> float:
    """Seconds from the files' being chosen to the last answer shown."""
    page.evaluate(NOTE_TIME)
    page.set_input_files("#file", files)
    page.wait_for_function(ALL_DONE, arg=len(files), polling=20)
    return float(page.evaluate("(performance.now() - window.given) / 1000"))


def measure(browser: Browser, url: str, folder: Path) -> dict[str, float]:
    """All figures; medians over ROUNDS, but for the 200 photos."""
    large = folder / "12mp.jpg"
    large.write_bytes(of_size(12, "JPEG"))
    some = [enlarged(photo, MEGAPIXELS[2]) for photo in photos()]
    small = [folder / f"{number}.jpg" for number in range(200)]
    for number, path in enumerate(small):
        path.write_bytes(some[number % len(some)])
    paints = [first_paint_ms(browser, url) for _ in range(ROUNDS)]
    answers = []
    for _ in range(ROUNDS):
        with opened(browser, url) as page:
            page.goto("/")
            answers.append(give(page, [large]))
    with opened(browser, url) as page:
        page.goto("/")
        page.evaluate(LONG_TASKS)
        many_s = give(page, small)
        longest = float(page.evaluate("window.longest"))
    return {
        "first_paint_ms": statistics.median(paints),
        "large_s": statistics.median(answers),
        "many_s": many_s,
        "long_task_ms": longest,
    }


def main() -> None:
    """Measure, print, store."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if chromium is None:
        sys.exit("There is no Chromium: apt-get install chromium")
    ours = tellapart("tellapart", INT8)
    with tempfile.TemporaryDirectory() as folder, service(ours), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        found = measure(browser, f"http://127.0.0.1:{PORT}", Path(folder))
        browser.close()
    for title, header, rows in tables(found):
        print(title, *table(header, rows), sep="\n")
    store(RESULTS, page=found)


if __name__ == "__main__":
    main()
