"""What a run writes down as it goes: a row per epoch, per step and per validation photo. Plain CSV, no torch."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TypeVar

from training.errors import TrainingError
from training.files import write_rows

Record = TypeVar("Record")
EPOCHS, STEPS, PREDICTIONS = "history.csv", "steps.csv", "validation.csv"
HEAD, UNFROZEN = "head", "unfrozen"
FINAL = "final"  # the fit on all photos, after the folds; it has nobody left to validate it


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured: the head's last rate, mean losses (nats), the validation photos' error rate, seconds.

    `fit` is the number of the fold that validates, or FINAL, whose two validation columns are None.
    """

    fit: str
    phase: str
    epoch: int
    lr: float
    train_loss: float
    valid_loss: float | None
    valid_error: float | None
    seconds: float


@dataclass(frozen=True)
class Step:
    """One optimizer step: the head's learning rate, the momentum (Adam's beta1), the batch's loss (nats)."""

    fit: str
    phase: str
    step: int
    lr: float
    momentum: float
    loss: float


@dataclass(frozen=True)
class Prediction:
    """What the fit that had not trained on a photo said of it: class probabilities, in the order of the classes, and
    its similarity to those it had trained on (app/outside.py; NaN in a run that did not ask)."""

    file: str
    label: str
    predicted: str
    fit: str
    loss: float
    similarity: float
    probabilities: dict[str, float]


def write_epochs(folder: Path, epochs: Sequence[Epoch]) -> None:
    """history.csv."""
    write_rows(folder / EPOCHS, [field.name for field in fields(Epoch)], [astuple(epoch) for epoch in epochs])


def read_epochs(folder: Path) -> list[Epoch]:
    """The rows of history.csv; raises TrainingError if it is missing, broken or empty."""

    def rate(text: str) -> float | None:
        return float(text) if text else None

    def epoch(row: dict[str, str]) -> Epoch:
        return Epoch(
            row["fit"],
            row["phase"],
            int(row["epoch"]),
            float(row["lr"]),
            float(row["train_loss"]),
            rate(row["valid_loss"]),
            rate(row["valid_error"]),
            float(row["seconds"]),
        )

    return some(read_rows(folder / EPOCHS, epoch), folder / EPOCHS)


def write_steps(folder: Path, steps: Sequence[Step]) -> None:
    """steps.csv."""
    write_rows(folder / STEPS, [field.name for field in fields(Step)], [astuple(step) for step in steps])


def read_steps(folder: Path) -> list[Step]:
    """The rows of steps.csv; raises TrainingError if it is missing, broken or empty."""

    def step(row: dict[str, str]) -> Step:
        return Step(
            row["fit"], row["phase"], int(row["step"]), float(row["lr"]), float(row["momentum"]), float(row["loss"])
        )

    return some(read_rows(folder / STEPS, step), folder / STEPS)


def write_predictions(folder: Path, predictions: Sequence[Prediction], classes: Sequence[str]) -> None:
    """validation.csv: a row per photo, with a column p_CLASS per class."""
    columns = ("file", "class", "predicted", "fit", "loss", "similarity", *(f"p_{name}" for name in classes))
    rows = [
        (
            *(p.file, p.label, p.predicted, p.fit, digits(p.loss), digits(p.similarity)),
            *(digits(p.probabilities[name]) for name in classes),
        )
        for p in predictions
    ]
    write_rows(folder / PREDICTIONS, columns, rows)


def digits(value: float) -> str:
    """As many as are worth keeping."""
    return f"{value:.6f}"


def read_predictions(folder: Path) -> list[Prediction]:
    """The rows of validation.csv; raises TrainingError if it is missing, broken or empty."""

    def prediction(row: dict[str, str]) -> Prediction:
        return Prediction(
            row["file"],
            row["class"],
            row["predicted"],
            row["fit"],
            float(row["loss"]),
            float(row.get("similarity", "nan")),
            {name.removeprefix("p_"): float(value) for name, value in row.items() if name.startswith("p_")},
        )

    return some(read_rows(folder / PREDICTIONS, prediction), folder / PREDICTIONS)


def read_rows(path: Path, read: Callable[[dict[str, str]], Record]) -> list[Record]:
    """What `read` makes of each row of a CSV file with a header; raises TrainingError if that cannot be done."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [read(row) for row in csv.DictReader(file)]
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error


def some(rows: list[Record], path: Path) -> list[Record]:
    """The rows, of which a finished run has some."""
    if not rows:
        raise TrainingError(f"{path} holds no rows, so the run was damaged: train anew.")
    return rows
