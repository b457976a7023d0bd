"""The console snippet of docs/train.md, taken from there and run in a real Chromium on a page of ours."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image
from playwright.sync_api import Browser

from tests.live import ROOT
from training.url_list import read

Save = Callable[[str], list[str]]
SCROLLED = '<div style="height: 20000px"></div>'


def snippet() -> str:
    """The first JavaScript of docs/train.md."""
    found = re.search(r"```js\n(.*?)```", (ROOT / "docs" / "train.md").read_text(), re.DOTALL)
    assert found
    return found[1]


class PageAndPhotos(BaseHTTPRequestHandler):
    """/: the page under test; /40x30/…: a photo of that size, after which anything may come."""

    page = ""

    def do_GET(self) -> None:
        size = re.match(r"/(\d+)x(\d+)", self.path)
        if self.path == "/":
            body, kind = self.page.encode(), "text/html; charset=utf-8"
        elif size:
            out = io.BytesIO()
            Image.new("RGB", (int(size[1]), int(size[2]))).save(out, "PNG")
            body, kind = out.getvalue(), "image/png"
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header(
            "Content-Security-Policy", "default-src 'self'; img-src 'self' data:; style-src 'unsafe-inline'"
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def site() -> Iterator[str]:
    """The URL of a site with PageAndPhotos, without a slash at its end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), PageAndPhotos) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def save(chromium: Browser, site: str, tmp_path: Path) -> Save:
    """save(html): the URLs that the snippet saves of a page with this body, in order."""

    def run(body: str) -> list[str]:
        PageAndPhotos.page = f"<!doctype html><title>Bears</title>{body}"
        with chromium.new_context(viewport={"width": 800, "height": 600}, device_scale_factor=1) as context:
            page = context.new_page()
            page.goto(site)
            with page.expect_download() as started:
                page.evaluate(snippet())
            assert started.value.suggested_filename == "urls_black.txt"
            started.value.save_as(tmp_path / "urls_black.txt")
        lines = (tmp_path / "urls_black.txt").read_text().splitlines()
        assert [one.url for one in read(tmp_path / "urls_black.txt", "black").listed] == lines
        return [line.removeprefix(site) for line in lines]

    return run


def test_photos_are_saved_once_each_with_their_queries(save):
    assert save("""
        <img src="/300x200/a.jpg?X-Signature=a%2Bb%3D&amp;w=640,480">
        <img src="/300x200/a.jpg?X-Signature=a%2Bb%3D&amp;w=640,480#again">
        <img src="300x200/b c.jpg#top" style="width: 20px; height: 20px">
    """) == ["/300x200/a.jpg?X-Signature=a%2Bb%3D&w=640,480", "/300x200/b%20c.jpg"]  # fmt: skip


def test_icons_and_images_without_an_address_are_left_out(save):
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    assert save(f"""
        <img src="/99x300/icon.png"><img src="/1x1/counts-you.gif"><img src="{pixel}" width="200" height="200">
        <img><img src="">
        <img loading="lazy" data-src="/24x24/later-icon.png" width="24" height="24">
        <img src="/1x1/blank.gif" data-src="/24x24/later.png" style="width: 24px; height: 24px">
        <img src="/100x100/photo.png">
    """) == ["/100x100/photo.png"]


def test_of_images_in_several_sizes_or_not_loaded_yet_the_right_address_is_saved(save):
    images = {
        '<img srcset="/200x200/1.jpg 1x,/400x400/2.jpg 2x">': "/400x400/2.jpg",
        '<img src="/200x200/s.jpg" srcset="/900x900/w=9,h=9 900w, /300x300/w=3,h=3 300w" sizes="300px">': (
            "/900x900/w=9,h=9"
        ),
        '<picture><source srcset="/300x300/chosen.webp"><img src="/300x300/plain.jpg"></picture>': (
            "/300x300/chosen.webp"
        ),
        '<img src="/1x1/blank.gif" data-src="/300x300/lazy.jpg">': "/300x300/lazy.jpg",
        '<img src="/20x20/blur.jpg" width="300" height="300" data-src="/300x300/sharp.jpg">': "/300x300/sharp.jpg",
        '<img data-srcset="/300x300/3.jpg 300w, /600x600/6.jpg 600w">': "/600x600/6.jpg",
        '<img src="data:," data-original="/300x300/original.jpg">': "/300x300/original.jpg",
        '<img src="data:," data-lazy-src="/300x300/lazy-src.jpg">': "/300x300/lazy-src.jpg",
        '<img src="/300x300/loaded.jpg" data-src="/300x300/loaded.jpg">': "/300x300/loaded.jpg",
        f'{SCROLLED}<img loading="lazy" src="/300x300/far-below.jpg">': "/300x300/far-below.jpg",
    }
    assert save("".join(images)) == list(images.values())


def test_a_page_without_photos_still_saves_its_file(chromium, site, tmp_path):
    PageAndPhotos.page = "<!doctype html><title>None</title>"
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(site)
        with page.expect_download() as started:
            page.evaluate(snippet())
        assert Path(started.value.path()).read_text() == ""
