"""The import command: a network that was trained elsewhere → a run folder, measured on labelled photos."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from safetensors.torch import save
from torch import Tensor

from app.answer import VERDICTS
from app.card import check_classes
from app.cpu import usable_cores
from app.image import Preprocess
from training import run_folder
from training.card import in_words
from training.dataset import Photos
from training.errors import TrainingError
from training.files import write_bytes, write_json
from training.folders import VALIDATION
from training.history import Prediction, write_epochs, write_predictions, write_steps
from training.interpret import rates
from training.job import decode, predictions, write_features
from training.loop import VIEWS_AT_ONCE, Fit
from training.model import Classifier, StartWeights
from training.progress import advancer, bars
from training.split import Split, prepare
from training.state import State
from training.state_dict import read_network
from training.words import command

LANE = "imported"
SEED = 42  # of the split, where DATA has none yet: the split command's default


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training import`."""
    weights = (
        "torchvision resnet34's state dict: safetensors, or what torch.save made of model.state_dict(); its photos "
    )
    weights += "were normalised with ImageNet's mean and std, as torchvision's examples do"
    parser.add_argument("weights", metavar="WEIGHTS", type=Path, help=weights)
    classes = "its classes in the order of its outputs: one a line, or a JSON list in a file called .json"
    parser.add_argument("--classes", metavar="FILE", type=Path, required=True, help=classes)
    data = "photos to measure it on, in a folder per class; not those it was trained on, if you have others. A class "
    data += "without photos is not measured, and export then needs one that it leads (--golden)"
    parser.add_argument("--data", metavar="DATA", type=Path, required=True, help=data)
    parser.add_argument("--out", metavar="RUN", type=Path, required=True, help="folder to write the run to")
    parser.add_argument("--work", metavar="DIR", type=Path, help="where split.csv is kept (default: DATA/_tellapart)")


def run(args: argparse.Namespace) -> int:
    """Import, and say how the network did."""
    job = Job(args.weights, args.classes, args.data, args.out, args.work or args.data / "_tellapart")
    with bars() as progress:
        summary = take_over(job, progress)
    print(f"{args.out}: {in_words(summary['metrics']['validation'])}.")  # noqa: T201
    print(summary["measured"])  # noqa: T201
    print("Next:", command("export", args.out, "--out", "models/NAME"))  # noqa: T201
    return 0


@dataclass(frozen=True)
class Job:
    """What the command line asked for."""

    weights: Path
    classes: Path
    data: Path
    out: Path
    work: Path


def take_over(job: Job, progress: Progress) -> dict[str, Any]:
    """Read the network, ask it about the photos, fill the run folder; returns run.json. Raises TrainingError."""
    started, date = time.monotonic(), datetime.now(UTC)
    torch.set_num_threads(usable_cores())
    check_free(job.out)
    classes = read_classes(job.classes)
    network, start = read_network(job.weights, classes)
    split = prepare(job.data, job.work, SEED, progress)
    check_named(split, classes, job)
    photos = decode(job.data, split, classes, progress, wide=False)
    features = look(network, photos.views, progress)
    answers = judge(network, photos, features, classes)
    summary = describe(job, split, start, photos, answers, classes)
    summary |= {"date": date.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - started, 1)}
    write_bytes(job.out / run_folder.IMPORTED, save(network.state_dict()))
    run_folder.write_split(job.out, photos.rows)
    write_features(job.out, photos, features)
    write_predictions(job.out, answers, classes)
    write_epochs(job.out, [])
    write_steps(job.out, [])
    write_json(job.out / run_folder.SUMMARY, summary)
    return summary


def check_free(out: Path) -> None:
    """Refuse a folder that holds other files, or a run, be it finished or not."""
    run_folder.check_free(out)
    if (out / run_folder.STATE).exists():
        raise TrainingError(f"{out} holds an unfinished run of train: give another --out, or delete it.")


