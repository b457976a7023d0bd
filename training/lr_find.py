"""The lr-find command: raise the learning rate step by step until the loss explodes, and say which rate to take.

Smith, "Cyclical learning rates for training neural networks" (2015), as fastai does it.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure
from torch.nn import functional

from app.cpu import usable_cores
from app.image import Preprocess
from training.dataset import load
from training.files import write_bytes, write_rows
from training.folders import TRAIN
from training.job import choose_precision
from training.loop import Ground, autocast, batch_loss, features, group_peaks, keep
from training.model import Classifier, build
from training.optimizer import OneCycle
from training.progress import advancer, bars, tell
from training.recipe import Recipe
from training.split import prepare

STEPS, BATCH = 64, 16
PHOTOS = 128  # so that each is seen eight times; the head alone then takes seconds
LOW, HIGH = 1e-6, 10.0
SMOOTHING = 0.9  # of the running mean; fastai v1 takes 0.98 over 100 steps
STOP = 4.0  # times the best smoothed loss: fastai v1
SKIP = 10  # first steps, whose losses are noise at rates that move nothing: fastai v1 `recorder.plot(skip_start=10)`
FALLBACK = 3e-3  # fastai v1's default rate
WIDE = 30.0  # factor between the suggestions from which on they say nothing


@dataclass(frozen=True)
class Trial:
    """A step at one rate: its loss and the running mean of the losses so far, without the bias of a short past."""

    rate: float
    loss: float
    smoothed: float


def ramp(step: Callable[[float], float], steps: int = STEPS, low: float = LOW, high: float = HIGH) -> list[Trial]:
    """Take `steps` steps at rates from `low` to `high`, evenly spaced on the log scale; `step(rate)` gives the loss.

    Stops when the smoothed loss is 4 times its best, or the loss is no number.
    """
    trials: list[Trial] = []
    mean, best = 0.0, math.inf
    for number in range(steps):
        rate = low * (high / low) ** (number / (steps - 1))
        loss = step(rate)
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING ** (number + 1))
        if not math.isfinite(loss) or smoothed > STOP * best:
            break
        best = min(best, smoothed)
        trials.append(Trial(rate, loss, smoothed))
    return trials


def suggestions(trials: list[Trial]) -> dict[str, float]:
    """Rates by three rules on the log scale, the first steps left out; empty where the loss never fell.

    "steepest": where the smoothed loss falls fastest; "minimum / 10": a tenth of where it is lowest (both fastai v1);
    "valley": two thirds down the longest unbroken fall (fastai v2).
    """
    trials = trials[SKIP:]
    loss = np.array([trial.smoothed for trial in trials])
    lowest = int(loss.argmin()) if len(loss) else 0
    if lowest < 2:
        return {}
    rates = np.array([trial.rate for trial in trials])
    steepest = int(np.gradient(loss[: lowest + 1], np.log(rates[: lowest + 1])).argmin())
    falls = np.diff(loss) < 0
    start, length, run = 0, 0, 0
    for place, falling in enumerate(falls):
        run = run + 1 if falling else 0
        if run > length:
            start, length = place + 1 - run, run
    return {
        "steepest": float(rates[steepest]),
        "minimum / 10": float(rates[lowest]) / 10,
        "valley": float(rates[start + 2 * length // 3]),
    }


def advice(found: dict[str, float]) -> tuple[float, bool]:
    """The rate to take, and whether the rules agree on it: their middle one, or 3e-3 where they differ widely."""
    if not found or max(found.values()) > WIDE * min(found.values()):
        return FALLBACK, False
    return sorted(found.values())[1], True


@contextmanager
def restored(network: Classifier, cycle: OneCycle) -> Iterator[None]:
    """Leave weights, optimizer and torch's random state as they were."""
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = {name: value.clone() for name, value in cycle.tensors().items()}
    chance = torch.get_rng_state()
    try:
        yield
    finally:
        network.load_state_dict(weights)
        cycle.load(optimizer)
        torch.set_rng_state(chance)


def head_step(ground: Ground, cycle: OneCycle, chance: torch.Generator) -> Callable[[float], float]:
    """step(rate) of the head alone, on a random batch of features."""
    head, inputs = ground.network.fc, ground.features.flatten(0, 1)
    labels = ground.photos.labels.to(inputs.device)

    def step(rate: float) -> float:
        cycle.hold(rate)
        chosen = torch.randperm(len(labels), generator=chance)[:BATCH]
        kept = keep(len(chosen), ground.recipe.dropout, chance).to(inputs.device)
        loss = functional.cross_entropy(
            head(inputs[chosen] * kept), labels[chosen], label_smoothing=ground.recipe.label_smoothing
        )
        return taken(cycle, loss)

    return step


