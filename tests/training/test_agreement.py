"""Whether an engine says what the trained network says: a real network, and engines that err on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from app.engine import Outputs
from app.image import Pixels, Preprocess
from training.agreement import Trained, agreement, ask_network, correlation
from training.errors import TrainingError
from training.graph import fold
from training.model import Classifier, build

VIEWS = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8) for seed in range(3)]


@pytest.fixture(scope="module")
def network() -> Classifier:
    torch.manual_seed(0)
    return build(3, Preprocess(), "none")[0].eval()


@pytest.fixture(scope="module")
def trained(network: Classifier) -> Trained:
    return ask_network(network, VIEWS, lambda: None)


class Folded:
    """The network as export folds it, whose outputs a test may spoil."""

    name, streams = "folded", 1

    def __init__(self, network: Classifier, logits: float = 0.0, cam: float = 0.0, mirrored: bool = False) -> None:
        self.network = fold(network.state_dict(), 3, Preprocess())
        self.logits, self.cam, self.mirrored = logits, cam, mirrored

    def infer(self, pixels: Pixels) -> Outputs:
        with torch.inference_mode():
            logits, features, cam = (each.numpy().copy() for each in self.network(torch.tensor(pixels)))
        logits[0, 0] += self.logits
        cam[0, 0, 0, 0] += self.cam
        return Outputs(logits, features, cam[..., ::-1] if self.mirrored else cam)


def test_the_folded_network_agrees(network: Classifier, trained: Trained) -> None:
    seen = []
    found = agreement(trained, Folded(network), lambda: seen.append(1))
    found.check(exact=True)
    assert found.cam_correlation == pytest.approx(1, abs=1e-4)
    assert len(seen) == len(VIEWS)


def test_what_differs_is_told(network: Classifier, trained: Trained) -> None:
    with pytest.raises(TrainingError, match=r"differs from the checkpoint by 0\.0"):
        agreement(trained, Folded(network, logits=0.01, cam=0.04), lambda: None).check(exact=True)
    agreement(trained, Folded(network, logits=0.01, cam=0.04), lambda: None).check(exact=False)  # int8 may
    with pytest.raises(TrainingError, match=r"maps differ from the logits they add up to by 0\.01"):
        agreement(trained, Folded(network, cam=0.04), lambda: None).check(exact=False)
    with pytest.raises(TrainingError, match="maps differ"):
        agreement(trained, Folded(network, cam=float("nan")), lambda: None).check(exact=False)


def test_a_mirrored_map_does_not_correlate(network: Classifier, trained: Trained) -> None:
    assert agreement(trained, Folded(network, mirrored=True), lambda: None).cam_correlation < 0.95


def test_correlation_of_flat_maps() -> None:
    flat, bumpy = np.ones((7, 7)), np.eye(7)
    assert (correlation(flat, flat), correlation(flat, bumpy), correlation(bumpy, bumpy)) == (1, 0, pytest.approx(1))
