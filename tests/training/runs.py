"""A small made-up finished run: every file that train leaves but the networks; nothing was trained."""

from __future__ import annotations

import io
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save

from app.image import Preprocess
from tests.live import ROOT, clean_env, end
from tests.training.conftest import picture
from training.files import write_bytes, write_json, write_rows
from training.folders import TRAIN, VALIDATION, Row, scan
from training.history import (
    FINAL,
    HEAD,
    UNFROZEN,
    Epoch,
    Prediction,
    Step,
    write_epochs,
    write_predictions,
    write_steps,
)
from training.metrics import errors_per_class
from training.recipe import Recipe
from training.run_folder import BATCH, FEATURES, SPLIT, STAGE_1, STAGE_2, SUMMARY, describe_data
from training.schedule import one_cycle_momentum, one_cycle_rate
from training.split import COLUMNS, FOLDS

STEPS = 6  # in an epoch
HEAD_EPOCHS, EPOCHS, BEST = 3, 4, 2


def write_run(
    folder: Path,
    data: Path,
    *,
    mistakes: Mapping[str, str] | None = None,
    sure: Mapping[str, float] | None = None,
    rows: Sequence[Row] = (),
    folds: bool = True,
    lane: str = "full",
    **summary: Any,
) -> Path:
    """A finished run over the photos of `data` (or over `rows`, which need no files); returns `folder`.

    `mistakes`: file → the class it was taken for; all other photos are judged right; `sure`: file → the probability of
    the class it was taken for. With `folds` every photo is judged, else those of fold 0 alone, a fifth of each class.
    What is in `summary` replaces entries of run.json.
    """
    placed = sides(rows or scan(data)[0], folds=folds)
    classes = sorted({row.label for row in placed})
    judged = [row for row in placed if folds or row.split == VALIDATION]
    predictions = [predict(row, classes, mistakes or {}, sure or {}) for row in judged]
    fits = [*map(str, range(FOLDS)), FINAL] if folds else ["0"]
    phases = {HEAD: HEAD_EPOCHS, UNFROZEN: EPOCHS} if lane == "full" else {HEAD: HEAD_EPOCHS}
    lines = [(row.file, row.label, row.split, row.fold, row.sha256) for row in placed]
    write_rows(folder / SPLIT, COLUMNS, lines)
    write_predictions(folder, predictions, classes)
    write_epochs(folder, [epoch for fit in fits for epoch in epochs(fit, phases)])
    write_steps(folder, [step for fit in fits for step in steps(fit, phases)])
    write_features(folder, features(placed, classes))
    if lane == "full":
        write_bytes(folder / BATCH, batch())
    written = describe(data, placed, predictions, classes, lane) | summary
    write_json(folder / SUMMARY, written)
    return folder


def sides(rows: Sequence[Row], *, folds: bool) -> list[Row]:
    """Each class dealt out over the folds in turn; the first fold validates."""
    dealt: dict[str, int] = {}
    placed = []
    for row in rows:
        fold = dealt.get(row.label, 0) % FOLDS
        dealt[row.label] = dealt.get(row.label, 0) + 1
        placed.append(replace(row, split=TRAIN if fold else VALIDATION, fold=str(fold) if folds else ""))
    return placed


def predict(row: Row, classes: Sequence[str], mistakes: Mapping[str, str], sure: Mapping[str, float]) -> Prediction:
    """An answer, sure by 0.6 to 0.97 where it is not told; the same file gets the same numbers."""
    predicted = mistakes.get(row.file, row.label)
    p = sure.get(row.file, random.Random(os.fsencode(row.file)).uniform(0.6, 0.97))
    rest = (1 - p) / (len(classes) - 1)
    probabilities = {name: p if name == predicted else rest for name in classes}
    loss = -math.log(probabilities[row.label])
    return Prediction(row.file, row.label, predicted, row.fold or "0", loss, p, probabilities)


def epochs(fit: str, phases: Mapping[str, int]) -> list[Epoch]:
    """Losses that fall, a little differently in each fit; nobody validates the final one."""
    found: list[Epoch] = []
    chance = random.Random(fit)
    for phase, count in phases.items():
        for number in range(count):
            loss = 1.1 * 0.7 ** len(found) + chance.uniform(0, 0.08)
            judged = (None, None) if fit == FINAL else (loss + 0.1, loss / 4)
            found.append(Epoch(fit, phase, number, 1e-3 / (number + 1), loss, *judged, 2.5))
    return found


def steps(fit: str, phases: Mapping[str, int]) -> list[Step]:
    """One cycle per phase, and a batch loss that falls."""
    found = []
    for phase, count in phases.items():
        total = count * STEPS
        for number in range(total):
            place = number / total
            rate, momentum = one_cycle_rate(place, 1e-3), one_cycle_momentum(place)
            found.append(Step(fit, phase, number, rate, momentum, 1.2 - place))
    return found


def features(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Sequence[float]]:
    """512 numbers per file: a direction per class, and noise."""
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(len(classes), 512))
    return {row.file: centres[classes.index(row.label)] + chance.normal(size=512) / 2 for row in rows}


def write_features(folder: Path, vectors: Mapping[str, Sequence[float]]) -> None:
    """features.safetensors: float32, a row per file."""
    stacked = np.array([*vectors.values()], dtype=np.float32)
    write_bytes(folder / FEATURES, save({"features": stacked}, {"files": json.dumps([*vectors])}))


def batch() -> bytes:
    """Four drawn photos side by side, as JPEG."""
    sheet = Image.new("RGB", (244, 184), "white")
    for number, shape in enumerate(("disc", "square", "stripes", "disc")):
        sheet.paste(picture(shape, number), (number % 2 * 124, number // 2 * 94))
    out = io.BytesIO()
    sheet.save(out, "JPEG")
    return out.getvalue()


def describe(
    data: Path, rows: Sequence[Row], predictions: Sequence[Prediction], classes: Sequence[str], lane: str
) -> dict[str, Any]:
    """run.json, as train writes it."""
    said = np.array([classes.index(each.predicted) for each in predictions])
    truth = np.array([classes.index(each.label) for each in predictions])
    return {
        "format": 1,
        "lane": lane,
        "seed": 42,
        "device": "cpu",
        "precision": "f32",
        "settings": asdict(Recipe(head_epochs=HEAD_EPOCHS, epochs=EPOCHS)),
        "classes": list(classes),
        "split_sha256": "0" * 64,
        "weights": {"name": "resnet34-imagenet1k", "sha256": "1" * 64, "source": "https://example.org/resnet34.pth"},
        "preprocess": asdict(Preprocess()),
        "data": describe_data(data, rows),
        "versions": {"python": "3.12.0", "torch": "2.11.0"},
        "date": "2026-01-02T03:04:05+00:00",
        "seconds": 61.5,
        "measured": f"Out of fold: each of the {len(rows)} photos was judged by a network that had not trained on it."
        if len(predictions) == len(rows)
        else f"On {len(predictions)} photos that were kept aside; the network kept trained on the other ones.",
        "best_epoch": BEST,
        "checkpoint": STAGE_2 if lane == "full" else STAGE_1,
        "metrics": {"validation": errors_per_class(said, truth, classes)},
        "diagnosis": [],
    }


@contextmanager
def cleaning(run: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`python -m training clean RUN`: the address it printed, and its process, ended afterwards if it still runs."""
    command = [sys.executable, "-m", "training", "clean", str(run), *flags]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("Open ").strip(), process
        finally:
            end(process)
