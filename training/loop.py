"""The two phases of training: the head on a frozen body's features, then everything with augmentation.

Each phase is a generator that trains one epoch at a time and yields what it measured, so that the caller can save
and show it. An epoch's random numbers depend on the seed, the phase and the epoch alone.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.dataset import Photos, batches
from training.errors import TrainingError
from training.model import Classifier
from training.recipe import Recipe
from training.schedule import group_rates, one_cycle_momentum, one_cycle_rate

HEAD, UNFROZEN = "head", "unfrozen"
BETA2 = 0.99  # fastai v1's Adam
VIEWS_AT_ONCE = 32

Advance = Callable[[int], None]  # told how many photos were just done


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured: mean losses (nats), the validation photos' error rate, the head's last rate, seconds."""

    phase: str
    epoch: int
    lr: float
    train_loss: float
    valid_loss: float
    valid_error: float
    seconds: float


def train_head(
    network: Classifier, training: Photos, validation: Photos, recipe: Recipe, seed: int, advance: Advance
) -> Iterator[Epoch]:
    """Train `network.fc` alone on features of the plain and the mirrored photos, computed once.

    The body stays in eval mode. (fastai also trains the frozen body's batch norms; that needs the whole backward pass
    and gives up the once-computed features.) `advance` is told of each batch of features.
    """
    plain = features(network, training.views, advance)
    mirrored = features(network, training.views.flip(-1), advance)
    inputs, labels = torch.cat([plain, mirrored]), training.labels.repeat(2).to(plain.device)
    seen = features(network, validation.views, advance)
    truth = validation.labels.to(plain.device)
    head = nn.Sequential(network.dropout, network.fc)
    cycle = OneCycle([([network.fc], recipe.head_rate)], recipe.weight_decay)
    for epoch in range(recipe.head_epochs):
        started = time.monotonic()
        torch.manual_seed(epoch_seed(seed, HEAD, epoch))
        head.train()
        order = torch.randperm(len(labels)).tensor_split(math.ceil(len(labels) / recipe.batch_size))
        loss = 0.0
        for step, chosen in enumerate(order):
            cycle.set((epoch + step / len(order)) / recipe.head_epochs)
            loss += cycle.step(head(inputs[chosen]), labels[chosen], recipe.label_smoothing) * len(chosen)
        head.eval()
        with torch.no_grad():
            logits = head(seen)
        yield measured(HEAD, epoch, cycle.rate, loss / len(labels), logits, truth, started)


def train_unfrozen(
    network: Classifier, training: Photos, validation: Photos, recipe: Recipe, seed: int, advance: Advance
) -> Iterator[Epoch]:
    """Train the whole network on augmented photos, earlier layer groups at lower rates, batch norm in train mode.

    `advance` is told of each training batch.
    """
    device, size = network.mean.device, training.views.shape[-1]
    truth = validation.labels.to(device)
    rates = group_rates(recipe.rate * recipe.body_share, recipe.rate, 3)
    cycle = OneCycle(list(zip(network.layer_groups(), rates, strict=True)), recipe.weight_decay)
    steps = math.ceil(len(training.labels) / recipe.batch_size)
    for epoch in range(recipe.epochs):
        started = time.monotonic()
        torch.manual_seed(epoch_seed(seed, UNFROZEN, epoch))
        network.train()
        loss = 0.0
        for step, (pixels, labels) in enumerate(batches(training, recipe.augmentation, size, recipe.batch_size)):
            cycle.set((epoch + step / steps) / recipe.epochs)
            with autocast(device):
                logits = network(pixels.to(device))
            loss += cycle.step(logits.float(), labels.to(device), recipe.label_smoothing) * len(labels)
            advance(len(labels))
        logits = predict(network, validation.views)
        yield measured(UNFROZEN, epoch, cycle.rate, loss / len(training.labels), logits, truth, started)


class OneCycle:
    """AdamW over layer groups under fastai v1's one-cycle policy; no weight decay on norms and biases."""

    def __init__(self, groups: list[tuple[list[nn.Module], float]], weight_decay: float) -> None:
        self.peaks: list[float] = []
        settings = []
        for modules, peak in groups:
            parameters = [parameter for module in modules for parameter in module.parameters()]
            for decay, chosen in (
                (weight_decay, [p for p in parameters if p.ndim > 1]),
                (0.0, [p for p in parameters if p.ndim == 1]),
            ):
                settings.append({"params": chosen, "weight_decay": decay})
                self.peaks.append(peak)
        self.optimizer = torch.optim.AdamW(settings, lr=0.0)

    @property
    def rate(self) -> float:
        """The last layer group's learning rate now."""
        return float(self.optimizer.param_groups[-1]["lr"])

    def set(self, position: float) -> None:
        """Set rates and momentum for `position` (0 to 1) of the phase."""
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = one_cycle_rate(position, peak)
            group["betas"] = (one_cycle_momentum(position), BETA2)

    def step(self, logits: Tensor, labels: Tensor, label_smoothing: float) -> float:
        """One optimizer step on the mean cross-entropy, which is returned; raises TrainingError if it is not finite."""
        loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(f"The loss became {value}: the learning rate is too high; lower --lr (or --head-lr).")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return value


@torch.no_grad()
def features(network: Classifier, views: Tensor, advance: Advance) -> Tensor:
    """What the frozen body sees in `views` (uint8 [N, 3, H, W]): float32 [N, 512] on the network's device."""
    network.eval()
    found = []
    for some in torch.split(views, VIEWS_AT_ONCE):
        found.append(network.features(some.to(network.mean.device)))
        advance(len(some))
    return torch.cat(found)


@torch.no_grad()
def predict(network: Classifier, views: Tensor) -> Tensor:
    """Logits, float32 [N, C], of the network in eval mode for `views` (uint8 [N, 3, H, W], from model_input)."""
    network.eval()
    return torch.cat([network(some.to(network.mean.device)) for some in torch.split(views, VIEWS_AT_ONCE)])


def measured(
    phase: str, epoch: int, rate: float, train_loss: float, logits: Tensor, truth: Tensor, started: float
) -> Epoch:
    """The record of an epoch; validation loss is without label smoothing."""
    loss = functional.cross_entropy(logits, truth).item()
    error = (logits.argmax(1) != truth).float().mean().item()
    return Epoch(phase, epoch, rate, train_loss, loss, error, time.monotonic() - started)


def epoch_seed(seed: int, phase: str, epoch: int) -> int:
    """A seed for torch's generator, different for each epoch of each phase."""
    return zlib.crc32(f"{seed} {phase} {epoch}".encode())


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """bf16 on CUDA, where it is about twice as fast; full precision elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
