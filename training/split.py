"""Which photos train and which validate: decided once, from their content, and kept as a file a person can read.

Under 500 photos every photo validates once: five folds, each judged by a network that trained on the other four.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import Progress

from app.answer import VERDICTS
from training.errors import TrainingError
from training.files import write_rows
from training.folders import TRAIN, VALIDATION, Row, scan, some
from training.progress import advancer, bars
from training.similar import fingerprints, groups

FOLDS = 5  # so that validation is a fifth
FOLDS_BELOW = 500  # photos: more are judged once, as five fits then take long and say little more
FEWEST = 5  # different photos per class: four to learn from and one to be asked about
COLUMNS = ("file", "class", "split", "fold", "sha256")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training split`."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with one folder of photos per class")
    parser.add_argument("--seed", type=int, default=42, help="which of the possible splits (default: 42)")
    parser.add_argument("--work", metavar="DIR", type=Path, help="where split.csv is kept (default: DATA/_tellapart)")
    again = "split anew after photos came or went: those that stayed keep their side"
    parser.add_argument("--again", action="store_true", help=again)


def run(args: argparse.Namespace) -> int:
    """Split, and say what came of it."""
    work = args.work or args.data / "_tellapart"
    with bars() as progress:
        split = prepare(args.data, work, args.seed, progress, again=args.again)
    for note in split.notes:
        print(note)  # noqa: T201
    sides = Counter(row.split for row in split.rows)
    folded = f", all {len(split.rows)} in turn ({FOLDS} folds)" if split.rows[0].fold else ""
    print(  # noqa: T201
        f"{split.path}: {sides[TRAIN]} photos train, {sides[VALIDATION]} validate{folded}. "
        f"Next: python -m training train {args.data} --out RUN"
    )
    return 0


@dataclass(frozen=True)
class Split:
    """The rows of a split file, sorted by file; `notes` are sentences about what a person should know."""

    rows: tuple[Row, ...]
    path: Path
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in str order: the order of the network's outputs."""
        return tuple(sorted({row.label for row in self.rows}))


def prepare(data: Path, work: Path, seed: int, progress: Progress, *, again: bool = False) -> Split:
    """The split in `work`/split.csv if there is one (and it is not to be made `again`), else a new one, written there.

    Raises TrainingError: no folder, no or one class, too few photos, or a split file that no longer fits the photos.
    """
    found, notes = scan(data)
    check_classes(found, data)
    path = work / "split.csv"
    if path.exists() and not again:
        rows = read(path)
        check_unchanged(rows, found, path)
        check_sides(rows, {row.label for row in rows})
    else:
        kept = read(path) if path.exists() else []
        alike = look_alikes(data, found, progress)
        rows = choose(found, alike, seed, kept)
        check_sides(rows, {row.label for row in rows})
        write_rows(path, COLUMNS, ((row.file, row.label, row.split, row.fold, row.sha256) for row in rows))
        if alike and not all(row.split for row in found):
            notes.append(f"{sum(map(len, alike))} photos look like another one: such photos stay on one side.")
    return Split(tuple(rows), path, tuple(notes + leaks(rows)))


def look_alikes(data: Path, rows: Sequence[Row], progress: Progress) -> list[list[int]]:
    """Groups of indices of equal and of nearly equal photos; nothing where the sides are given already."""
    free = [index for index, row in enumerate(rows) if not row.split]
    found = fingerprints(data, [rows[index].file for index in free], advancer(progress, "look-alikes", len(free)))
    # a photo that cannot be read has its content for a fingerprint
    prints = [
        int(rows[index].sha256[:16], 16) if value is None else value for index, value in zip(free, found, strict=True)
    ]
    return [[free[place] for place in group] for group in groups(prints)] if prints else []


def choose(rows: Sequence[Row], alike: Sequence[Sequence[int]], seed: int, kept: Iterable[Row]) -> list[Row]:
    """Give each photo without a side one; look-alikes stay together, and every class is spread evenly over the folds.

    Groups are ranked by a hash of seed and content, so that the split is the same on every machine. Photos that `kept`
    names (by content) stay in their fold. The first fold validates; the folds are told only below FOLDS_BELOW photos.
    """
    before = {row.sha256: fold_of(row) for row in kept}
    grouped = {index for group in alike for index in group}
    free = [[index] for index, row in enumerate(rows) if not row.split and index not in grouped]
    waiting = [[rows[index] for index in group] for group in [*free, *alike]]
    ranked = sorted(waiting, key=lambda group: (min(row.label for row in group), -len(group), rank(group, seed)))
    counts: Counter[tuple[str, int]] = Counter()
    folds: dict[str, int] = {}

    def put(group: list[Row], fold: int) -> None:
        counts.update((row.label, fold) for row in group)
        folds.update((row.file, fold) for row in group)

    for group in ranked:
        if any(row.sha256 in before for row in group):
            put(group, next(before[row.sha256] for row in group if row.sha256 in before))
    for group in ranked:
        if group[0].file not in folds:
            label = min(row.label for row in group)
            put(group, min(range(FOLDS), key=lambda fold: counts[label, fold]))
    told = len(rows) < FOLDS_BELOW
    return [row if row.split else placed(row, folds[row.file], told) for row in rows]


