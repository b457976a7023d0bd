"""Which photos there are, and of which class: the folders below DATA."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from app.answer import VERDICTS
from app.formats import sniff
from training.errors import TrainingError
from training.words import some

TRAIN, VALIDATION = "train", "validation"
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")
MAX_CLASS_BYTES = 200  # file systems take 255
HEAD_BYTES = 512  # more than `sniff` looks at


@dataclass(frozen=True)
class Row:
    """One photo: its path below DATA with forward slashes, its class, its side ("" until chosen), its content ("" until
    read), its fold ("" where photos are not judged in folds)."""

    file: str
    label: str
    split: str
    sha256: str
    fold: str = ""


def scan(data: Path) -> tuple[list[Row], list[str]]:
    """Every photo below DATA, sorted by file, and sentences about what was left out.

    Classes are the direct subfolders that hold a photo, or those of train/ and val/ where train/ holds classes.
    """
    rows, strangers = [], []
    for row in files_of(data):
        path = data / row.file
        content = path.read_bytes() if path.exists() else b""  # else a link to nowhere
        if sniff(content) is None:
            strangers.append(row.file)
        else:
            rows.append(replace(row, sha256=hashlib.sha256(content).hexdigest()))
    notes = [f"{some(strangers)} left out: not an image in a format that tellapart reads."] if strangers else []
    return rows, notes + astray(data)


def files_of(data: Path) -> list[Row]:
    """Every file in a class folder of DATA but hidden ones, sorted by file; raises TrainingError: there is no DATA."""
    if not data.is_dir():
        raise TrainingError(f"There is no folder {data}.")
    found = [
        Row(path.relative_to(data).as_posix(), folder.name, split, "")
        for folder, split in class_folders(data)
        for path in folder.iterdir()
        if not path.name.startswith(".") and (path.is_file() or not path.exists())  # a pipe would block its reader
    ]
    return sorted(found, key=lambda row: row.file)


def class_folders(data: Path) -> list[tuple[Path, str]]:
    """The folders that may be classes, each with the side that a train/ or val/ above it gives ("" for none)."""
    train, given = _sides(data)
    if train is None:
        return [(folder, "") for folder in subfolders(data)]
    if given is None:
        return [(folder, "") for folder in subfolders(train)]
    return [(folder, TRAIN) for folder in subfolders(train)] + [(folder, VALIDATION) for folder in subfolders(given)]


def _sides(data: Path) -> tuple[Path | None, Path | None]:
    """The folders train/ and val/, where there are such."""
    train = data / "train"
    if not (train.is_dir() and subfolders(train)):
        return None, None
    return train, next((data / name for name in VALIDATION_FOLDERS if (data / name).is_dir()), None)


def subfolders(folder: Path) -> list[Path]:
    """Direct subfolders whose names do not start with . or _ (tellapart's own are called _tellapart)."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "._"]


def astray(data: Path) -> list[str]:
    """A sentence about photos below DATA that are in no class folder, which nobody would look at; none if none are."""
    if not (files := sorted(_outside(data))):
        return []
    places = " and ".join(f"{folder.name}/" for folder in _sides(data) if folder) or str(data)
    return [f"{some(files, 'photo')} left out: classes are the folders in {places}, photos directly in them."]


def misplaced(data: Path, what: str) -> TrainingError:
    """The error that DATA holds `what`, and not photos in class folders; it says where there are some instead."""
    files = sorted(_outside(data))
    elsewhere = f" There are {some(files, 'photo')} elsewhere in it." if files else ""
    return TrainingError(
        f"{data} holds {what}; put the photos of each class into a folder of its own, {data}/CLASS/.{elsewhere}"
    )


def _outside(data: Path) -> Iterator[str]:
    classes = {folder for folder, _ in class_folders(data)}
    for root, inner, names in os.walk(data):
        inner[:] = [name for name in inner if name[0] not in "._"]
        for path in (Path(root, name) for name in names if Path(root) not in classes and name[0] != "."):
            if os.access(path, os.R_OK) and path.is_file():
                with path.open("rb") as file:
                    if sniff(file.read(HEAD_BYTES)):
                        yield path.relative_to(data).as_posix()


def check_class(label: str, where: str) -> None:
    """Refuse what cannot be a folder of its own directly below DATA, or a class of the service."""
    if not label.strip() or label != label.strip() or len(os.fsencode(label)) > MAX_CLASS_BYTES:
        wanted = f"a name of 1 to {MAX_CLASS_BYTES} bytes, without spaces around it"
    elif label[0] in "._" or "/" in label or "\\" in label or not label.isprintable():
        wanted = "a plain folder name: no slashes, no control characters, and no dot or underscore in front"
    elif label.casefold() in VERDICTS:
        wanted = f"a name other than the service's own answers ({' and '.join(VERDICTS)})"
    else:
        return
    raise TrainingError(f"{where}: a class cannot be called {label[:40]!r}; give it {wanted}.")
