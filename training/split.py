"""Which photos train and which validate: decided once, from their content, and kept as a file a person can read."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from app.answer import VERDICTS
from app.image import sniff
from training.errors import TrainingError
from training.files import write_rows

TRAIN, VALIDATION = "train", "validation"
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")
VALIDATION_SHARE = 0.2
FEWEST = 5  # different photos per class: four to learn from and one to be asked about
COLUMNS = ("file", "class", "split", "sha256")


@dataclass(frozen=True)
class Row:
    """One photo: its path below DATA with forward slashes, its class, its side ("" until chosen), its content."""

    file: str
    label: str
    split: str
    sha256: str


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

    def side(self, split: str) -> list[Row]:
        """The rows of one side, sorted by file."""
        return [row for row in self.rows if row.split == split]


def prepare(data: Path, work: Path, seed: int) -> Split:
    """The split in `work`/split.csv if there is one, else a new one, written there.

    Raises TrainingError: no folder, no or one class, too few photos, or a split file that no longer fits the photos.
    """
    found, notes = scan(data)
    check_classes(found, data)
    path = work / "split.csv"
    kept = path.exists()
    rows = read(path) if kept else choose(found, seed)
    check_unchanged(rows, found, path)
    check_sides(rows, {row.label for row in rows})
    if not kept:
        write_rows(path, COLUMNS, ((row.file, row.label, row.split, row.sha256) for row in rows))
    return Split(tuple(rows), path, tuple(notes + leaks(rows)))


def scan(data: Path) -> tuple[list[Row], list[str]]:
    """Every photo below DATA, sorted by file, and a sentence about files that are none.

    Classes are the direct subfolders that hold a photo, or those of train/ and val/ where train/ holds classes.
    """
    if not data.is_dir():
        raise TrainingError(f"There is no folder {data}.")
    rows, strangers = [], []
    for folder, split in class_folders(data):
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            content, file = path.read_bytes(), path.relative_to(data).as_posix()
            if sniff(content) is None:
                strangers.append(file)
            else:
                rows.append(Row(file, folder.name, split, hashlib.sha256(content).hexdigest()))
    notes = [f"{some(strangers)} left out: not an image in a format that tellapart reads."] if strangers else []
    return sorted(rows, key=lambda row: row.file), notes


def class_folders(data: Path) -> list[tuple[Path, str]]:
    """The folders that may be classes, each with the side that a train/ or val/ above it gives ("" for none)."""
    train = data / "train"
    if not (train.is_dir() and subfolders(train)):
        return [(folder, "") for folder in subfolders(data)]
    given = next((data / name for name in VALIDATION_FOLDERS if (data / name).is_dir()), None)
    if given is None:
        return [(folder, "") for folder in subfolders(train)]
    return [(folder, TRAIN) for folder in subfolders(train)] + [(folder, VALIDATION) for folder in subfolders(given)]


def subfolders(folder: Path) -> list[Path]:
    """Direct subfolders whose names do not start with . or _ (tellapart's own are called _tellapart)."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "._"]


def choose(rows: Iterable[Row], seed: int) -> list[Row]:
    """Give each photo without a side one: in every class the same share of its different photos validates.

    Photos are ranked by a hash of seed and content, so that the split is the same on every machine, duplicates stand
    together, and a photo added or removed moves hardly any other.
    """
    sides: dict[str, str] = {}
    rows = list(rows)
    for label in sorted({row.label for row in rows if not row.split}):
        contents = {row.sha256 for row in rows if row.label == label}
        ranked = sorted(contents, key=lambda sha256: hashlib.sha256(f"{seed} {sha256}".encode()).digest())
        wanted = max(1, round(VALIDATION_SHARE * len(ranked)))
        wanted -= sum(sides.get(sha256) == VALIDATION for sha256 in ranked)  # the same photo in an earlier class
        for sha256 in ranked:
            if sha256 not in sides:
                sides[sha256] = VALIDATION if wanted > 0 else TRAIN
                wanted -= 1
    return [row if row.split else replace(row, split=sides[row.sha256]) for row in rows]


def read(path: Path) -> list[Row]:
    """The rows of a split file; raises TrainingError if it is none."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = [Row(line["file"], line["class"], line["split"], line["sha256"]) for line in csv.DictReader(file)]
    except (KeyError, csv.Error) as error:
        raise TrainingError(f"{path} is not a split file ({', '.join(COLUMNS)}); delete it to split anew.") from error
    for row in rows:
        if row.split not in (TRAIN, VALIDATION):
            raise TrainingError(f"{path} gives {row.file} the split {row.split!r}; it must be {TRAIN} or {VALIDATION}.")
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
            "restore them, or delete that file to split anew (nearly all photos will keep their side)."
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
        notes.append(f"{both} photos stand on both sides of the split: the validation error will look too good.")
    if torn:
        notes.append(f"{torn} photos stand in more than one class: decide for one, and delete the other.")
    return notes


def some(files: list[str]) -> str:
    """A count and the first names, for a sentence: "5 photos (a.jpg, b.jpg, c.jpg …)"."""
    names = ", ".join(files[:3]) + (" …" if len(files) > 3 else "")
    return f"{len(files)} {'file' if len(files) == 1 else 'files'} ({names})"
