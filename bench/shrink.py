"""What scaling photos down in the browser does to the answers: `python -m bench.shrink FOLDER`, in a real Chromium and
in front of a real service.

Photos of FOLDER, evenly chosen, are enlarged four times as a large camera's would be, then sent twice: as they are, and
as static/page_shrink.js has it.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from app.assets import asset
from tests.browser.conftest import ARGS, find_chromium
from tests.live import live_service
from tests.photos import encode

ENLARGED = 4
QUALITY = 95
LEADS = 0.1  # a first class that leads by more must stay
BARS = "bars: mean |Δp| 0.02, no first class that led by more than 0.1 changed"
# The photo as base64 → what would be sent of it as base64, and the milliseconds until it is there.
SHRINK = """async ([script, photo]) => {
  const file = new File([Uint8Array.from(atob(photo), (character) => character.charCodeAt(0))], "photo.jpg");
  const { shrink } = await import(script);
  const started = performance.now();
  const sent = await shrink({ file });
  const ms = performance.now() - started;
  const reader = new FileReader();
  await new Promise((resolve) => { reader.onload = resolve; reader.readAsDataURL(sent); });
  return [reader.result.split(",")[1], ms];
}"""


@dataclass(frozen=True)
class Compared:
    """One photo: bytes as it is and as sent, milliseconds in the browser, mean and largest |Δp| over the classes."""

    original: int
    sent: int
    ms: float
    mean: float
    largest: float
    flipped: bool  # the first class is another one, though it led by more than LEADS
    verdict: bool  # the verdict is another one


def photos(folder: Path, count: int) -> Iterator[bytes]:
    """`count` photos, evenly chosen by name, enlarged."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for number in range(min(count, len(paths))):
        image = Image.open(paths[number * len(paths) // min(count, len(paths))]).convert("RGB")
        size = image.width * ENLARGED, image.height * ENLARGED
        yield encode(image.resize(size, Image.Resampling.LANCZOS), "JPEG", quality=QUALITY)


def compare(page: Page, url: str, photo: bytes) -> Compared:
    """Send it both ways."""
    sent, ms = page.evaluate(SHRINK, [asset("page_shrink.js"), base64.b64encode(photo).decode()])
    copy = base64.b64decode(sent)
    before, after = classify(url, photo), classify(url, copy)
    now = dict(after["predictions"])
    changes = [abs(p - now[name]) for name, p in before["predictions"]]
    (first, p), (_, runner_up) = before["predictions"][:2]
    return Compared(
        original=len(photo),
        sent=len(copy),
        ms=ms,
        mean=statistics.mean(changes),
        largest=max(changes),
        flipped=p - runner_up > LEADS and after["predictions"][0][0] != first,
        verdict=before["verdict"] != after["verdict"],
    )


def classify(url: str, photo: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = httpx2.post(f"{url}/upload", files={"file": photo}, timeout=60, trust_env=False).json()
    return answer


def main() -> None:
    """Compare each photo, print what came of all."""
    parser = argparse.ArgumentParser(prog="python -m bench.shrink", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photos of what the served bundle knows")
    parser.add_argument("--count", type=int, default=50, help="photos at most (50)")
    args = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        sys.exit("No Chromium was found: install one, or set CHROMIUM to it.")
    with live_service() as live, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGS))
        page = browser.new_page()
        page.goto(live.url)
        found = [compare(page, live.url, photo) for photo in photos(args.folder, args.count)]
        browser.close()
    if not found:
        sys.exit(f"{args.folder} holds no photos.")
    report(found)


def report(found: list[Compared]) -> None:
    original, sent = (sum(getattr(each, key) for each in found) / len(found) for key in ("original", "sent"))
    ms = sorted(each.ms for each in found)
    print(f"{len(found)} photos, {ENLARGED} times enlarged ({BARS})")
    print(f"mean |Δp| {statistics.mean(each.mean for each in found):.4f}, largest {max(e.largest for e in found):.4f}")
    print(f"first class changed where it led: {sum(each.flipped for each in found)}")
    print(f"verdict changed: {sum(each.verdict for each in found)}")
    print(f"sent: {sent / 1e3:.0f} KB instead of {original / 1e3:.0f} KB on average, {1 - sent / original:.0%} saved")
    print(f"in the browser: {statistics.median(ms):.0f} ms a photo, {ms[-1]:.0f} ms at most")


if __name__ == "__main__":
    main()
