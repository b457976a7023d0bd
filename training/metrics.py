"""Rates with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]


def error_rate(wrong: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Photos, errors, error rate and its 95 % Wilson interval, from a boolean per photo."""
    errors, photos = int(wrong.sum()), len(wrong)
    return {"photos": photos, "errors": errors, "error_rate": errors / photos, "wilson95": list(wilson(errors, photos))}


def wilson(events: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a rate (95 % by default): honest for few trials and for rates near 0 and 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    rate, squared = events / trials, z * z / trials
    centre = (rate + squared / 2) / (1 + squared)
    half = z / (1 + squared) * math.sqrt(rate * (1 - rate) / trials + squared / trials / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def coin_tail(heads: int, throws: int) -> float:
    """How likely a fair coin shows `heads` heads or fewer: one side of the exact McNemar test."""
    return sum(math.comb(throws, fewer) for fewer in range(heads + 1)) / (1 << throws)


def errors_per_class(predicted: Ints, labels: Ints, classes: Sequence[str]) -> dict[str, Any]:
    """Errors over photos, in all and per class, from the index [V] of the predicted and of the true class."""
    wrong = predicted != labels
    per_class = {
        name: error_rate(wrong[labels == index]) for index, name in enumerate(classes) if (labels == index).any()
    }
    return {**error_rate(wrong), "per_class": per_class}
