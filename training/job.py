"""One training run, from the photos to the finished run folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from app.cpu import usable_cores
from app.image import Preprocess
from training import run_folder
from training.dataset import Photos, load
from training.errors import TrainingError
from training.files import write_bytes, write_json
from training.loop import Epoch, predict, train_head, train_unfrozen
from training.model import Classifier, StartWeights, build
from training.recipe import Recipe
from training.split import TRAIN, VALIDATION, Split, check_sides, prepare


@dataclass(frozen=True)
class Job:
    """What the command line asked for."""

    data: Path
    out: Path
    work: Path
    weights: str
    lane: str
    device: str
    seed: int
    recipe: Recipe


def train(job: Job, progress: Progress) -> dict[str, Any]:
    """Do the whole job, showing it on `progress`, which it starts; returns run.json. Raises TrainingError."""
    started, date = time.monotonic(), datetime.now(UTC)
    device = choose_device(job.device)
    torch.set_num_threads(usable_cores())
    run_folder.check_free(job.out)
    split = prepare(job.data, job.work, job.seed)
    torch.manual_seed(job.seed)
    preprocess = Preprocess()
    network, start = build(len(split.classes), preprocess, job.recipe.dropout, job.weights)
    with progress:
        training, validation = decode(job, split, preprocess, progress)
        run_folder.clear(job.out)
        write_bytes(job.out / run_folder.SPLIT, split.path.read_bytes())
        history: list[Epoch] = []
        for epoch in phases(job, network.to(device), training, validation, progress):
            history.append(epoch)
            run_folder.write_history(job.out, history)

    logits = predict(network, validation.views).cpu()
    metrics = run_folder.write_predictions(job.out, validation.rows, validation.labels, logits, split.classes)
    run_folder.write_checkpoint(job.out, network)
    summary = {
        **describe(job, split, start),
        "preprocess": asdict(preprocess),
        "data": run_folder.describe_data(job.data, [*training.rows, *validation.rows]),
        "versions": run_folder.versions(),
        "date": date.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "metrics": {"validation": metrics},
    }
    write_json(job.out / run_folder.SUMMARY, summary)
    return summary


def describe(job: Job, split: Split, start: StartWeights) -> dict[str, Any]:
    """The part of run.json that is known before training."""
    return {
        "format": 1,
        "lane": job.lane,
        "seed": job.seed,
        "device": choose_device(job.device).type,
        "settings": asdict(job.recipe),
        "classes": list(split.classes),
        "split_sha256": hashlib.sha256((job.out / run_folder.SPLIT).read_bytes()).hexdigest(),
        "weights": asdict(start),
    }


def choose_device(name: str) -> torch.device:
    """auto is CUDA where there is any; raises TrainingError for CUDA where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch finds no CUDA device here; give --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def decode(job: Job, split: Split, preprocess: Preprocess, progress: Progress) -> tuple[Photos, Photos]:
    """The decoded training and validation photos; broken ones are named and left out, unless too few remain."""
    task = progress.add_task("photos", total=len(split.rows))
    sides = []
    notes = list(split.notes)
    for side in (TRAIN, VALIDATION):
        wide = side == TRAIN and job.lane == "full"
        photos, broken = load(
            job.data, split.side(side), split.classes, preprocess, wide=wide, advance=partial(progress.advance, task)
        )
        sides.append(photos)
        notes += broken
    for note in notes:
        progress.console.print(note, highlight=False, markup=False)
    training, validation = sides
    check_sides([*training.rows, *validation.rows], split.classes)
    return training, validation


def phases(job: Job, network: Classifier, training: Photos, validation: Photos, progress: Progress) -> Iterator[Epoch]:
    """The epochs of the lane, one by one as they end, with a bar for each phase."""
    views = 2 * len(training.labels) + len(validation.labels)
    task = progress.add_task("features", total=views)
    yield from train_head(network, training, validation, job.recipe, job.seed, partial(progress.advance, task))
    if job.lane == "full":
        task = progress.add_task("unfrozen", total=job.recipe.epochs * len(training.labels))
        for epoch in train_unfrozen(
            network, training, validation, job.recipe, job.seed, partial(progress.advance, task)
        ):
            progress.update(task, description=f"unfrozen, validation error {epoch.valid_error:.1%}")
            yield epoch