def rank(group: Iterable[Row], seed: int) -> bytes:
    """Where chance puts a group: from what is in its photos alone."""
    return hashlib.sha256(f"{seed} {min(row.sha256 for row in group)}".encode()).digest()


def fold_of(row: Row) -> int:
    """The fold of a row of an older split; one that only said "train" is as good in any but the first."""
    if row.fold:
        return int(row.fold)
    return 0 if row.split == VALIDATION else 1 + int(row.sha256[:8], 16) % (FOLDS - 1)


def placed(row: Row, fold: int, told: bool) -> Row:
    """The row on the side that its fold means."""
    return replace(row, split=TRAIN if fold else VALIDATION, fold=str(fold) if told else "")


def read(path: Path) -> list[Row]:
    """The rows of a split file; raises TrainingError if it is none."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = [
                Row(line["file"], line["class"], line["split"], line["sha256"], line["fold"])
                for line in csv.DictReader(file)
            ]
    except (KeyError, csv.Error) as error:
        columns = ", ".join(COLUMNS)
        raise TrainingError(
            f"{path} is not a split file, which is CSV in UTF-8 with commas and the columns {columns}; "
            "delete it to split anew."
        ) from error
    for row in rows:
        if row.split not in (TRAIN, VALIDATION):
            raise TrainingError(f"{path} gives {row.file} the split {row.split!r}; it must be {TRAIN} or {VALIDATION}.")
        if row.fold not in ("", *map(str, range(FOLDS))):
            raise TrainingError(
                f"{path} gives {row.file} the fold {row.fold!r}; it must be 0 to {FOLDS - 1}, or empty."
            )
    if len({bool(row.fold) for row in rows}) > 1:
        raise TrainingError(f"{path} gives some photos a fold and others none; give all one, or none.")
    twice = [file for file, count in Counter(row.file for row in rows).items() if count > 1]
    if twice:
        raise TrainingError(f"{path} names {twice[0]} twice; a photo stands in one place.")
    return rows


def check_unchanged(rows: list[Row], found: list[Row], path: Path) -> None:
    """Refuse a split file that does not name exactly the photos found, by file, class and content."""
    kept = {row.file: (row.label, row.sha256) for row in rows}
    here = {row.file: (row.label, row.sha256) for row in found}
    new = sorted(here.keys() - kept.keys())
    missing = sorted(kept.keys() - here.keys())
    changed = sorted(file for file in kept.keys() & here.keys() if kept[file] != here[file])
    differences = [
        f"{some(files)} {word}" for files, word in ((new, "new"), (missing, "missing"), (changed, "changed")) if files
    ]
    if differences:
        raise TrainingError(
            f"The photos are no longer those of {path} ({'; '.join(differences)}): "
            "restore them, or split anew with --again (python -m training split DATA --again)."
        )


def check_classes(rows: list[Row], data: Path) -> None:
    """Refuse no class, a single one, and names that the service's verdicts need."""
    classes = sorted({row.label for row in rows})
    if len(classes) < 2:
        what = f"only one class, {classes[0]!r}" if classes else "no folder with photos"
        raise TrainingError(
            f"{data} holds {what}; put the photos of each class into a folder of its own, {data}/CLASS/."
        )
    for label in classes:
        if label.casefold() in VERDICTS:
            raise TrainingError(
                f"A class may not be called {label!r}, which is an answer of the service; rename the folder."
            )


def check_sides(rows: list[Row], classes: Iterable[str]) -> None:
    """Refuse a class with too few photos or with none to train on, and an empty validation side."""
    for label in sorted(classes):
        contents = {row.sha256 for row in rows if row.label == label}
        if len(contents) < FEWEST:
            raise TrainingError(f"Class {label!r} has {len(contents)} different photos; at least {FEWEST} are needed.")
        if not any(row.split == TRAIN for row in rows if row.label == label):
            raise TrainingError(f"Class {label!r} has no photo to train on; move some into its train folder.")
    if not any(row.split == VALIDATION for row in rows):
        raise TrainingError("There is no photo to validate on; move some from train/ to val/, or delete val/.")


def leaks(rows: Iterable[Row]) -> list[str]:
    """Sentences about equal photos on both sides (given folders can hold such) or in two classes."""
    sides: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row.sha256, set()).add(row.split)
        labels.setdefault(row.sha256, set()).add(row.label)
    both = sum(len(found) > 1 for found in sides.values())
    torn = sum(len(found) > 1 for found in labels.values())
    notes = []
    if both:
        notes.append(f"{both} photo(s) stand on both sides of the split: the validation error will look too good.")
    if torn:
        notes.append(f"{torn} photo(s) stand in more than one class: decide for one, and delete the other.")
    return notes
