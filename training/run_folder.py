"""The run folder: the plain files that a finished run leaves for the next steps and for people.

run.json is written last, so a folder without one is an unfinished run, which the same command goes on with.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.image import Preprocess
from training import history
from training.errors import TrainingError
from training.files import check_writable, write_rows
from training.folders import Row
from training.split import COLUMNS, cells, read

FORMAT = 1
SUMMARY, SPLIT, FEATURES, BATCH = "run.json", "split.csv", "features.safetensors", "batch.jpg"
STAGE_1, STAGE_2 = "stage-1.safetensors", "stage-2.safetensors"
IMPORTED = "imported.safetensors"
STATE = "state.safetensors"
OURS = {
    SUMMARY, SPLIT, FEATURES, BATCH, STAGE_1, STAGE_2, IMPORTED, STATE, "report.html", "decisions.csv",
    history.EPOCHS, history.STEPS, history.PREDICTIONS,
}  # fmt: skip
LIBRARIES = ("torch", "torchvision", "pillow", "accelerate")


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a finished run, or anything that is no run's, or that cannot be written."""
    check_writable(folder)
    if not folder.exists():
        return
    if (folder / SUMMARY).exists():
        raise TrainingError(f"{folder} already holds a finished run; give another --out, or delete it.")
    held = {path.name.removesuffix(".tmp") for path in folder.iterdir()}  # a kill may have left half a file
    if held - OURS:
        raise TrainingError(f"{folder} holds other files, such as {min(held - OURS)}; give another --out.")


def write_split(folder: Path, rows: Iterable[Row]) -> None:
    """split.csv, with the photos that could be read."""
    write_rows(folder / SPLIT, COLUMNS, map(cells, rows))


def describe_data(data: Path, rows: Iterable[Row]) -> dict[str, Any]:
    """Where the photos lay, what they were (a hash over content and class), and how many of each class and side."""
    rows = list(rows)
    lines = sorted(f"{row.sha256} {row.label}\n" for row in rows)
    photos: dict[str, dict[str, int]] = {label: {} for label in sorted({row.label for row in rows})}
    for (label, side), count in sorted(Counter((row.label, row.split) for row in rows).items()):
        photos[label][side] = count
    return {"path": str(data.resolve()), "hash": hashlib.sha256("".join(lines).encode()).hexdigest(), "photos": photos}


def versions() -> dict[str, str]:
    """The versions that a run's numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


@dataclass(frozen=True)
class Run:
    """A finished run as it lies in its folder, and where its photos are."""

    folder: Path
    summary: dict[str, Any]
    data: Path
    rows: tuple[Row, ...]

    @property
    def classes(self) -> list[str]:
        """The class names in the order of the network's outputs."""
        return list(self.summary["classes"])

    @property
    def preprocess(self) -> Preprocess:
        """How the run prepared its pixels."""
        return Preprocess.from_json(self.summary["preprocess"])

    @property
    def checkpoint(self) -> Path:
        """The finished network: float32 tensors on torchvision's names."""
        return self.folder / str(self.summary["checkpoint"])

    def side(self, split: str) -> list[Row]:
        """The rows of one side of the split."""
        return [row for row in self.rows if row.split == split]

    def check_photos(self) -> None:
        """Refuse a run whose photos are gone or were changed since; raises TrainingError."""
        missing = [row.file for row in self.rows if not (self.data / row.file).is_file()]
        if missing:
            raise TrainingError(
                f"{len(missing)} of the run's photos, {missing[0]} first, are not in {self.data}: give --data, "
                "or train anew."
            )
        changed = [
            row.file
            for row in self.rows
            if hashlib.sha256((self.data / row.file).read_bytes()).hexdigest() != row.sha256
        ]
        if changed:
            raise TrainingError(f"{len(changed)} of the run's photos, {changed[0]} first, were changed: restore them.")


def read_run(folder: Path, data: Path | None = None) -> Run:
    """The finished run in `folder`, its photos in `data` or where it found them. Raises TrainingError."""
    try:
        summary = json.loads((folder / SUMMARY).read_text())
    except FileNotFoundError:
        raise TrainingError(f"There is no finished run at {folder}: it has no {SUMMARY}.") from None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} is not a finished run: {SUMMARY} cannot be read ({error}).") from error
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise TrainingError(f"{folder / SUMMARY} is not of a run that this version reads: train anew.")
    rows = tuple(history.some(read(folder / SPLIT), folder / SPLIT))
    return Run(folder, summary, data or Path(summary["data"]["path"]), rows)
