"""What a browser needs to install the page and to share photos with it. The worker at work: browser/test_pwa.py."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.assets import STATIC
from tests.icons import ICONS, png
from tests.test_http import HTML, error, running
from tests.test_page import Strict, render, text
from tests.wire import TEDDY

MANIFEST: dict[str, Any] = json.loads((STATIC / "manifest.webmanifest").read_text())
KEY = {"Authorization": "Bearer s3cret"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running(api_key="s3cret") as client:
        yield client


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sw.js", r"(text|application)/javascript(; charset=utf-8)?"),
        ("manifest.webmanifest", "application/manifest\\+json"),
    ],
)
def test_worker_and_manifest_at_the_root_without_a_key(client: TestClient, name: str, kind: str) -> None:
    response = client.get(f"/{name}")
    assert response.status_code == 200
    assert response.content == (STATIC / name).read_bytes()
    assert re.fullmatch(kind, response.headers["content-type"])
    assert response.headers["cache-control"] == "no-cache"
    assert "manifest-src 'self'; worker-src 'self'" in response.headers["content-security-policy"]
    again = client.get(f"/{name}?v=1", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")
    assert client.head(f"/{name}").status_code == 200


def test_the_page_names_the_manifest() -> None:
    assert '<link rel="manifest" href="/manifest.webmanifest">' in render({})


def test_the_manifest_lets_a_browser_install_the_page(client: TestClient) -> None:
    assert MANIFEST["name"]
    assert len(MANIFEST["short_name"]) <= 12  # what fits below an icon
    assert MANIFEST["display"] == "standalone"
    assert MANIFEST["id"] == MANIFEST["start_url"] == MANIFEST["scope"] == "/"
    assert all(re.fullmatch("#[0-9a-f]{6}", MANIFEST[name]) for name in ("background_color", "theme_color"))
    for each in MANIFEST["icons"]:
        response = client.get(each["src"])
        assert response.headers["content-type"] == each["type"]
        if each["type"] == "image/png":
            with Image.open(io.BytesIO(response.content)) as found:
                assert each["sizes"] == f"{found.width}x{found.height}"
    plain = {each["sizes"] for each in MANIFEST["icons"] if "purpose" not in each}
    assert {"192x192", "512x512"} <= plain


@pytest.mark.parametrize("name", ICONS)
def test_icons_are_drawn_from_the_svg(name: str) -> None:
    kept = (STATIC / name).read_bytes()
    drawn = [np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"), int) for data in (kept, png(*ICONS[name]))]
    assert np.abs(drawn[0] - drawn[1]).max() <= 8  # another Pillow may choose other colours out of as many
    assert len(kept) < 6000


def test_a_phone_may_cut_the_maskable_icon() -> None:
    """It is opaque, and what it shows lies within two fifths of its side from the middle (W3C, maskable icons)."""
    found = np.asarray(Image.open(STATIC / "icon-maskable.png").convert("RGBA"), float)
    assert found[..., 3].min() == 255
    rows, columns = np.indices(found.shape[:2])
    far = np.hypot(rows - 255.5, columns - 255.5) > 0.4 * 512
    assert np.abs(found[far] - found[0, 0]).max() <= 8


def test_photos_shared_where_no_worker_runs(client: TestClient) -> None:
    target = MANIFEST["share_target"]
    assert (target["method"], target["enctype"]) == ("POST", "multipart/form-data")
    [files] = target["params"]["files"]
    sent = [(files["name"], (name, TEDDY, "image/jpeg")) for name in ("1.jpg", "2.jpg")]
    assert error(client.post(target["action"], files=sent)) == (401, "unauthorized")
    response = client.post(target["action"], files=sent, headers=KEY | HTML)
    assert response.status_code == 200
    Strict().feed(response.text)
    assert text(response.text).count("teddys teddys") == 2


def test_the_worker_keeps_what_its_offline_page_needs(client: TestClient) -> None:
    script = (STATIC / "sw.js").read_text()
    offline = re.search('OFFLINE = "(.*)"', script)
    assert offline
    page = client.get(offline[1])
    assert page.headers["content-type"].startswith("text/html")
    Strict().feed(page.text)
    kept = re.search(r"KEPT = \[OFFLINE, (.*)\]", script)
    assert kept
    assert set(re.findall(r'(?:href|src)="(/static/[^"]*)"', page.text)) == set(json.loads(f"[{kept[1]}]"))
