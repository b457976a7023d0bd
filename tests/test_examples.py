"""Golden photos as examples on the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.bundle import Bundle, GoldenPhoto, read_bundle
from app.examples import MOST, addresses, chosen
from tests.bundles import SHIPPED
from tests.test_http import running

BUNDLE = read_bundle(SHIPPED)


def bundle(rows: list[list[float]], **golden: Any) -> Bundle:
    """With these golden photos, as far as examples go."""
    photos = tuple(GoldenPhoto(SHIPPED / "golden/01.jpg", tuple(row)) for row in rows)
    classes = tuple(f"class {index}" for index in range(len(rows[0])))
    return replace(BUNDLE, card={"golden": golden}, classes=classes, golden=photos)


def test_the_most_telling_one_of_each_class() -> None:
    rows = [[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]
    assert chosen(bundle(rows, examples=True)) == [1, 2]


def test_one_that_is_best_for_two_classes_is_shown_once() -> None:
    assert chosen(bundle([[0.4, 0.3, 0.3], [0.8, 0.1, 0.1]], examples=True)) == [1, 0]


def test_not_too_many() -> None:
    rows = [[float(row == column) for column in range(100)] for row in range(100)]
    assert chosen(bundle(rows, examples=True)) == list(range(MOST))


@pytest.mark.parametrize("golden", [{}, {"examples": False}])
def test_none_unless_the_export_allowed_it(golden: dict[str, bool]) -> None:
    assert addresses(bundle([[1, 0], [0, 1]], **golden)) == []


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
