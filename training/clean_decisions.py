"""What a person decided about photos of a run: a CSV file in the run folder, whole after every click."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

from training.errors import TrainingError
from training.files import write_rows
from training.history import read_rows

FILE = "decisions.csv"
COLUMNS = ("file", "class", "decision", "label", "when")
KEEP, DELETE, RELABEL = "keep", "delete", "relabel"
DECISIONS = (KEEP, DELETE, RELABEL)


@dataclass(frozen=True)
class Decision:
    """One click: the photo, the class it lay in, what is to be done, its new class (relabel only), when (UTC)."""

    file: str
    label: str
    decision: str
    to: str
    when: str


def decide(file: str, label: str, decision: str, to: str = "") -> Decision:
    """A decision taken now."""
    return Decision(file, label, decision, to, datetime.now(UTC).isoformat(timespec="seconds"))


class Journal:
    """decisions.csv: a row per decision in the order they were taken; of several on one photo the last counts.

    So undo, which drops the last row, brings back what was decided before. Raises TrainingError for a file that is
    none, or that names photos or classes which the run does not have.
    """

    def __init__(self, folder: Path, files: Collection[str], classes: Collection[str]) -> None:
        self.folder = folder
        self.rows = _read(folder / FILE, files, classes) if (folder / FILE).exists() else []

    def current(self) -> dict[str, Decision]:
        """The decision that counts for each photo decided on, in the order they were taken."""
        found: dict[str, Decision] = {}
        for row in self.rows:
            found.pop(row.file, None)
            found[row.file] = row
        return found

    def add(self, row: Decision) -> None:
        """Append a decision, and save."""
        self._replace([*self.rows, row])

    def undo(self) -> Decision | None:
        """Drop the last decision, and save; returns it, or None if there is none."""
        last = self.rows[-1] if self.rows else None
        if last:
            self._replace(self.rows[:-1])
        return last

    def archive(self, applied: Iterable[Decision]) -> Path:
        """Move all about the photos of `applied` out of the journal: those rows go to a new decisions-applied-N.csv."""
        applied = list(applied)
        number = 1
        while (path := self.folder / f"decisions-applied-{number}.csv").exists():
            number += 1
        write_rows(path, COLUMNS, map(astuple, applied))
        done = {row.file for row in applied}
        self._replace([row for row in self.rows if row.file not in done])
        return path

    def _replace(self, rows: list[Decision]) -> None:
        write_rows(self.folder / FILE, COLUMNS, map(astuple, rows))
        self.rows = rows  # only now: if the disk is full, the page must not believe that it was saved


def _read(path: Path, files: Collection[str], classes: Collection[str]) -> list[Decision]:
    """The rows of `path`, checked."""
    try:
        rows = [Decision(*(line[name] for name in COLUMNS)) for line in read_rows(path, dict)]
    except KeyError as error:
        raise TrainingError(f"{path} has no column {error}; rename the file to begin anew.") from error
    known = set(files)
    for row in rows:
        fits = row.to in classes if row.decision == RELABEL else row.decision in DECISIONS
        if row.file not in known or not fits:
            raise TrainingError(f"{path} says {row.decision!r} of {row.file!r}, which is not of this run; rename it.")
    return rows
