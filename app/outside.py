"""Whether a photo is like any of those that trained a network: how near to theirs its features are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import load, save

Floats = np.ndarray[Any, np.dtype[np.float32]]

# Mean over several, as a single one may be mislabelled or odd; docs/DECISIONS.md compares 1 to 50.
NEAREST = 10
WIDTH = 512  # features of a photo
MOST = 960  # photos whose features a bundle keeps: float16, 1 MB
NAME = "features"
# Rows that one photo is compared with at a time. For much larger products OpenBLAS wakes threads of its own beside the
# engine's: with 960 rows at once a photo took 0.2 to 3 ms of CPU, in pieces 0.05.
PIECE = 256
ROUNDING = 0.01  # of a length in float16; no more than 0.001 where every feature is 0.04


def unit(features: np.ndarray[Any, Any]) -> Floats:
    """Features [N, 512] at length 1, float32; of no length, as they are."""
    found = np.asarray(features, np.float32)
    lengths = np.linalg.norm(found, axis=-1, keepdims=True)
    return np.asarray(found / np.where(lengths > 0, lengths, 1))


def write(features: np.ndarray[Any, Any]) -> bytes:
    """Features [M, 512] as the content of a bundle's reference.safetensors: float16, at length 1."""
    return save({NAME: unit(features).astype(np.float16)})


def read(content: bytes) -> Floats:
    """What `write` wrote, as unit rows [M, 512], float32. Raises ValueError or SafetensorError."""
    found = load(content)
    if list(found) != [NAME]:
        raise ValueError(f"it must hold {NAME!r} alone")
    rows = found[NAME]
    if rows.dtype != np.float16 or rows.ndim != 2 or rows.shape[1] != WIDTH or not 1 <= len(rows) <= MOST:
        raise ValueError(f"features must be float16, 1 to {MOST} rows of {WIDTH}")
    if not (abs(np.linalg.norm(rows.astype(np.float32), axis=1) - 1) < ROUNDING).all():
        raise ValueError("features must have length 1")
    return unit(rows)


def similarity(features: np.ndarray[Any, Any], reference: Floats) -> Floats:
    """Mean cosine similarity [N] of features [N, 512] to the NEAREST of `reference` (unit rows [M, 512]).

    Source: Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022, who take the distance
    to the k-th.
    """
    rows = unit(features)
    pieces = [rows @ reference[start : start + PIECE].T for start in range(0, len(reference), PIECE)]
    cosines = np.concatenate(pieces, axis=1)
    count = min(NEAREST, cosines.shape[1])
    return np.asarray(np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1))


def evenly(labels: Sequence[Hashable], most: int = MOST) -> list[int]:
    """Which of the photos to keep as reference: at most `most` places, in order, each class in turn."""
    turns: dict[Hashable, int] = {}
    ranked = []
    for place, label in enumerate(labels):
        turns[label] = turns.get(label, 0) + 1
        ranked.append((turns[label], place))
    return sorted(place for _, place in sorted(ranked)[:most])
