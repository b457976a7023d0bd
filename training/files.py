"""Plain files, written beside their place and then renamed, so that a reader never meets half of one."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from training.errors import TrainingError


def check_writable(folder: Path) -> None:
    """Refuse a folder, perhaps still to be made, in which nothing can be written, before hours are spent on what is to
    stand there. Raises TrainingError."""
    nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not nearest.is_dir():
        raise TrainingError(f"{folder} cannot be a folder, as {nearest} is a file; give another --out.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise TrainingError(f"{folder} cannot be written: {nearest} is closed to you; give another --out.")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, making its folder if need be. Raises OSError, and leaves nothing half written then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk names no file


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header, UTF-8, newline-separated; file names that are not UTF-8 keep their bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"))


def write_work(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """`write_rows` in a working folder; raises TrainingError, which names the flag for another one."""
    try:
        write_rows(path, columns, rows)
    except OSError as error:
        raise TrainingError(
            f"{path.parent} cannot be written to ({error.strerror}); name another folder: --work DIR."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, UTF-8, keys in their given order."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextmanager
def held(folder: Path, otherwise: str) -> Iterator[None]:
    """Hold `folder` for this process alone; the system lets go of it when the process ends, however it ends.

    Raises TrainingError(otherwise) if another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise TrainingError(otherwise) from error
    except OSError:  # some network file systems know no locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Make a working folder if need be, and keep other commands from writing there meanwhile; raises TrainingError."""
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder, f"Another command is at work in {folder}: wait until it has ended."):
        yield
