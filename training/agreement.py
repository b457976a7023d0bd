"""How an exported graph's answers differ from those of the network that was trained, on the same photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from app.answer import probabilities
from app.engine import Engine
from app.image import Pixels
from training.errors import TrainingError
from training.model import Classifier
from training.parallel import each

Floats = np.ndarray[Any, np.dtype[Any]]

# Between float32 computed here and there: a probability, or a logit rebuilt from its class activation map.
F32_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Agreement:
    """The largest change of a probability; how far mean(cam) + bias is from the logits, at most; how the class
    activation maps of the first classes correlate with the trained network's (Pearson's r, mean over photos)."""

    max_change: float
    logit_residue: float
    cam_correlation: float

    def check(self, *, exact: bool) -> None:
        """Raise TrainingError where the graph cannot be the network's; `exact`: it too computes in float32."""
        for value, what in (
            (self.max_change if exact else 0.0, "The exported graph differs from the checkpoint"),
            (self.logit_residue, "The exported class activation maps differ from the logits they add up to"),
        ):
            if not value <= F32_TOLERANCE:
                raise TrainingError(
                    f"{what} by {value:.2g}; more than {F32_TOLERANCE:g} is a fault in the export, "
                    "so no bundle was written."
                )


@dataclass(frozen=True)
class Trained:
    """What the trained network itself says of N views: its probabilities [N, C], the class activation map [N, 7, 7] of
    each one's first class; and its `fc.bias` [C]."""

    views: Sequence[Pixels]
    probabilities: Floats
    maps: Floats
    bias: Floats


@torch.inference_mode()
def ask_network(network: Classifier, views: Sequence[Pixels], advance: Callable[[], None]) -> Trained:
    """Ask `network` about each view, uint8 [size, size, 3], one by one; `advance` is called after each."""
    rows, maps = [], []
    for view in views:
        found = network.feature_maps(torch.from_numpy(view.transpose(2, 0, 1)[None].copy()))
        logits = network.fc(found.mean((2, 3)))[0]
        rows.append(probabilities(logits.numpy()))
        maps.append(torch.einsum("f,fhw->hw", network.fc.weight[logits.argmax()], found[0]).numpy())
        advance()
    return Trained(views, np.stack(rows), np.stack(maps), network.fc.bias.numpy())


def agreement(trained: Trained, engine: Engine, advance: Callable[[], None]) -> Agreement:
    """Hold what `engine` says of each of the views to what the network said; `advance` is called after each."""

    def one(index: int) -> tuple[float, float, float]:
        logits, _, cam = (output[0] for output in engine.infer(trained.views[index][None]))
        row = trained.probabilities[index]
        change = np.abs(probabilities(logits) - row).max()
        residue = np.abs(cam.mean(axis=(1, 2)) + trained.bias - logits).max()
        return float(change), float(residue), correlation(cam[row.argmax()], trained.maps[index])

    found = np.array(each(one, range(len(trained.views)), advance))
    return Agreement(float(found[:, 0].max()), float(found[:, 1].max()), float(found[:, 2].mean()))


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's r of two maps [H, W]; a flat one tells no place from another, which only a flat one agrees with."""
    spreads = one.std(), other.std()
    if not all(spreads):
        return float(not any(spreads))
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
