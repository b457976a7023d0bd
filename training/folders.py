"""Which photos there are, and of which class: the folders below DATA."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from app.image import sniff
from training.errors import TrainingError

TRAIN, VALIDATION = "train", "validation"
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")


@dataclass(frozen=True)
class Row:
    """One photo: its path below DATA with forward slashes, its class, its side ("" until chosen), its content, its fold
    ("" where photos are not judged in folds)."""

    file: str
    label: str
    split: str
    sha256: str
    fold: str = ""


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


def some(files: list[str]) -> str:
    """A count and the first names, for a sentence: "5 photos (a.jpg, b.jpg, c.jpg …)"."""
    names = ", ".join(files[:3]) + (" …" if len(files) > 3 else "")
    return f"{len(files)} {'file' if len(files) == 1 else 'files'} ({names})"
