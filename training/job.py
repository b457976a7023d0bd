"""One training run, from the photos to the finished run folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.progress import Progress
from safetensors.torch import save
from torch import Tensor

from app.cpu import usable_cores
from app.image import Preprocess
from training import run_folder
from training.dataset import Photos, load
from training.diagnose import diagnose
from training.files import write_bytes, write_json
from training.fits import Runner, best_epoch, copied, plan
from training.history import FINAL, Prediction, write_epochs, write_predictions, write_steps
from training.loop import Fit, Ground, features
from training.metrics import errors_per_class
from training.model import StartWeights, build
from training.progress import advancer, tell
from training.recipe import Recipe
from training.show_batch import picture
from training.split import Split, check_sides, prepare
from training.state import State, discard, load_state


@dataclass(frozen=True)
class Job:
    """What the command line asked for."""

    data: Path
    out: Path
    work: Path
    weights: str
    lane: str
    precision: str
    seed: int
    recipe: Recipe


def train(job: Job, accelerator: Accelerator, progress: Progress) -> dict[str, Any]:
    """Do the whole job, showing it on `progress`, or go on with it where it was stopped; returns run.json.

    Raises TrainingError.
    """
    started, date = time.monotonic(), datetime.now(UTC)
    torch.set_num_threads(max(1, usable_cores() // accelerator.num_processes))
    torch.backends.cudnn.benchmark = True
    run_folder.check_free(job.out)
    with accelerator.main_process_first():
        split = prepare(job.data, job.work, job.seed, progress)
    decoding = time.monotonic()
    photos = decode(job.data, split, split.classes, progress, wide=job.lane == "full")
    decoded = time.monotonic()
    ground, start = prepare_ground(job, split, photos, accelerator, progress)
    summary = describe(job, split, start, ground)
    fits = plan(photos.rows)
    job.out.mkdir(parents=True, exist_ok=True)
    state = load_state(job.out, json.dumps(summary, sort_keys=True))
    runner = Runner(ground, job.lane, job.out, state, copied(ground.network), fits[-1].name)
    for fit in fits[:-1]:
        if fit.name not in state.fits:
            runner.run(fit, None)
            runner.finish(fit)
    epochs = 1 + best_epoch(fits, state.logits, photos.labels) if fits[-1].name == FINAL else None
    runner.run(fits[-1], epochs)
    best = best_epoch(fits, state.logits, photos.labels)
    summary |= {
        "preprocess": asdict(Preprocess()),
        "data": run_folder.describe_data(job.data, photos.rows),
        "versions": run_folder.versions(),
        "date": date.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "decode_s": round(decoded - decoding, 1),
        "measured": measured(fits, len(photos.rows)),
        "best_epoch": best,
    }
    if accelerator.is_main_process:
        write(job, split, ground, fits, runner.state, best, summary)
    accelerator.wait_for_everyone()
    return summary


def decode(data: Path, split: Split, classes: Sequence[str], progress: Progress, *, wide: bool) -> Photos:
    """The decoded photos, labelled by their place in `classes`; broken ones are named and left out, unless too few
    remain."""
    advance = advancer(progress, "photos", len(split.rows))
    photos, broken = load(data, split.rows, classes, Preprocess(), wide=wide, advance=advance)
    tell(progress, (*split.notes, *broken))
    check_sides(list(photos.rows), split.classes)
    return photos


def prepare_ground(
    job: Job, split: Split, photos: Photos, accelerator: Accelerator, progress: Progress
) -> tuple[Ground, StartWeights]:
    """The network at its start, and what its frozen body sees; photos move to the device that trains."""
    torch.manual_seed(job.seed)
    network, start = build(len(split.classes), Preprocess(), job.weights)
    network.to(accelerator.device).eval()
    photos = replace(photos, views=photos.views.to(accelerator.device), cache=photos.cache.to(accelerator.device))
    task = progress.add_task("features", total=2 * len(photos.rows))

    def advance(count: int) -> None:
        progress.advance(task, count)

    seen = [features(network, accelerator, views, advance) for views in (photos.views, photos.views.flip(-1))]
    if job.lane == "full":
        task = progress.add_task(
            "unfrozen", total=job.recipe.epochs * sum(len(fit.training) for fit in plan(photos.rows))
        )
    precision = choose_precision(job.precision, accelerator.device)
    ground = Ground(network, photos, torch.stack(seen), job.recipe, job.seed, precision, accelerator, advance)
    return ground, start


def choose_precision(name: str, device: torch.device) -> str:
    """auto is bf16 where the hardware multiplies in it: twice as fast on CPUs with avx512_bf16 as float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "f32"
    flags = Path("/proc/cpuinfo")
    return "bf16" if flags.exists() and "avx512_bf16" in flags.read_text() else "f32"


