"""What the clean page can ask for, without the web: lists, photos, decisions, undo, and the moves at the end."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from app.image import fit, read_photo
from training import quarantine
from training.clean_advice import advice
from training.clean_decisions import DECISIONS, DELETE, KEEP, RELABEL, Decision, Journal, decide
from training.clean_list import Item, Neighbours, shown_classes, sides
from training.folders import Row
from training.history import Prediction
from training.run_folder import Run

QUALITY = 88  # of the JPEG copies that the page shows


class Refused(Exception):
    """The page asked for what cannot be done; `status` is HTTP's, the message one sentence for a person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Session:
    """One run being cleaned. Photos are known by their row number in split.csv; methods may be called from threads."""

    def __init__(
        self,
        run: Run,
        work: Path,
        predictions: Sequence[Prediction],
        neighbours: Neighbours | None,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.run = run
        self.work = work
        self.neighbours = neighbours
        self.sides = sides(run, predictions, neighbours, advance)
        self.journal = Journal(run.folder, [row.file for row in run.rows], run.classes)
        self.moved = 0
        self._numbers = {row.file: number for number, row in enumerate(run.rows)}
        self._lock = Lock()

    def listing(self) -> dict[str, Any]:
        """All that the page shows but photos and neighbours, as JSON values."""
        with self._lock:
            decided = self.journal.current()
        photos = {side: [self._item(item, decided) for item in items] for side, items in self.sides.items()}
        worst = max(self.sides, key=lambda side: max((item.badness for item in self.sides[side]), default=-2.0))
        name = self.run.folder.resolve().name
        return {"run": name, "classes": self.run.classes, "sides": photos, "worst": worst}

    def near(self, row: int) -> list[dict[str, Any]]:
        """The photos most like photo `row`, nearest first; none where the run has no features."""
        self._photo(row)
        return [self._named(other) for other in self.neighbours.nearest(row)] if self.neighbours else []

    def picture(self, row: int, longest: int) -> bytes:
        """Photo `row`, upright, at most `longest` pixels a side, as a JPEG without metadata.

        Raises Refused if it is gone or changed, app.errors.Refusal if it cannot be decoded.
        """
        photo = read_photo(self._content(row), enough=longest)
        sides = sorted((photo.width, photo.height))
        out = io.BytesIO()
        fit(photo, max(1, sides[0] * min(longest, sides[1]) // sides[1]), ratio=float("inf")).save(
            out, "JPEG", quality=QUALITY
        )
        return out.getvalue()

    def decide(self, row: int, decision: str, to: str = "") -> dict[str, Any]:
        """Write down what is to be done with photo `row`; nothing moves yet. Returns the photo's new state."""
        photo = self._photo(row)
        if decision not in DECISIONS:
            raise Refused(400, "A photo can be kept, deleted or relabelled.")
        if (decision == RELABEL) != bool(to) or (to and (to not in self.run.classes or to == photo.label)):
            raise Refused(400, "The new label must be another class of this run.")
        if decision != KEEP:
            self._content(row)
        with self._lock:
            self.journal.add(decide(photo.file, photo.label, decision, to))
            return self._state(row, self.journal.current())

    def undo(self) -> dict[str, Any]:
        """Take the last decision back. Returns the state of its photo."""
        with self._lock:
            last = self.journal.undo()
            if last is None:
                raise Refused(409, "There is nothing left to undo.")
            return self._state(self._numbers[last.file], self.journal.current())

    def changes(self) -> dict[str, Any]:
        """What apply would do, and a checksum of it, which apply wants back."""
        with self._lock:
            pending = self._pending()
        return {
            "changes": [{"file": row.file, "label": row.label, "to": row.to} for row in pending],
            "check": _checksum(pending),
        }

    def apply(self, check: str) -> dict[str, Any]:
        """Move the photos as decided: deleted ones to the quarantine, relabelled ones to their class.

        Raises Refused if the decisions are not those that were confirmed, TrainingError if a photo cannot be moved.
        """
        with self._lock:
            pending = self._pending()
            if not pending or check != _checksum(pending):
                raise Refused(409, "The decisions have changed since: look at the list again.")
            fit_to_move = [row for row in pending if self._unchanged(row.file)]
            try:
                self._move(fit_to_move)
            finally:
                done = [row for row in fit_to_move if not self._path(row.file).is_file()]
                if done:
                    self.moved += len(done)
                    self.journal.archive(done)
        return {
            "quarantined": sum(row.decision == DELETE for row in done),
            "relabelled": sum(row.decision == RELABEL for row in done),
            "left": [row.file for row in pending if row not in done],
            **advice(self.run, self.work),
        }

    def _move(self, rows: Sequence[Decision]) -> None:
        deleted = {row.file: "deleted on the clean page" for row in rows if row.decision == DELETE}
        labels = {row.file: row.to for row in rows if row.decision == RELABEL}
        # In this order, as a relabelled photo must not take the name that a deleted one has just left: a photo still
        # at its place is one that was not moved.
        if labels:
            quarantine.relabel(self.run.data, self.work, labels)
        if deleted:
            quarantine.quarantine(self.run.data, self.work, deleted)

    def _pending(self) -> list[Decision]:
        """Decisions that ask for a move, but for photos already gone, which is what makes a second apply harmless."""
        rows = [row for row in self.journal.current().values() if row.decision != KEEP]
        return [row for row in rows if self._path(row.file).is_file()]

    def _item(self, item: Item, decided: dict[str, Decision]) -> dict[str, Any]:
        said = item.prediction
        probabilities = said.probabilities if said else {}
        buttons = shown_classes(self.run.classes, self.run.rows[item.row].label, probabilities)
        return {
            **self._named(item.row),
            **self._state(item.row, decided),
            "predicted": said and said.predicted,
            "beliefs": [(name, probabilities.get(name)) for name in buttons],
            "strangers": item.strangers,
        }

    def _named(self, row: int) -> dict[str, Any]:
        return {"row": row, "file": self.run.rows[row].file, "label": self.run.rows[row].label}

    def _state(self, row: int, decided: dict[str, Decision]) -> dict[str, Any]:
        file = self.run.rows[row].file
        found = decided.get(file)
        there = self._path(file).is_file()
        return {
            "row": row,
            "file": file,
            "there": there,
            "decision": found and found.decision,
            "to": found and found.to,
        }

    def _photo(self, row: int) -> Row:
        if not 0 <= row < len(self.run.rows):
            raise Refused(404, "The run has no such photo.")
        return self.run.rows[row]

    def _content(self, row: int) -> bytes:
        photo = self._photo(row)
        try:
            content = self._path(photo.file).read_bytes()
        except OSError:
            raise Refused(404, "This photo is no longer in its folder, or cannot be read.") from None
        if hashlib.sha256(content).hexdigest() != photo.sha256:
            raise Refused(409, "This photo was changed since the run; what the network said was about another.")
        return content

    def _unchanged(self, file: str) -> bool:
        try:
            return bool(self._content(self._numbers[file]))
        except Refused:
            return False

    def _path(self, file: str) -> Path:
        return self.run.data / file


def _checksum(rows: Sequence[Decision]) -> str:
    return hashlib.sha256(repr(rows).encode(errors="surrogatepass")).hexdigest()[:16]
