"""A real headless Chromium: found, or installed as root on Debian. These tests are never skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "google-chrome", "chromium-browser")
INSTALL = ("apt-get update", "apt-get install -y --no-install-recommends chromium")
# No sandbox: it does not work for root, and these tests only open pages of our own. The rest keeps it off the network.
ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """The browser's path: $CHROMIUM, or the first of the usual names."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def install_chromium() -> None:
    """apt-get it, as root on Debian; elsewhere fail with the line to type."""
    if os.environ.get("CHROMIUM"):
        pytest.fail(f"CHROMIUM is {os.environ['CHROMIUM']!r}, which is no program.")
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        pytest.fail(f"These tests need Chromium: sudo {INSTALL[1]}   (or set CHROMIUM to a Chromium or Chrome)")
    for line in INSTALL:
        subprocess.run(line.split(), check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of this package: with the package it ends, and so does Playwright's event loop."""
    if find_chromium() is None:
        install_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGS))
        yield browser
        browser.close()