def describe(job: Job, split: Split, start: StartWeights, ground: Ground) -> dict[str, Any]:
    """The part of run.json that decides what comes out; an unfinished run goes on only where it is the same."""
    return {
        "format": run_folder.FORMAT,
        "lane": job.lane,
        "seed": job.seed,
        "device": ground.accelerator.device.type,
        "precision": ground.precision,
        "settings": asdict(job.recipe),
        "classes": list(split.classes),
        "split_sha256": hashlib.sha256(split.path.read_bytes()).hexdigest(),
        "weights": asdict(start),
    }


def measured(fits: Sequence[Fit], photos: int) -> str:
    """How the validation figure came about, in a sentence."""
    if fits[-1].name == FINAL:
        return (
            f"Out of fold: each of the {photos} photos was judged by a network that had not trained on it "
            f"({len(fits) - 1} folds); the network kept was then trained on all of them."
        )
    return f"On {len(fits[0].validation)} photos that were kept aside; the network kept trained on the other ones."


def write(
    job: Job, split: Split, ground: Ground, fits: Sequence[Fit], state: State, best: int, summary: dict[str, Any]
) -> None:
    """Put what is still missing into the run folder, run.json last; `summary` gets its last entries here."""
    out, labels = job.out, ground.photos.labels
    run_folder.write_split(out, ground.photos.rows)
    write_features(out, ground.photos, ground.features[0].cpu())
    write_epochs(out, state.epochs)
    write_steps(out, state.steps)
    judged = [fit for fit in fits if fit.name != FINAL]
    found = predictions(ground.photos, judged, state, best, split.classes)
    write_predictions(out, found, split.classes)
    if job.lane == "full":
        write_bytes(out / run_folder.BATCH, picture(ground.photos, job.recipe.augmentation, job.seed))
    order = torch.cat([fit.validation for fit in judged])
    predicted = torch.cat([state.logits[fit.name][best] for fit in judged]).argmax(1)
    summary["checkpoint"] = run_folder.STAGE_1 if job.lane == "fast" else run_folder.STAGE_2
    summary["metrics"] = {"validation": errors_per_class(predicted.numpy(), labels[order].numpy(), split.classes)}
    summary["diagnosis"] = diagnosis(job, judged, state, labels, len(split.classes))
    write_json(out / run_folder.SUMMARY, summary)
    discard(out)


def write_features(folder: Path, photos: Photos, features: Tensor) -> None:
    """features.safetensors: what the network sees in each photo, float32 [N, 512], and the files' names."""
    names = json.dumps([row.file for row in photos.rows])
    write_bytes(folder / run_folder.FEATURES, save({"features": features.contiguous()}, {"files": names}))


def diagnosis(job: Job, judged: Sequence[Fit], state: State, labels: Tensor, classes: int) -> list[dict[str, str]]:
    """What there is to complain of, for run.json."""
    wrong = {
        fit.name: [(logits.argmax(1) != labels[fit.validation]).tolist() for logits in state.logits[fit.name]]
        for fit in judged
    }
    return [asdict(finding) for finding in diagnose(job, classes, state.epochs, state.steps, wrong)]


def predictions(
    photos: Photos, judged: Sequence[Fit], state: State, best: int, classes: Sequence[str]
) -> list[Prediction]:
    """What each photo's judge said of it, sorted by file."""
    found = []
    for fit in judged:
        said = (state.logits[fit.name][best].log_softmax(1), state.similarities[fit.name][best].tolist())
        for index, row, near in zip(fit.validation.tolist(), *said, strict=True):
            photo, label = photos.rows[index], int(photos.labels[index])
            probabilities = dict(zip(classes, row.exp().tolist(), strict=True))
            first = classes[int(row.argmax())]
            found.append(Prediction(photo.file, photo.label, first, fit.name, -float(row[label]), near, probabilities))
    return sorted(found, key=lambda each: each.file)
