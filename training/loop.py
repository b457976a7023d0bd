"""The two phases of training: the head on a frozen body's features, then everything with augmentation.

Each phase is a generator that trains one epoch at a time and yields what it measured, so that the caller can save
and show it. An epoch's random numbers depend on the seed, the fit, the phase and the epoch alone. Several processes
(Hugging Face Accelerate) each take their share of every batch, and draw the same random numbers for the whole of it.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from app import outside
from training.augment import draw, views
from training.dataset import Photos
from training.errors import TrainingError
from training.history import HEAD, UNFROZEN, Epoch, Step
from training.model import Classifier
from training.optimizer import OneCycle
from training.recipe import Recipe
from training.schedule import group_rates

VIEWS_AT_ONCE = 32

Advance = Callable[[int], None]  # told how many photos were just done


@dataclass(frozen=True)
class Fit:
    """One training of the network: its name, and which photos (indices, int64) train and which validate it."""

    name: str
    training: Tensor
    validation: Tensor


@dataclass(frozen=True)
class Ground:
    """What all fits of a run stand on. `features`: what the frozen body sees in the plain and in the mirrored photos,
    float32 [2, N, 512]; `precision`: "bf16" or "f32", what the unfrozen phase multiplies in."""

    network: Classifier
    photos: Photos
    features: Tensor
    recipe: Recipe
    seed: int
    precision: str
    accelerator: Accelerator
    advance: Advance


@dataclass(frozen=True)
class Outcome:
    """What an epoch left: its record, its steps, and of the photos that validate the logits [V, C] and the similarity
    [V] to those that train (app/outside.py)."""

    epoch: Epoch
    steps: list[Step]
    logits: Tensor
    similarity: Tensor


def train_head(ground: Ground, fit: Fit) -> Iterator[Outcome]:
    """Train `network.fc` alone on features of the plain and the mirrored photos, computed once.

    (fastai also trains the frozen body's batch norms; that needs the whole backward pass.) Every process does all of
    it: it takes seconds.
    """
    recipe, head = ground.recipe, ground.network.fc
    inputs = ground.features[:, fit.training].flatten(0, 1)
    labels = ground.photos.labels[fit.training].repeat(2).to(inputs.device)
    cycle = OneCycle([([head], recipe.head_rate)], recipe.weight_decay)
    for epoch in range(recipe.head_epochs):
        started, steps = time.monotonic(), []
        chance = generator(ground.seed, fit.name, HEAD, epoch)
        order = torch.randperm(len(labels), generator=chance)
        batches = order.tensor_split(math.ceil(len(order) / recipe.batch_size))
        for number, chosen in enumerate(batches):
            cycle.set((epoch + number / len(batches)) / recipe.head_epochs)
            kept = keep(len(chosen), recipe.dropout, chance).to(inputs.device)
            loss = functional.cross_entropy(
                head(inputs[chosen] * kept), labels[chosen], label_smoothing=recipe.label_smoothing
            )
            value = cycle.step(loss, finite(loss.item(), HEAD))
            steps.append(Step(fit.name, HEAD, epoch * len(batches) + number, *cycle.position, value))
        plain = ground.features[0]
        judged = judge(ground, plain[fit.validation], plain[reference(ground, fit)])
        yield outcome(ground, fit, HEAD, epoch, steps, [len(chosen) for chosen in batches], judged, started)


def train_unfrozen(ground: Ground, fit: Fit, cycle: OneCycle, first: int) -> Iterator[Outcome]:
    """Train the whole network on augmented photos from epoch `first` on, earlier layer groups at lower rates.

    The batch norms keep their statistics: those of a batch would differ with the number of processes, and fine-tuning
    on few photos does as well without (docs/DECISIONS.md).
    """
    recipe, accelerator = ground.recipe, ground.accelerator
    network = accelerator.prepare_model(ground.network)
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    for epoch in range(first, recipe.epochs):
        started, steps = time.monotonic(), []
        chance = generator(ground.seed, fit.name, UNFROZEN, epoch)
        order = fit.training[torch.randperm(len(fit.training), generator=chance)]
        batches = order.tensor_split(math.ceil(len(order) / recipe.batch_size))
        ground.network.eval()
        for number, chosen in enumerate(batches):
            cycle.set((epoch + number / len(batches)) / recipe.epochs)
            loss = batch_loss(ground, network, chosen, share, chance)
            # DistributedDataParallel averages over processes; the sum over the batch is wanted, divided by its size
            whole = finite(accelerator.reduce(loss.detach(), "sum").item(), UNFROZEN)
            value = cycle.step(loss * accelerator.num_processes, whole)
            steps.append(Step(fit.name, UNFROZEN, epoch * len(batches) + number, *cycle.position, value))
            ground.advance(len(chosen))
        seen = [look(ground, chosen) for chosen in (fit.validation, reference(ground, fit))]
        yield outcome(ground, fit, UNFROZEN, epoch, steps, [len(c) for c in batches], judge(ground, *seen), started)


def batch_loss(
    ground: Ground, network: torch.nn.Module, chosen: Tensor, share: slice, chance: torch.Generator
) -> Tensor:
    """This process's share of the mean loss over the batch `chosen`; with mixup, each view is mixed with another."""
    recipe, device = ground.recipe, ground.network.mean.device
    size, cache = ground.photos.views.shape[-1], ground.photos.cache
    draws, kept = draw(len(chosen), recipe.augmentation, chance), keep(len(chosen), recipe.dropout, chance)
    pixels = views(cache, chosen[share], draws[share], size)
    targets = functional.one_hot(ground.photos.labels[chosen], ground.network.fc.out_features).float()
    if recipe.mixup:
        other = torch.randperm(len(chosen), generator=chance)
        own = beta(recipe.mixup, chance)
        pixels = torch.lerp(views(cache, chosen[other][share], draws[other][share], size), pixels, own)
        targets = torch.lerp(targets[other], targets, own)
    with autocast(device, ground.precision):
        logits = network(pixels, kept[share].to(device))
    losses = functional.cross_entropy(
        logits.float(), targets[share].to(device), label_smoothing=recipe.label_smoothing, reduction="sum"
    )
    return losses / len(chosen)


def finite(value: float, phase: str) -> float:
    """`value`, a loss or a sum of weights; raises TrainingError if it is no number any more."""
    if math.isfinite(value):
        return value
    flag, command = ("--head-lr", "lr-find DATA") if phase == HEAD else ("--lr", "lr-find DATA --unfrozen")
    raise TrainingError(
        f"The loss became {value}: the learning rate is too high. Give a lower {flag} (python -m training {command} "
        "suggests one) and another --out."
    )


def keep(count: int, dropout: float, chance: torch.Generator) -> Tensor:
    """Dropout as factors for features: 0 with probability `dropout`, else 1 / (1 - dropout); [count, 512]."""
    return (torch.rand(count, 512, generator=chance) >= dropout).float() / (1 - dropout)


def beta(alpha: float, chance: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha), at least a half: a view stays mostly itself; fastai v1 `MixUpCallback`."""
    gammas = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=chance)
    share = float(gammas[0] / gammas.sum())
    return max(share, 1 - share)


@torch.no_grad()
def features(network: Classifier, accelerator: Accelerator, pixels: Tensor, advance: Advance) -> Tensor:
    """What the body sees in `pixels` (uint8 [N, 3, H, W]): float32 [N, 512] on the network's device."""
    return shared_out(accelerator, pixels, network.features, network.mean.device, advance)


def look(ground: Ground, chosen: Tensor) -> Tensor:
    """What the network sees in the chosen photos as the service would show them: float32 [N, 512]."""
    return features(ground.network, ground.accelerator, ground.photos.views[chosen.cpu()], lambda _: None)


def reference(ground: Ground, fit: Fit) -> Tensor:
    """Those that train which the others are compared with: as many as a bundle keeps; none where nobody validates."""
    if not len(fit.validation):
        return fit.training[:0]
    return fit.training[outside.evenly(ground.photos.labels[fit.training].tolist())]


@torch.no_grad()
def judge(ground: Ground, seen: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Of what was seen in photos [V, 512]: the logits [V, C], and the similarity [V] to `others` [M, 512]."""
    logits = ground.network.fc(seen).float().cpu()
    if not len(seen):
        return logits, torch.empty(0)
    near = outside.similarity(seen.float().cpu().numpy(), outside.unit(others.float().cpu().numpy()))
    return logits, torch.from_numpy(near)


def shared_out(
    accelerator: Accelerator, pixels: Tensor, ask: Callable[[Tensor], Tensor], device: torch.device, advance: Advance
) -> Tensor:
    """`ask` of every photo, each process asking about its share; the answers in the photos' order."""
    mine = pixels[accelerator.process_index :: accelerator.num_processes]
    found = []
    for some in torch.split(mine, VIEWS_AT_ONCE):
        found.append(ask(some.to(device)))
        advance(len(some) * accelerator.num_processes)
    rows = torch.cat(found)
    if accelerator.num_processes == 1:
        return rows
    gathered = accelerator.gather(accelerator.pad_across_processes(rows))
    by_process = torch.as_tensor(gathered).view(accelerator.num_processes, -1, rows.shape[1])
    return by_process.transpose(0, 1).flatten(0, 1)[: len(pixels)]


def outcome(
    ground: Ground,
    fit: Fit,
    phase: str,
    epoch: int,
    steps: list[Step],
    sizes: list[int],
    judged: tuple[Tensor, Tensor],
    started: float,
) -> Outcome:
    """The record of an epoch; validation loss is without label smoothing, and None where nobody validates.

    Raises TrainingError if the epoch left weights, or gives losses, that are no numbers.
    """
    logits, similarity = judged
    truth = ground.photos.labels[fit.validation]
    train_loss = sum(step.loss * size for step, size in zip(steps, sizes, strict=True)) / sum(sizes)
    loss = functional.cross_entropy(logits, truth).item() if len(truth) else None
    error = (logits.argmax(1) != truth).float().mean().item() if len(truth) else None
    trained = ground.network.fc if phase == HEAD else ground.network
    for found in (loss or 0.0, *(weights.sum().item() for weights in trained.parameters())):
        finite(found, phase)  # the last step may have ruined what no further step will measure
    seconds = round(time.monotonic() - started, 3)
    record = Epoch(fit.name, phase, epoch, steps[-1].lr, train_loss, loss, error, seconds)
    return Outcome(record, steps, logits, similarity)


def generator(seed: int, fit: str, phase: str, epoch: int) -> torch.Generator:
    """Random numbers that are different for each epoch of each phase of each fit."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {fit} {phase} {epoch}".encode()))


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """bf16 multiplications under float32 weights, or float32 throughout."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def group_peaks(recipe: Recipe) -> list[float]:
    """The peak rates of the three layer groups in the unfrozen phase."""
    return group_rates(recipe.rate * recipe.body_share, recipe.rate, 3)