def unfrozen_step(ground: Ground, cycle: OneCycle, chance: torch.Generator) -> Callable[[float], float]:
    """step(rate) of the whole network, on a random batch of augmented photos."""

    def step(rate: float) -> float:
        cycle.hold(rate)
        chosen = torch.randperm(len(ground.photos.labels), generator=chance)[:BATCH]
        return taken(cycle, batch_loss(ground, ground.network, chosen, slice(None), chance))

    return step


def taken(cycle: OneCycle, loss: torch.Tensor) -> float:
    """The loss, after a step on it; none is taken on a loss that is no number."""
    value = loss.item()
    return cycle.step(loss, value) if math.isfinite(value) else value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training lr-find`."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with one folder of photos per class")
    weights = "what to start from, as for train (default: imagenet)"
    parser.add_argument("--weights", default="imagenet", metavar="imagenet|FILE|none", help=weights)
    parser.add_argument("--unfrozen", action="store_true", help="for --lr, of everything; else for --head-lr")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("lr-find.png"), help="default: lr-find.png")
    parser.add_argument("--seed", type=int, default=42, help="which photos (default: 42)")
    parser.add_argument("--work", metavar="DIR", type=Path, help="where split.csv is kept (default: DATA/_tellapart)")


def run(args: argparse.Namespace) -> int:
    """Try rates on a few training photos, write the plot and its numbers, and say what to take."""
    torch.set_num_threads(usable_cores())
    ground = make_ground(args)
    groups = [([ground.network.fc], 1.0)]
    if args.unfrozen:
        groups = list(zip(ground.network.layer_groups(), group_peaks(ground.recipe), strict=True))
    cycle = OneCycle(groups, ground.recipe.weight_decay)
    chance = torch.Generator().manual_seed(args.seed)
    with restored(ground.network, cycle):
        trials = ramp((unfrozen_step if args.unfrozen else head_step)(ground, cycle, chance))
    found = suggestions(trials)
    rate, agreed = advice(found)
    write_rows(args.out.with_suffix(".csv"), ("rate", "loss", "smoothed"), [tuple(vars(t).values()) for t in trials])
    write_bytes(args.out, plot(trials, found))
    flag = "--lr" if args.unfrozen else "--head-lr"
    for name, value in found.items():
        print(f"{name}: {value:.1e}")  # noqa: T201
    if not agreed:
        print(f"No clear answer, use 3e-3: {flag} {FALLBACK:g}")  # noqa: T201
    else:
        print(f"Take {flag} {rate:.1e}. The curve is in {args.out}.")  # noqa: T201
    return 0


def make_ground(args: argparse.Namespace) -> Ground:
    """A few decoded training photos and the network at its start; features only where the head alone is tried."""
    accelerator = Accelerator()
    with bars() as progress:
        split = prepare(args.data, args.work or args.data / "_tellapart", args.seed, progress)
        rows = [row for row in split.rows if row.split == TRAIN]
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(args.seed))[:PHOTOS]
        some = [rows[index] for index in chosen.tolist()]
        advance = advancer(progress, "photos", len(some))
        photos, broken = load(args.data, some, split.classes, Preprocess(), wide=args.unfrozen, advance=advance)
        tell(progress, broken)
        torch.manual_seed(args.seed)
        network, _ = build(len(split.classes), Preprocess(), args.weights)
        network.to(accelerator.device).eval()
        precision = choose_precision("auto", accelerator.device)
        plain = photos.views[:0] if args.unfrozen else photos.views
        with autocast(accelerator.device, precision):
            seen = features(network, accelerator, plain, lambda _: None).float().unsqueeze(0)
    return Ground(network, photos, seen, Recipe(batch_size=BATCH), args.seed, precision, accelerator, lambda _: None)


def plot(trials: list[Trial], found: dict[str, float]) -> bytes:
    """The smoothed loss over the rate, with the suggestions, as PNG."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([trial.rate for trial in trials], [trial.loss for trial in trials], color="0.8", label="loss")
    axes.plot([trial.rate for trial in trials], [trial.smoothed for trial in trials], color="C0", label="smoothed")
    for colour, (name, rate) in enumerate(found.items(), 1):
        axes.axvline(rate, color=f"C{colour}", linestyle="--", label=f"{name}: {rate:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.legend()
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()
