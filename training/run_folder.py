"""The run folder: the plain files that a finished run leaves for the next steps and for people.

run.json is written last, so a folder without one is an unfinished run, which the next run there replaces.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from safetensors.torch import save
from torch import Tensor, nn

from app.image import Preprocess
from training.errors import TrainingError
from training.files import write_bytes, write_rows
from training.loop import Epoch
from training.metrics import error_rate
from training.split import Row, read

SUMMARY, CHECKPOINT, HISTORY, PREDICTIONS = "run.json", "checkpoint.safetensors", "history.csv", "validation.csv"
SPLIT = "split.csv"
OURS = {SUMMARY, CHECKPOINT, HISTORY, PREDICTIONS, SPLIT}


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a finished run, or anything that is no run's."""
    if not folder.exists():
        return
    held = {path.name.removesuffix(".tmp") for path in folder.iterdir()}
    if SUMMARY in held:
        raise TrainingError(f"{folder} already holds a finished run; give another --out, or delete it.")
    if held - OURS:
        raise TrainingError(f"{folder} holds other files, such as {min(held - OURS)}; give another --out.")


def clear(folder: Path) -> None:
    """Make the folder, without what an unfinished run left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()


def write_history(folder: Path, history: Sequence[Epoch]) -> None:
    """history.csv: a line per epoch."""
    write_rows(folder / HISTORY, [field.name for field in fields(Epoch)], [astuple(epoch) for epoch in history])


def write_predictions(
    folder: Path, rows: Sequence[Row], labels: Tensor, logits: Tensor, classes: Sequence[str]
) -> dict[str, Any]:
    """validation.csv: each photo's class, the predicted one and a probability per class; returns the error rate."""
    probabilities = logits.softmax(1)
    predicted = probabilities.argmax(1)
    lines = [
        (row.file, row.label, classes[best], *(f"{p:.6f}" for p in each))
        for row, best, each in zip(rows, predicted.tolist(), probabilities.tolist(), strict=True)
    ]
    write_rows(folder / PREDICTIONS, ("file", "class", "predicted", *(f"p_{name}" for name in classes)), lines)
    return error_rate((predicted != labels).numpy())


def write_checkpoint(folder: Path, network: nn.Module) -> None:
    """checkpoint.safetensors: all weights on torchvision's names, float32, batch norm statistics included."""
    write_bytes(folder / CHECKPOINT, save({k: v.cpu().contiguous() for k, v in network.state_dict().items()}))


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
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
    }


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

    def side(self, split: str) -> list[Row]:
        """The rows of one side of the split."""
        return [row for row in self.rows if row.split == split]


def read_run(folder: Path, data: Path | None = None) -> Run:
    """The finished run in `folder`, its photos in `data` or where it found them. Raises TrainingError."""
    try:
        summary = json.loads((folder / SUMMARY).read_text())
    except FileNotFoundError:
        raise TrainingError(f"There is no finished run at {folder}: it has no {SUMMARY}.") from None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} is not a finished run: {SUMMARY} cannot be read ({error}).") from error
    data = data or Path(summary["data"]["path"])
    rows = read(folder / SPLIT)
    missing = [row.file for row in rows if not (data / row.file).is_file()]
    if missing:
        raise TrainingError(f"{len(missing)} of the run's photos, {missing[0]} first, are not in {data}: give --data.")
    changed = [row.file for row in rows if hashlib.sha256((data / row.file).read_bytes()).hexdigest() != row.sha256]
    if changed:
        raise TrainingError(f"{len(changed)} of the run's photos, {changed[0]} first, were changed: restore them.")
    return Run(folder, summary, data, tuple(rows))
