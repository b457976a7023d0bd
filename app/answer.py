"""Logits → calibrated probabilities → predictions and a verdict. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

UNSURE = "not sure"
OUTSIDE = "none of these"
# What a verdict may be beside a class; no class may bear these names.
VERDICTS = (UNSURE, OUTSIDE)

Floats = np.ndarray[Any, np.dtype[np.float64]]
Predictions = list[tuple[str, float]]


def probabilities(logits: np.ndarray[Any, Any], temperature: float = 1.0) -> Floats:
    """Softmax of logits [..., C] / temperature (Guo et al. 2017); float64, each row sums to 1."""
    scaled = np.asarray(logits, np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def predictions(classes: Sequence[str], row: Floats) -> Predictions:
    """All classes with their probability, most probable first; ties keep the bundle's order."""
    return sorted(zip(classes, map(float, row), strict=True), key=lambda pair: -pair[1])


def verdict(ranked: Predictions) -> str:
    """The first class: an uncalibrated bundle has no grounds to say UNSURE or OUTSIDE."""
    return ranked[0][0]
