"""Photos dealt out over folds: from their content alone, look-alikes together, every class evenly."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from training.folders import TRAIN, VALIDATION, Row

FOLDS = 5  # so that validation is a fifth
FOLDS_BELOW = 500  # photos: more are judged once, as five fits then take long and say little more


def choose(rows: Sequence[Row], alike: Sequence[Sequence[int]], seed: int, kept: Iterable[Row]) -> list[Row]:
    """Give each photo without a side one; look-alikes stay together, and every class is spread evenly over the folds.

    Groups are ranked by a hash of seed and content, so that the split is the same on every machine. Photos that `kept`
    names (by content) stay in their fold. Of folds with equally few of a class the one with the fewest photos takes the
    next, or the first would get the odd ones of all classes. The first fold validates; folds are told only below
    FOLDS_BELOW photos.
    """
    before = {row.sha256: fold_of(row) for row in kept}
    grouped = {index for group in alike for index in group}
    free = [[index] for index, row in enumerate(rows) if not row.split and index not in grouped]
    waiting = [[rows[index] for index in group] for group in [*free, *alike]]
    ranked = sorted(waiting, key=lambda group: (min(row.label for row in group), -len(group), rank(group, seed)))
    counts: Counter[tuple[str, int]] = Counter()
    totals: Counter[int] = Counter()
    folds: dict[str, int] = {}

    def put(group: list[Row], fold: int) -> None:
        counts.update((row.label, fold) for row in group)
        totals[fold] += len(group)
        folds.update((row.file, fold) for row in group)

    for group in ranked:
        if any(row.sha256 in before for row in group):
            put(group, next(before[row.sha256] for row in group if row.sha256 in before))
    for group in ranked:
        if group[0].file not in folds:
            label = min(row.label for row in group)
            put(group, min(range(FOLDS), key=lambda fold: (counts[label, fold], totals[fold])))
    told = len(rows) < FOLDS_BELOW
    return [row if row.split else placed(row, folds[row.file], told) for row in rows]


def rank(group: Iterable[Row], seed: int) -> bytes:
    """Where chance puts a group: from what is in its photos alone."""
    return hashlib.sha256(f"{seed} {min(row.sha256 for row in group)}".encode()).digest()


def fold_of(row: Row) -> int:
    """The fold of a row of an older split; one that only said "train" is as good in any but the first."""
    if row.fold:
        return int(row.fold)
    return 0 if row.split == VALIDATION else 1 + rank([row], 0)[0] % (FOLDS - 1)


def placed(row: Row, fold: int, told: bool) -> Row:
    """The row on the side that its fold means."""
    return replace(row, split=TRAIN if fold else VALIDATION, fold=str(fold) if told else "")
