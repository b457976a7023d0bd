"""The ledger of downloads: one row per URL and class, so that a second run knows what the first one did."""

from __future__ import annotations

import csv
import fcntl
import os
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Self

from training.errors import TrainingError
from training.files import write_rows

# `outcome` is one of these: the photo is stored; asked again by the next run; never asked again.
DONE, FAILED, REFUSED = "done", "failed", "refused"
COLUMNS = ("url", "class", "outcome", "status", "type", "bytes", "sha256", "file", "reason")


@dataclass(frozen=True)
class Row:
    """What became of one URL; every field as the file has it, "" where it does not apply.

    `status` is the site's HTTP status, `kind` the format that the bytes show, `size` their number, `file` the photo's
    path below DATA with forward slashes, `reason` why there is none.
    """

    url: str
    label: str
    outcome: str
    status: str = ""
    kind: str = ""
    size: str = ""
    sha256: str = ""
    file: str = ""
    reason: str = ""


class Ledger:
    """The rows of a ledger file; a context in which one process at a time can add some.

    A row is appended as soon as it is known; on entry and exit the file is written anew, one row per URL and class, the
    last one. So a process that is killed loses at most the row it was writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[tuple[str, str], Row] = {}

    def __enter__(self) -> Self:
        """Raises TrainingError: another process is at it, or the file is no ledger; OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.path.parent)
        try:
            self._rows = {(row.url, row.label): row for row in read(self.path)}
            self._write_anew()
            self._file: IO[str] = self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._file.close()
            self._write_anew()
        finally:
            os.close(self._lock)

    def add(self, row: Row) -> None:
        """Keep a row, in place of an older one of the same URL and class."""
        self._rows[row.url, row.label] = row
        csv.writer(self._file, lineterminator="\n").writerow(astuple(row))
        self._file.flush()

    def row(self, url: str, label: str) -> Row | None:
        """What became of that URL in that class, if it was ever asked."""
        return self._rows.get((url, label))

    def done(self) -> list[Row]:
        """The rows whose photo was stored."""
        return [row for row in self._rows.values() if row.outcome == DONE]

    def _write_anew(self) -> None:
        write_rows(self.path, COLUMNS, map(astuple, self._rows.values()))


def read(path: Path) -> list[Row]:
    """The rows of a ledger file, none if there is no file; a last line that is not whole is left out.

    Raises TrainingError if it is no ledger.
    """
    if not path.exists():
        return []
    text = path.read_bytes().decode(errors="surrogateescape")
    header, *rows = [*csv.reader(text[: text.rfind("\n") + 1].split("\n"))]
    rows = [cells for cells in rows if cells]
    if tuple(header) != COLUMNS or any(len(cells) != len(COLUMNS) for cells in rows):
        raise TrainingError(f"{path} is not a ledger ({', '.join(COLUMNS)}); move it away to start a new one.")
    return [Row(*cells) for cells in rows]


def _locked(folder: Path) -> int:
    """A descriptor that holds the folder for this process alone; the system lets go of it when the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise TrainingError(
            f"Another download writes to {folder}: wait for it, or give one CSV with the URLs of all classes."
        ) from error
    except OSError:  # some network file systems know no locks
        pass
    return descriptor
