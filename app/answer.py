"""Logits → calibrated probabilities → predictions and a verdict. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

UNSURE = "not sure"
OUTSIDE = "none of these"
# What a verdict may be beside a class; no class may bear these names.
VERDICTS = (UNSURE, OUTSIDE)

Floats = np.ndarray[Any, np.dtype[np.float64]]
Predictions = list[tuple[str, float]]


@dataclass(frozen=True)
class Calibration:
    """What makes answers trustworthy; found by training, in the bundle's card.

    Logits are divided by `temperature`; a first class less probable than `unsure_below` is UNSURE; a photo less similar
    than `outside_below` to those that trained (app/outside.py) is OUTSIDE. None: there are no grounds to say so.
    """

    temperature: float = 1.0
    unsure_below: float | None = None
    outside_below: float | None = None


def probabilities(logits: np.ndarray[Any, Any], temperature: float = 1.0) -> Floats:
    """Softmax of logits [..., C] / temperature (Guo et al. 2017); float64, each row sums to 1."""
    scaled = np.asarray(logits, np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def predictions(classes: Sequence[str], row: Floats) -> Predictions:
    """All classes with their probability, most probable first; ties keep the bundle's order."""
    return sorted(zip(classes, map(float, row), strict=True), key=lambda pair: -pair[1])


def verdict(ranked: Predictions, similarity: float | None, calibration: Calibration) -> str:
    """A class, or UNSURE or OUTSIDE. What is like nothing known is OUTSIDE, however sure the network is of it."""
    name, p = ranked[0]
    if similarity is not None and calibration.outside_below is not None and similarity < calibration.outside_below:
        return OUTSIDE
    return UNSURE if calibration.unsure_below is not None and p < calibration.unsure_below else name
