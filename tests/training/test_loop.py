from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from app.image import Preprocess
from training.dataset import Photos
from training.errors import TrainingError
from training.loop import Epoch, OneCycle, train_head, train_unfrozen
from training.model import Classifier, build
from training.recipe import Recipe

SMALL = Recipe(batch_size=4, head_epochs=3, head_rate=1e-4, epochs=1)


def photos(count: int) -> Photos:
    """Dark and bright noise, alternating."""
    chance = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 128, (count, 3, 72, 72), dtype=torch.uint8, generator=chance)
    wide = noise + (127 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Photos((), labels, wide[:, :, 4:68, 4:68], tuple(wide))


@pytest.fixture
def network() -> Classifier:
    torch.manual_seed(0)
    return build(2, Preprocess(), 0.0, "none")[0]


def state(network: Classifier) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: Classifier, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def run(phase: Iterator[Epoch]) -> list[Epoch]:
    return list(phase)


def test_the_head_phase_leaves_the_body_alone_and_learns(network: Classifier) -> None:
    before, told = state(network), []
    epochs = run(train_head(network, photos(8), photos(4), SMALL, 1, told.append))
    assert changed(network, before) == {"fc.weight", "fc.bias"}
    assert [(epoch.phase, epoch.epoch) for epoch in epochs] == [("head", 0), ("head", 1), ("head", 2)]
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert sum(told) == 8 + 8 + 4


def test_the_unfrozen_phase_trains_every_weight_and_the_norms_statistics(network: Classifier) -> None:
    before, told = state(network), []
    (epoch,) = run(train_unfrozen(network, photos(8), photos(4), SMALL, 1, told.append))
    assert changed(network, before) == set(before)
    assert epoch.phase == "unfrozen"
    assert 0 <= epoch.valid_error <= 1
    assert sum(told) == 8


def test_the_same_seed_gives_the_same_weights(network: Classifier) -> None:
    before = state(network)

    def after(seed: int) -> Tensor:
        network.load_state_dict(before)
        torch.manual_seed(12345 + seed)  # whatever was drawn earlier does not matter
        run(train_unfrozen(network, photos(4), photos(2), SMALL, seed, lambda _: None))
        return network.conv1.weight.detach().clone()

    assert torch.equal(after(1), after(1))
    assert not torch.equal(after(1), after(2))


def test_a_rate_that_blows_up_ends_in_a_sentence(network: Classifier) -> None:
    wild = Recipe(batch_size=4, head_rate=1e38, head_epochs=9)
    with pytest.raises(TrainingError, match="learning rate is too high"):
        run(train_head(network, photos(8), photos(4), wild, 1, lambda _: None))


def test_layer_groups_have_their_rates_and_norms_no_decay(network: Classifier) -> None:
    cycle = OneCycle(list(zip(network.layer_groups(), (1e-4, 1e-3, 1e-2), strict=True)), 0.1)
    cycle.set(0.3)
    groups = cycle.optimizer.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2])
    assert all(group["betas"] == (pytest.approx(0.85), 0.99) for group in groups)
    for group in groups:
        assert all((weight.ndim > 1) == (group["weight_decay"] == 0.1) for weight in group["params"])
    assert cycle.rate == pytest.approx(1e-2)
