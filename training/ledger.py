"""The ledger of downloads: one row per URL and class, so that a second run knows what the first one did."""

from __future__ import annotations

import csv
from contextlib import ExitStack, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Self

from training.errors import TrainingError
from training.files import working_in, write_rows

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
        with ExitStack() as stack:
            stack.enter_context(working_in(self.path.parent))
            self._rows = {(row.url, row.label): row for row in read(self.path)}
            self._write_anew()
            self._file: IO[str] = self.path.open("a", newline="", encoding="utf-8", errors="surrogateescape")
            self._held = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._held, suppress(OSError):  # a full disk; what fitted is in the file already
            self._file.close()
            self._write_anew()

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
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    try:
        header, *rows = [*csv.reader(text[: text.rfind("\n") + 1].split("\n"))]
        rows = [cells for cells in rows if cells]
        if tuple(header) != COLUMNS or any(len(cells) != len(COLUMNS) for cells in rows):
            raise csv.Error("other columns")
    except csv.Error as error:
        raise TrainingError(
            f"{path} is not a ledger ({', '.join(COLUMNS)}); move it away to start a new one."
        ) from error
    return [Row(*cells) for cells in rows]
