"""A stranger's card, by what the page about the model and the gauges make of it: refused, or no harm done."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app import card as cards
from app.bundle import read_bundle
from app.card import MOST_CLASSES, read_expected
from app.drift import FEWEST, Drift
from app.model_card import percent
from app.outcome import Said
from tests.bundles import SHIPPED

BUNDLE = read_bundle(SHIPPED)
Card = dict[str, Any]


def changed(change: Callable[[Card], object]) -> Card:
    card = copy.deepcopy(BUNDLE.card)
    change(card)
    return cards.load(json.dumps(card).encode())


def many_classes(card: Card) -> None:
    rate = card["metrics"]["validation"]["f32"]
    own = {"photos": 1, "errors": 0, "error_rate": 0, "wilson95": [0, 1]}
    rate["per_class"] = {f"class {number}": own for number in range(MOST_CLASSES + 1)}


def many_bins(card: Card) -> None:
    card["calibration"]["after"]["bins"] = [{"photos": 1, "confidence": 1, "right": 1}] * (MOST_CLASSES + 1)


@pytest.mark.parametrize("change", [many_classes, many_bins])
def test_tables_that_would_take_seconds_to_show(change: Callable[[Card], None]) -> None:
    with pytest.raises(ValueError, match="at most 2,000 entries"):
        cards.check_shown(changed(change))


@pytest.mark.parametrize("name", ["photos", "errors", "unsure_photos", "unsure_errors", "rejected"])
@pytest.mark.parametrize("value", ["x", [0], -1, 1e300, None, True])
def test_what_calibration_counts_is_a_number(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} of the calibration must be a number"):
        cards.check_shown(changed(lambda card: card["calibration"].update({name: value})))


class Text(str):
    """One that tells when it is repeated, which a stranger's of 15 MB would be a hundred times."""

    def __rmul__(self, count: Any) -> str:
        raise AssertionError(count)


def test_a_share_that_is_a_text_is_not_taken_a_hundred_times() -> None:
    with pytest.raises(ValueError, match="format"):
        percent(Text("x"))  # type: ignore[arg-type]
    assert [percent(share).replace("\u00a0", " ") for share in (0, 0.0556, 1)] == ["0.0 %", "5.6 %", "100.0 %"]


@pytest.mark.parametrize("sides", [{}, {"training": 0}, {"training": 0.4, "validation": 0.4}])
def test_classes_of_no_photos_are_no_mix_to_compare_with(sides: dict[str, float]) -> None:
    def change(card: Card) -> None:
        card["training"]["data"]["photos"] = dict.fromkeys(BUNDLE.classes, sides)

    expected = read_expected(changed(change), BUNDLE.classes)
    assert expected.photos == {}
    drift = Drift()
    first = BUNDLE.classes[0]
    drift.add(replace(BUNDLE, expected=expected), [Said(first, 0.5, first, None)] * FEWEST)
    names = {family.name for family in drift.collect()}
    assert "tellapart_recent_class_share" in names
    assert "tellapart_recent_class_psi" not in names
