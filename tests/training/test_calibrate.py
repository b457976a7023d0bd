"""Calibration against what is known: logits whose temperature we chose ourselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from app.answer import probabilities
from training.calibrate import BINS, FEWEST, LEAST, MOST, Calibration, calibrate, crosswise, fit, reliability
from training.charts import EDGE, reliability_chart
from training.history import Prediction

CLASSES = ["black", "grizzly", "teddys"]


def drawn(photos: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large, and labels drawn by the true probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (photos, 3))
    labels = np.array([random.choice(3, p=row) for row in probabilities(logits)])
    return temperature * logits, labels


def said(logits: np.ndarray, labels: np.ndarray, similarity: Sequence[float] | None = None) -> list[Prediction]:
    """The same as the rows of validation.csv, over five folds."""
    rows = probabilities(logits)
    near = similarity or [0.5 + index / len(rows) / 2 for index in range(len(rows))]
    return [
        Prediction(
            f"{index}.jpg", CLASSES[label], CLASSES[int(row.argmax())], str(index % 5), -math.log(row[label]),
            near[index], dict(zip(CLASSES, map(float, row), strict=True)),
        )
        for index, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]  # fmt: skip


def found(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    calibration = calibrate(said(logits, labels), CLASSES)
    assert calibration is not None
    return calibration


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    assert fit(*drawn(20_000, temperature)) == pytest.approx(temperature, rel=0.05)


def test_no_temperature_near_it_makes_the_labels_likelier() -> None:
    logits, labels = drawn(300, 1.7)
    best = fit(logits, labels)

    def loss(temperature: float) -> float:
        return -float(np.log(probabilities(logits, temperature)[np.arange(300), labels]).sum())

    assert loss(best) < min(loss(best * 1.01), loss(best / 1.01))


def test_a_temperature_stays_within_bounds() -> None:
    logits, _ = drawn(100, 1)
    assert fit(logits, logits.argmax(axis=1)) == pytest.approx(LEAST)
    assert fit(logits, logits.argmin(axis=1)) == pytest.approx(MOST)


def test_calibration_mends_what_is_too_sure_and_leaves_the_order_alone() -> None:
    logits, labels = drawn(2000, 3)
    calibration = found(logits, labels)
    assert calibration.before.ece > calibration.before.chance95
    assert calibration.after.ece < calibration.after.chance95 < 0.05
    assert calibration.errors == (logits.argmax(axis=1) != labels).sum()


def test_each_fold_is_judged_at_the_temperature_of_the_others() -> None:
    logits, labels = drawn(200, 1)
    logits[::2] *= 4  # fold "0" is four times too sure, fold "1" is not
    rows = crosswise(logits, labels, ["0", "1"] * 100)
    assert np.allclose(rows[::2], probabilities(logits[::2], fit(logits[1::2], labels[1::2])))
    assert np.allclose(rows[1::2], probabilities(logits[1::2], fit(logits[::2], labels[::2])))


def test_bins_and_error_by_hand() -> None:
    rows = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    found = reliability(rows, np.array([0, 1, 0, 0]))
    assert [(each.photos, each.right) for each in found.bins] == [(2, 0.5), (2, 0.5)]
    assert [each.confidence for each in found.bins] == pytest.approx([0.6, 0.9])
    assert found.ece == pytest.approx((0.4 + 0.1) / 2)
    assert found.chance < found.chance95


def test_certainty_is_in_the_last_bin() -> None:
    found = reliability(np.array([[1.0, 0.0]] * 3), np.array([0, 0, 0]))
    assert (len(found.bins), found.ece, found.chance95) == (1, 0, 0)
    assert BINS == 15


def test_thresholds_leave_a_twentieth_out() -> None:
    logits, labels = drawn(400, 1)
    calibration = found(logits, labels)
    assert calibration.unsure_photos == 20
    assert 0 < calibration.unsure_errors <= 20
    assert calibration.outside_below == pytest.approx(0.5 + 0.05 / 2, abs=0.002)


def test_without_similarities_nothing_is_outside() -> None:
    logits, labels = drawn(100, 1)
    calibration = calibrate(said(logits, labels, [math.nan] * 100), CLASSES)
    assert calibration is not None
    assert calibration.outside_below is None


def test_too_few_photos_say_too_little() -> None:
    logits, labels = drawn(FEWEST - 1, 1)
    assert calibrate(said(logits, labels), CLASSES) is None


def test_the_chart_shows_both_and_ends_where_certainty_is_always_right() -> None:
    chart = reliability_chart(found(*drawn(500, 2.5)))
    assert [kind for kind, _ in chart.paths] == ["valid faint", "train", "valid"]
    assert chart.paths[0][1].endswith(f"L{EDGE['right']} {EDGE['top']}")
