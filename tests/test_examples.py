"""Golden photos as examples on the page."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.bundle import Bundle, GoldenPhoto, read_bundle
from app.examples import MOST, MOST_BYTES, addresses, chosen
from tests.bundles import SHIPPED
from tests.test_http import running

BUNDLE = read_bundle(SHIPPED)


def bundle(rows: list[list[float]], **golden: Any) -> Bundle:
    """With these golden photos, as far as examples go."""
    photos = tuple(GoldenPhoto(SHIPPED / f"golden/{number}.jpg", tuple(row)) for number, row in enumerate(rows))
    classes = tuple(f"class {index}" for index in range(len(rows[0])))
    files = {f"golden/{number}.jpg": {"bytes": 1000 + number} for number in range(len(rows))}
    return replace(BUNDLE, card={"golden": golden, "files": files}, classes=classes, golden=photos)


def test_the_most_telling_one_of_each_class() -> None:
    rows = [[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]
    assert chosen(bundle(rows, examples=True)) == [1, 2]


def test_one_that_is_best_for_two_classes_is_shown_once() -> None:
    assert chosen(bundle([[0.4, 0.3, 0.3], [0.8, 0.1, 0.1]], examples=True)) == [1, 0]


def test_none_that_is_large() -> None:
    large = bundle([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]], examples=True)
    large.card["files"]["golden/0.jpg"]["bytes"] = MOST_BYTES + 1
    assert chosen(large) == [1, 2]
    for entry in large.card["files"].values():
        entry["bytes"] = MOST_BYTES + 1
    assert chosen(large) == []


def test_not_too_many() -> None:
    rows = [[float(row == column) for column in range(100)] for row in range(100)]
    assert chosen(bundle(rows, examples=True)) == list(range(MOST))


@pytest.mark.parametrize("golden", [{}, {"examples": False}])
def test_none_unless_the_export_allowed_it(golden: dict[str, bool]) -> None:
    assert addresses(bundle([[1, 0], [0, 1]], **golden)) == []


def test_what_another_export_has_put_in_its_place_is_not_shown(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "bears")
    with running(model=tmp_path / "bears") as client:
        address = addresses(BUNDLE)[0]
        golden = tmp_path / "bears" / BUNDLE.golden[chosen(BUNDLE)[0]].path.relative_to(SHIPPED)
        assert client.get(address).status_code == 200
        golden.write_bytes((SHIPPED / "golden/06.jpg").read_bytes())
        assert client.get(address).status_code == 404
        golden.unlink()
        assert client.get(address).status_code == 404


def test_those_of_the_shipped_bundle() -> None:
    """They are open, as the page is; others, and those of other bundles, are not there."""
    with running(api_key="secret") as client:
        page = client.get("/").text
        assert len(addresses(BUNDLE)) == 3
        for address in addresses(BUNDLE):
            assert f'src="{address}"' in page
            response = client.get(address)
            number = int(address.rsplit("/", 1)[1])
            assert response.content == BUNDLE.golden[number].path.read_bytes()
            assert response.headers["content-type"] == "image/jpeg"
            assert "immutable" in response.headers["cache-control"]
        others = {f"/examples/{BUNDLE.version}/{number}" for number in range(8)} - set(addresses(BUNDLE))
        for address in [*others, "/examples/0123456789ab/0", f"/examples/{BUNDLE.version}/x"]:
            assert client.get(address).json()["error"]["code"] == "not_found"
