"""What the clean page shows and in which order: the photos of a run that its network found hardest, worst first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from training.errors import TrainingError
from training.folders import TRAIN, VALIDATION
from training.history import Prediction
from training.run_folder import FEATURES, Run

NEAREST = 5  # neighbours that are asked for their label
SHOWN = 6  # neighbours on the page
BUTTONS, FEW_BUTTONS = 9, 6  # classes with a button, as there are digit keys; where there are more classes, so many
BLOCK = 512  # photos compared with all others at a time: 512 × 16,000 float32 are 33 MB

Floats = np.ndarray[Any, np.dtype[np.float32]]
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Item:
    """A photo to look at: its number in split.csv, and why it is here: the prediction of a fit that had not trained on
    it, or else the share of its nearest neighbours with another label."""

    row: int
    prediction: Prediction | None
    strangers: float | None

    @property
    def badness(self) -> float:
        """What a side is sorted by; photos that have a loss come before those that have none."""
        return self.prediction.loss if self.prediction else (self.strangers or 0.0) - 1.0


class Neighbours:
    """Which photos look alike to the network: cosine similarity of its features, float32 [N, 512]."""

    def __init__(self, features: Floats, labels: Sequence[str]) -> None:
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        self._features = features / np.maximum(lengths, np.finfo(np.float32).tiny)
        self._labels = np.array(labels)

    def nearest(self, row: int, count: int = SHOWN) -> list[int]:
        """The rows most like `row`, nearest first, without itself."""
        return [int(other) for other in self._nearest(np.array([row]), count)[0]]

    def strangers(self, rows: Sequence[int], advance: Callable[[], None]) -> list[float]:
        """Per row the share (0 to 1) of its NEAREST neighbours with another label; `advance` after each BLOCK."""
        shares: list[float] = []
        for start in range(0, len(rows), BLOCK):
            block = np.array(rows[start : start + BLOCK])
            others = self._labels[self._nearest(block, NEAREST)]
            shares += (others != self._labels[block][:, None]).mean(axis=1).tolist()
            advance()
        return shares

    def _nearest(self, rows: Rows, count: int) -> Rows:
        similarity = self._features[rows] @ self._features.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        count = min(count, len(self._labels) - 1)
        first = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(similarity, first, axis=1), axis=1, kind="stable")
        return np.take_along_axis(first, order, axis=1)


def shown_classes(classes: Sequence[str], label: str, probabilities: Mapping[str, float]) -> list[str]:
    """The classes that get a button: all in their order, or of many the photo's own and then the most probable."""
    if len(classes) <= BUTTONS:
        return list(classes)
    others = sorted((name for name in classes if name != label), key=lambda name: -probabilities.get(name, 0.0))
    return [label, *others][:FEW_BUTTONS]


def read_neighbours(run: Run) -> Neighbours | None:
    """The neighbours by features.safetensors, None where a run has no such file.

    Raises TrainingError if the file is broken or is about other photos.
    """
    path = run.folder / FEATURES
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            files = json.loads((file.metadata() or {})["files"])
            features = file.get_tensor("features")
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read ({error}); move it away to clean without neighbours.") from error
    places = {name: place for place, name in enumerate(files)}
    if len(features) != len(files) or set(places) != {row.file for row in run.rows}:
        raise TrainingError(f"{path} is not about the photos of this run; move it away to clean without neighbours.")
    return Neighbours(features[[places[row.file] for row in run.rows]], [row.label for row in run.rows])


def sides(
    run: Run,
    predictions: Sequence[Prediction],
    neighbours: Neighbours | None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, list[Item]]:
    """The photos of either side, worst first: by loss where one was measured, which in a run with folds is everywhere.

    Of a training side without losses (one split): the photos that have a neighbour with another label, most first.
    """
    judged = {prediction.file: prediction for prediction in predictions}
    found: dict[str, list[Item]] = {}
    for side in (VALIDATION, TRAIN):
        rows = [number for number, row in enumerate(run.rows) if row.split == side]
        unjudged = [number for number in rows if run.rows[number].file not in judged]
        shares = neighbours.strangers(unjudged, advance) if neighbours and unjudged else [0.0] * len(unjudged)
        items = [Item(n, judged[run.rows[n].file], None) for n in rows if run.rows[n].file in judged]
        items += [Item(n, None, share) for n, share in zip(unjudged, shares, strict=True) if share]
        found[side] = sorted(items, key=lambda item: (-item.badness, item.row))
    return found
