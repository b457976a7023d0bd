"""What a run's answers say of the classes and of single photos: plain counts, without drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.history import Prediction
from training.metrics import Ints, errors_per_class


@dataclass(frozen=True)
class Confused:
    """How many photos of class `label` were taken for class `predicted`, and how many photos that class has."""

    label: str
    predicted: str
    count: int
    photos: int


def confusion(predictions: Sequence[Prediction], classes: Sequence[str]) -> Ints:
    """Photos [C, C], by true class (row) and predicted class (column), in the order of `classes`.

    Photos of which one of the two is not among `classes` are left out.
    """
    place = {name: index for index, name in enumerate(classes)}
    table = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for each in predictions:
        if each.label in place and each.predicted in place:
            table[place[each.label], place[each.predicted]] += 1
    return table


def most_confused(predictions: Sequence[Prediction]) -> list[Confused]:
    """The pairs of true and predicted class that are mistakes, most frequent first, then by name."""
    photos = Counter(each.label for each in predictions)
    pairs = Counter((each.label, each.predicted) for each in predictions if each.label != each.predicted)
    ranked = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Confused(label, predicted, count, photos[label]) for (label, predicted), count in ranked]


def top_losses(predictions: Sequence[Prediction], count: int) -> list[Prediction]:
    """The `count` photos with the highest loss, highest first, then by file: the surest mistakes, then the doubts."""
    return sorted(predictions, key=lambda each: (-each.loss, each.file))[:count]


def rates(predictions: Sequence[Prediction], classes: Sequence[str]) -> dict[str, Any]:
    """Errors in all and per class, with 95 % Wilson intervals: training.metrics.errors_per_class of the answers."""
    place = {name: index for index, name in enumerate(classes)}
    predicted = np.array([place[each.predicted] for each in predictions], dtype=np.int64)
    labels = np.array([place[each.label] for each in predictions], dtype=np.int64)
    return errors_per_class(predicted, labels, classes)
