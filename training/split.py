"""Which photos train and which validate: decided once, from their content, and kept as a file a person can read.

Under 500 photos every photo validates once: five folds, each judged by a network that trained on the other four.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from app import card
from training.errors import TrainingError
from training.files import write_work
from training.folders import TRAIN, VALIDATION, Row, check_class, misplaced, scan
from training.folds import FOLDS, choose
from training.progress import advancer, bars
from training.similar import fingerprints, groups
from training.words import command, several, some

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
    as_before = " (as before)" if (work / "split.csv").exists() and not args.again else ""
    with bars() as progress:
        split = prepare(args.data, work, args.seed, progress, again=args.again)
    for note in split.notes:
        print(note)  # noqa: T201
    sides = Counter(row.split for row in split.rows)
    folded = f", all {len(split.rows)} in turn ({FOLDS} folds)" if split.rows[0].fold else ""
    print(  # noqa: T201
        f"{split.path}{as_before}: {sides[TRAIN]} photos train, {sides[VALIDATION]} validate{folded}."
    )
    place = ("--work", args.work) if args.work else ()
    print("Next:", command("train", args.data, *place, "--out", "RUN"))  # noqa: T201
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
        write_work(path, COLUMNS, map(cells, rows))
        if alike:
            notes.append(f"{sum(map(len, alike))} photos look like another one: such photos stay on one side.")
    return Split(tuple(rows), path, tuple(notes + doubts(rows)))


def look_alikes(data: Path, rows: Sequence[Row], progress: Progress) -> list[list[int]]:
    """Groups of indices of equal and of nearly equal photos; nothing where the sides are given already."""
    free = [index for index, row in enumerate(rows) if not row.split]
    found = fingerprints(data, [rows[index].file for index in free], advancer(progress, "look-alikes", len(free)))
    # a photo that cannot be read has its content for a fingerprint
    prints = [
        int(rows[index].sha256[:16], 16) if value is None else value for index, value in zip(free, found, strict=True)
    ]
    return [[free[place] for place in group] for group in groups(prints)] if prints else []


def cells(row: Row) -> tuple[str, ...]:
    """A row as it stands in a split file, under COLUMNS."""
    return row.file, row.label, row.split, row.fold, row.sha256


def read(path: Path) -> list[Row]:
    """The rows of a split file; raises TrainingError if it is none."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = [
                Row(line["file"], line["class"], line["split"], line["sha256"], line["fold"])
                for line in csv.DictReader(file, restval="")
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
    """Refuse no class, a single one, and names that no class may have."""
    classes = sorted({row.label for row in rows})
    if len(classes) < 2:
        raise misplaced(data, f"only one class, {classes[0]!r}" if classes else "no folder with photos")
    for label in classes:
        check_class(label, str(data))
    try:
        card.check_classes(classes)
    except ValueError as error:
        raise TrainingError(f"{data}: {error}.") from error


def check_sides(rows: Sequence[Row], classes: Iterable[str]) -> None:
    """Refuse a class with too few photos or with none to train on, and an empty validation side."""
    contents: dict[str, set[str]] = {label: set() for label in classes}
    places: dict[str, set[str]] = {label: set() for label in contents}
    for row in rows:
        contents[row.label].add(row.sha256)
        places[row.label].add(row.fold or row.split)
    for label in sorted(contents):
        if len(contents[label]) < FEWEST:
            different = several(len(contents[label]), "different photo")
            raise TrainingError(f"Class {label!r} has {different}; at least {FEWEST} are needed.")
        if len(places[label]) == 1 and TRAIN not in places[label]:  # one fold is as bad as validation alone
            raise TrainingError(
                f"Class {label!r} leaves no photo to train on: add some that look different (look-alikes stay on one "
                "side), or move some to train/."
            )
    if not any(row.split == VALIDATION for row in rows):
        raise TrainingError("There is no photo to validate on; move some from train/ to val/, or delete val/.")


def doubts(rows: Sequence[Row]) -> list[str]:
    """Sentences about equal photos on both sides (given folders can hold such) or in two classes, about classes that
    nothing validates, and about names that differ in case alone."""
    sides: dict[str, set[str]] = {}
    labels: dict[str, set[str]] = {}
    spellings: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row.sha256, set()).add(row.split)
        labels.setdefault(row.sha256, set()).add(row.label)
        spellings.setdefault(row.label.casefold(), set()).add(row.label)
    notes = []
    if both := sum(len(found) > 1 for found in sides.values()):
        notes.append(f"{several(both, 'photo')} on both sides of the split: the validation error will look too good.")
    if torn := sum(len(found) > 1 for found in labels.values()):
        notes.append(f"{several(torn, 'photo')} in more than one class: decide for one (`verify` names them).")
    if unseen := sorted({row.label for row in rows} - {row.label for row in rows if row.split == VALIDATION}):
        notes.append(f"No photo validates {some(unseen, 'class', 'classes')}: mistakes there will not be seen.")
    similar = [" and ".join(sorted(names)) for names in spellings.values() if len(names) > 1]
    return notes + [f"The classes {names} differ only in case: are they one?" for names in similar]
