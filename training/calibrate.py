"""How far a network's confidence can be trusted: a temperature that mends it, how well it does, and when to be unsure.

Everything is found on photos that the network which judged them had not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.answer import probabilities
from app.card import QUANTILES
from training.history import Prediction

BINS = 15  # of confidence, from 0 to 1; Guo et al. 2017
FEWEST = 50  # photos: fewer say too little
REJECTED = 0.05  # share of the photos of its classes that a bundle may take for none of them, or be unsure of
LEAST, MOST = 0.05, 20.0  # of temperatures
DRAWS = 1000  # of what chance alone would make of a calibrated network
SMALLEST = 1e-6  # validation.csv has six digits

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Bin:
    """Photos of about the same confidence: how many, their mean confidence, the share that was right."""

    photos: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """Expected calibration error over BINS, beside what chance makes of a network that is calibrated: its mean and its
    95th percentile. `bins`: those with photos in them, from the least confident on."""

    ece: float
    chance: float
    chance95: float
    bins: list[Bin]


@dataclass(frozen=True)
class Calibration:
    """`after`: at the temperature found on the other folds, where there are folds. `unsure_below`: the probability
    under which REJECTED of the photos stay, and how many of those are errors; `outside_below` the same of the
    similarity, None where that is unknown. `confidence`: mean calibrated probability of the first class; `similarity`:
    its QUANTILES."""

    photos: int
    errors: int
    temperature: float
    before: Reliability
    after: Reliability
    unsure_below: float
    unsure_photos: int
    unsure_errors: int
    outside_below: float | None
    confidence: float
    similarity: dict[str, float] | None

    def as_json(self) -> dict[str, Any]:
        """For model.json."""
        found = {**asdict(self), "rejected": REJECTED}
        return {key: value for key, value in found.items() if value is not None}


def calibrate(predictions: Sequence[Prediction], classes: Sequence[str]) -> Calibration | None:
    """What the photos that were judged say; None if they are fewer than FEWEST."""
    if len(predictions) < FEWEST:
        return None
    rows = np.array([[each.probabilities[name] for name in classes] for each in predictions])
    logits = np.log(np.maximum(rows, SMALLEST))
    labels = np.array([classes.index(each.label) for each in predictions])
    temperature = fit(logits, labels)
    calibrated = probabilities(logits, temperature)
    similarities = np.array([each.similarity for each in predictions])
    known = bool(np.isfinite(similarities).all())
    wrong = calibrated.argmax(axis=1) != labels
    unsure_below = float(np.quantile(calibrated.max(axis=1), REJECTED))
    unsure = calibrated.max(axis=1) < unsure_below
    return Calibration(
        photos=len(predictions),
        errors=int(wrong.sum()),
        temperature=temperature,
        before=reliability(probabilities(logits), labels),
        after=reliability(crosswise(logits, labels, [each.fit for each in predictions]), labels),
        unsure_below=unsure_below,
        unsure_photos=int(unsure.sum()),
        unsure_errors=int((unsure & wrong).sum()),
        outside_below=float(np.quantile(similarities, REJECTED)) if known else None,
        confidence=float(calibrated.max(axis=1).mean()),
        similarity={name: float(np.quantile(similarities, float(name))) for name in QUANTILES} if known else None,
    )


def fit(logits: Floats, labels: Ints) -> float:
    """The temperature at which `labels` are likeliest (Guo et al. 2017), from LEAST to MOST.

    In 1 / T the likelihood is concave, so its slope is halved towards 0.
    """
    own = logits[np.arange(len(labels)), labels]
    low, high = np.log(1 / MOST), np.log(1 / LEAST)
    for _ in range(60):
        middle = (low + high) / 2
        slope = (own - (probabilities(np.exp(middle) * logits) * logits).sum(axis=1)).sum()
        low, high = (middle, high) if slope > 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def crosswise(logits: Floats, labels: Ints, fits: Sequence[str]) -> Floats:
    """Probabilities [V, C], those of each fold at the temperature of the others; of a single one at its own."""
    names = np.array(fits)
    if len(set(fits)) == 1:
        return probabilities(logits, fit(logits, labels))
    found = np.empty_like(logits)
    for name in sorted(set(fits)):
        here = names == name
        found[here] = probabilities(logits[here], fit(logits[~here], labels[~here]))
    return found


def reliability(rows: Floats, labels: Ints) -> Reliability:
    """How confidence and success agree, of probabilities [V, C]."""
    confidence = rows.max(axis=1)
    right = rows.argmax(axis=1) == labels
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    generator = np.random.default_rng(0)
    draws = generator.random((DRAWS, len(labels))) < confidence
    by_chance = np.array([ece(place, confidence, draw) for draw in draws])
    bins = [
        Bin(int(here.sum()), float(confidence[here].mean()), float(right[here].mean()))
        for here in (place == number for number in range(BINS))
        if here.any()
    ]
    return Reliability(
        ece(place, confidence, right), float(by_chance.mean()), float(np.quantile(by_chance, 0.95)), bins
    )


def ece(place: Ints, confidence: Floats, right: np.ndarray[Any, Any]) -> float:
    """Expected calibration error: over the bins, the mean of |confidence - success|, each bin by its photos."""
    gaps = np.bincount(place, confidence - right, BINS)
    return float(np.abs(gaps).sum() / len(confidence))
