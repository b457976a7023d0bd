"""Plain files, written beside their place and then renamed, so that a reader never meets half of one."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.errors import TrainingError


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header, UTF-8, newline-separated; file names that are not UTF-8 keep their bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"))


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
