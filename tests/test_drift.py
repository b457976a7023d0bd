"""Gauges of the last answers: against counts by hand, and against chance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from app.answer import OUTSIDE, UNSURE
from app.bundle import Bundle, read_bundle
from app.card import QUANTILES, Expected
from app.drift import FEWEST, WINDOW, Drift, psi
from app.outcome import Said
from tests.bundles import SHIPPED

BUNDLE = replace(
    read_bundle(SHIPPED),
    expected=Expected(
        {"black": 100, "grizzly": 200, "teddys": 100},
        0.9,
        dict(zip(QUANTILES, (0.8, 0.84, 0.86, 0.88, 0.9), strict=True)),
    ),
)
OTHER = replace(BUNDLE, version="0" * 12)


def said(first: str = "black", confidence: float = 0.8, verdict: str = "", similarity: float | None = 0.85) -> Said:
    return Said(first, confidence, verdict or first, similarity)


def gauges(answers: Iterable[Said], bundle: Bundle = BUNDLE) -> dict[str, float]:
    drift = Drift()
    drift.add(bundle, answers)
    return read(drift)


def read(drift: Drift) -> dict[str, float]:
    return {
        " ".join([sample.name.removeprefix("tellapart_"), *sample.labels.values()]): sample.value
        for family in drift.collect()
        for sample in family.samples
    }


def test_before_the_first_answer_there_are_none() -> None:
    assert gauges([]) == {}


def test_they_are_means_and_shares_of_the_answers() -> None:
    found = gauges(
        [
            said(confidence=0.5, verdict=UNSURE),
            said(confidence=0.9),
            said("grizzly", 0.7, OUTSIDE, 0.6),
            said(confidence=0.9),
        ]
    )
    assert found["recent_answers"] == 4
    assert found["recent_confidence"] == pytest.approx(0.75)
    assert (found["recent_verdict_share not sure"], found["recent_verdict_share none of these"]) == (0.25, 0.25)
    assert found["recent_similarity 0.5"] == pytest.approx(0.85)
    assert (found["trained_similarity 0.5"], found["trained_confidence"]) == (0.86, 0.9)


def test_the_last_ones_count() -> None:
    found = gauges([said(confidence=0.2)] * 3 + [said(confidence=0.6)] * WINDOW)
    assert (found["recent_answers"], found["recent_confidence"]) == (WINDOW, pytest.approx(0.6))


def test_another_bundle_begins_anew() -> None:
    drift = Drift()
    drift.add(BUNDLE, [said(confidence=0.2)] * 5)
    drift.add(OTHER, [said(confidence=0.6)])
    assert read(drift)["recent_confidence"] == pytest.approx(0.6)
    assert read(drift)["recent_answers"] == 1


def test_classes_wait_for_enough_answers_and_leave_out_what_is_none_of_them() -> None:
    outside = [said("teddys", verdict=OUTSIDE)] * 500
    few = gauges(outside + [said()] * (FEWEST - 1))
    assert not [name for name in few if "class" in name]
    enough = gauges([*outside, *[said()] * 25, *[said("grizzly")] * 50, *[said("teddys")] * 25])
    assert enough["recent_class_share grizzly"] == enough["trained_class_share grizzly"] == 0.5
    assert enough["recent_class_psi"] == pytest.approx(0, abs=1e-4)
    assert gauges([said()] * 100)["recent_class_psi"] > 2


def test_what_the_card_does_not_say_is_left_out() -> None:
    bare = replace(BUNDLE, expected=Expected({}, None, {}))
    found = gauges([said(similarity=None)] * FEWEST, bare)
    assert set(found) == {
        "recent_answers", "recent_confidence", "recent_verdict_share not sure", "recent_verdict_share none of these",
        "recent_class_share black", "recent_class_share grizzly", "recent_class_share teddys",
    }  # fmt: skip


def test_psi_by_hand() -> None:
    found, _ = psi([80, 20], [50, 50])
    one, other = (80.5 / 101, 20.5 / 101), (0.5, 0.5)
    assert found == pytest.approx(sum((a - b) * math.log(a / b) for a, b in zip(one, other, strict=True)))


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_chance_is_rarely_more_than_it_says(classes: int) -> None:
    random = np.random.default_rng(1)
    shares = np.full(classes, 1 / classes)
    pairs = [(random.multinomial(1000, shares), random.multinomial(800, shares)) for _ in range(2000)]
    over = [value > chance for value, chance in (psi(list(one), list(other)) for one, other in pairs)]
    assert 0.03 < np.mean(over) < 0.07
