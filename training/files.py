"""Plain files, written beside their place and then renamed, so that a reader never meets half of one."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
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


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, UTF-8, keys in their given order."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
