"""Static files: which addresses lead to them, and how long a browser may keep them."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from app.assets import FOR_EVER, STATIC, Assets, asset, version

CLIENT = TestClient(Starlette(routes=[Mount("/static", Assets())]))
OLD = "0123456789ab"


def test_what_this_version_names_is_kept_for_ever() -> None:
    response = CLIENT.get(asset("page.js"))
    assert response.content == (STATIC / "page.js").read_bytes()
    assert response.headers["cache-control"] == FOR_EVER


@pytest.mark.parametrize("path", ["/static/page.css", f"/static/{OLD}/page.css"])
def test_anything_else_is_asked_about_again(path: str) -> None:
    response = CLIENT.get(path)
    assert response.content == (STATIC / "page.css").read_bytes()
    assert response.headers["cache-control"] == "no-cache"
    again = CLIENT.get(path, headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")


@pytest.mark.parametrize("name", ["", OLD, f"{OLD}/", f"{OLD}/{OLD}/page.js", f"{OLD}/../app/main.py", "nothing.js"])
def test_there_is_nothing_else(name: str) -> None:
    assert CLIENT.get(f"/static/{name}").status_code == 404


def test_scripts_import_neighbours() -> None:
    """By relative names, which carry the version on."""
    for script in STATIC.glob("*.js"):
        for source in re.findall(r"^import .* from \"(.*)\";$", script.read_text(), re.MULTILINE):
            assert source.startswith("./")
            assert (STATIC / source).is_file()


def test_the_version_is_of_all_files() -> None:
    assert re.fullmatch("[0-9a-f]{12}", version())