def check_named(split: Split, classes: Sequence[str], job: Job) -> None:
    """Refuse photos of a class that is not named."""
    strangers = [name for name in split.classes if name not in classes]
    if strangers:
        raise TrainingError(
            f"{job.data} has photos of {', '.join(strangers[:3])}, which {job.classes} does not name: "
            "a folder must be called exactly as its class is there."
        )


def read_classes(path: Path) -> list[str]:
    """The names in a text file, one a line, or in a JSON list (a file called .json), in their order.

    Raises TrainingError if they are not at least two different names that the service can show.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        is_json = path.suffix.lower() == ".json"
        names = json.loads(text) if is_json else [line.strip() for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path} cannot be read ({error}).") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TrainingError(f'{path} must be a list of names, such as ["black", "grizzly"].')
    if len(names) < 2:
        raise TrainingError(f"{path} must name at least two classes; it names {len(names)}.")
    for name in names:
        if not name.isprintable() or not name.strip() or name.casefold() in VERDICTS:
            raise TrainingError(f"{path}: a class may not be called {name!r}.")
        if names.count(name) > 1:
            raise TrainingError(f"{path} names {name!r} {names.count(name)} times.")
    try:
        return list(check_classes(names))
    except ValueError as error:
        raise TrainingError(f"{path}: {error}.") from error


@torch.inference_mode()
def look(network: Classifier, views: Tensor, progress: Progress) -> Tensor:
    """What the network sees in `views` (uint8 [N, 3, H, W]): float32 [N, 512]."""
    parts = views.split(VIEWS_AT_ONCE)
    advance = advancer(progress, "features", len(parts))
    found = []
    for part in parts:
        found.append(network.features(part))
        advance()
    return torch.cat(found)


@torch.inference_mode()
def judge(network: Classifier, photos: Photos, features: Tensor, classes: Sequence[str]) -> list[Prediction]:
    """What the network says of the photos that a run of train would have judged: all of them where the split has
    folds, else those that validate (given train/ and val/ folders: it may have been trained on the others)."""
    judged = [index for index, row in enumerate(photos.rows) if row.fold or row.split == VALIDATION]
    fit = Fit(LANE, torch.tensor([], dtype=torch.int64), torch.tensor(judged))
    nobody = torch.full((len(judged),), math.nan)  # what it was trained on is not known
    state = State("", logits={LANE: [network.fc(features[judged])]}, similarities={LANE: [nobody]})
    return predictions(photos, [fit], state, 0, classes)


def describe(
    job: Job, split: Split, start: StartWeights, photos: Photos, answers: Sequence[Prediction], classes: Sequence[str]
) -> dict[str, Any]:
    """run.json, as train writes it, without date and duration."""
    return {
        "format": run_folder.FORMAT,
        "lane": LANE,
        "seed": SEED,
        "device": "cpu",
        "precision": "f32",
        "settings": {},
        "classes": list(classes),
        "split_sha256": hashlib.sha256(split.path.read_bytes()).hexdigest(),
        "weights": asdict(start),
        "preprocess": asdict(Preprocess()),
        "data": run_folder.describe_data(job.data, photos.rows),
        "versions": run_folder.versions(),
        "measured": measured(answers, classes),
        "best_epoch": None,
        "checkpoint": run_folder.IMPORTED,
        "metrics": {"validation": rates(answers, classes)},
    }


def measured(answers: Sequence[Prediction], classes: Sequence[str]) -> str:
    """How the figure came about, and what it cannot say."""
    shown = {each.label for each in answers}
    unasked = [name for name in classes if name not in shown]
    words = (
        f"On {len(answers)} photos, by a network that was trained elsewhere: if it was trained on any of them, "
        "which is not known here, the figure is too good."
    )
    if not unasked:
        return words
    others = f" and {len(unasked) - 5} other classes" if len(unasked) > 5 else ""
    return f"{words} It was not asked about photos of {', '.join(unasked[:5])}{others}."
