"""Logits → probabilities → predictions → verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.answer import OUTSIDE, UNSURE, Calibration, predictions, probabilities, verdict

CLASSES = ("black", "grizzly", "teddys")

# logits, temperature, probabilities by hand
SOFTMAX = [
    ([0.0, 0.0, 0.0], 1.0, [1 / 3, 1 / 3, 1 / 3]),
    ([math.log(1), math.log(2), math.log(5)], 1.0, [1 / 8, 2 / 8, 5 / 8]),
    ([100 + math.log(1), 100 + math.log(2), 100 + math.log(5)], 1.0, [1 / 8, 2 / 8, 5 / 8]),
    ([2 * math.log(1), 2 * math.log(2), 2 * math.log(5)], 2.0, [1 / 8, 2 / 8, 5 / 8]),
    ([math.log(1), math.log(2), math.log(5)], 0.5, [1 / 30, 4 / 30, 25 / 30]),
    ([1e4, -1e4, 0.0], 1.0, [1.0, 0.0, 0.0]),
    ([-1e30, -1e30, -1e30], 1.0, [1 / 3, 1 / 3, 1 / 3]),
]


@pytest.mark.parametrize(("logits", "temperature", "expected"), SOFTMAX)
def test_softmax_with_a_temperature(logits: list[float], temperature: float, expected: list[float]) -> None:
    found = probabilities(np.array(logits), temperature)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_probabilities_of_many_photos_each_sum_to_one() -> None:
    logits = np.random.default_rng(1).normal(0, 20, (200, 5, 3)).astype(np.float32)
    found = probabilities(logits)
    assert found.shape == logits.shape
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-12)
    np.testing.assert_array_equal(found[7, 3], probabilities(logits[7, 3]))


def test_temperature_never_changes_the_order() -> None:
    logits = np.random.default_rng(2).normal(0, 5, (100, 4))
    for temperature in (0.2, 1.0, 7.0):
        np.testing.assert_array_equal(probabilities(logits, temperature).argsort(), logits.argsort())


# probabilities in the bundle's order, ranked: ties keep the bundle's order
RANKED = [
    ([0.1, 0.2, 0.7], ["teddys", "grizzly", "black"]),
    ([0.7, 0.2, 0.1], ["black", "grizzly", "teddys"]),
    ([0.4, 0.2, 0.4], ["black", "teddys", "grizzly"]),
    ([0.2, 0.4, 0.4], ["grizzly", "teddys", "black"]),
    ([1 / 3, 1 / 3, 1 / 3], ["black", "grizzly", "teddys"]),
]


@pytest.mark.parametrize(("row", "order"), RANKED)
def test_predictions_fall_and_ties_keep_the_bundles_order(row: list[float], order: list[str]) -> None:
    ranked = predictions(CLASSES, np.array(row))
    assert [name for name, _ in ranked] == order
    assert dict(ranked) == dict(zip(CLASSES, row, strict=True))
    assert all(type(share) is float for _, share in ranked)
    assert verdict(ranked, 0.1, Calibration()) == order[0]


def test_as_many_classes_as_probabilities() -> None:
    with pytest.raises(ValueError, match="zip"):
        predictions(CLASSES, np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("p", "similarity", "expected"),
    [
        (0.9, 0.9, "black"),
        (0.6, 0.5, "black"),
        (0.59, 0.9, UNSURE),
        (0.9, 0.49, OUTSIDE),
        (0.3, 0.1, OUTSIDE),
        (0.9, None, "black"),
    ],
)
def test_the_verdict_is_by_both_thresholds_and_what_is_unlike_all_comes_first(
    p: float, similarity: float | None, expected: str
) -> None:
    ranked = [("black", p), ("teddys", 1 - p)]
    assert verdict(ranked, similarity, Calibration(unsure_below=0.6, outside_below=0.5)) == expected
