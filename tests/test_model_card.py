"""A bundle's card in words: whole, in part, and with things in it that no line may hold."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from app.bundle import read_bundle
from app.model_card import MOST, in_words
from tests.bundles import SHIPPED

CARD = read_bundle(SHIPPED).card


def told(card: dict[str, Any]) -> dict[str, str]:
    return {what: how.replace("\u00a0", " ") for what, how in in_words(card)}


def test_the_shipped_bundle_tells_all() -> None:
    found = told(CARD)
    assert list(found) == [
        "Error on photos it was not trained on", "Measured how", "Confidence", "Says “not sure”",
        "Says “none of these”", "Trained and measured on", "Started from", "Which had seen", "Trained", "Precision",
        "Golden photos",
    ]  # fmt: skip
    rate, calibration = CARD["metrics"]["validation"]["f32"], CARD["calibration"]
    assert found["Error on photos it was not trained on"].startswith(
        f"{rate['errors']} of {rate['photos']} photos wrong"
    )
    assert f"less than {100 * calibration['unsure_below']:.1f} %" in found["Says “not sure”"]
    least = f"is less than {calibration['outside_below']:.3f}: "
    assert f"the 10 photos most alike that trained {least}" in found["Says “none of these”"]
    assert found["Trained and measured on"] == "142 black, 136 grizzly, 136 teddys"


@pytest.mark.parametrize("missing", ["calibration", "metrics", "training", "usual"])
def test_each_part_may_be_missing(missing: str) -> None:
    rest = {key: value for key, value in CARD.items() if key != missing}
    whole = told(CARD)
    assert told(rest).items() <= {**whole, "Precision": told(rest)["Precision"], **errors(rest)}.items()
    assert "Golden photos" in told(rest)


def errors(card: dict[str, Any]) -> dict[str, str]:
    return {what: how for what, how in told(card).items() if what.startswith("Error")}


def test_an_imported_network_claims_nothing_of_its_training() -> None:
    found = told({**CARD, "training": {**CARD["training"], "lane": "imported"}})
    assert not {what for what in found if "rained" in what}
    assert "Photos measured on" in found
    assert "Imported" in found


def test_a_card_without_a_thought_of_what_is_outside() -> None:
    card = copy.deepcopy(CARD)
    del card["calibration"]["outside_below"]
    assert "Says “none of these”" not in told(card)


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\nb", "a\u202eb", "x" * 10_000])
def test_whatever_a_card_holds_is_one_line(text: str) -> None:
    training = {"measured": text, "lane": text, "date": text, "weights": {"source": text, "seen": text}}
    for what, how in in_words({**CARD, "training": training}):
        assert f"{what}{how}".replace("\u00a0", " ").isprintable()
        assert len(how) <= MOST
