from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from app.image import Preprocess
from training.augment import Cache
from training.dataset import Photos
from training.errors import TrainingError
from training.loop import Fit, Ground, Outcome, features, group_peaks, train_head, train_unfrozen
from training.model import Classifier, build
from training.optimizer import OneCycle
from training.recipe import Recipe

SMALL = Recipe(batch_size=4, head_epochs=3, head_rate=1e-3, epochs=1)
FIT = Fit("0", torch.arange(8), torch.arange(8, 12))


def make_ground(recipe: Recipe = SMALL, told: list[int] | None = None) -> Ground:
    """Twelve photos of dark and bright noise, alternating, and a network of random weights."""
    torch.manual_seed(0)
    network = build(2, Preprocess(), "none")[0].eval()
    chance = torch.Generator().manual_seed(1)
    labels = torch.arange(12) % 2
    noise = torch.randint(0, 128, (12, 3, 72, 72), dtype=torch.uint8, generator=chance)
    wide = noise + (127 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    photos = Photos((), labels, wide[:, :, 4:68, 4:68], Cache.of(list(wide)))
    accelerator = Accelerator(cpu=True)
    sides = (photos.views, photos.views.flip(-1))
    seen = torch.stack([features(network, accelerator, side, lambda _: None) for side in sides])
    advance = (told if told is not None else []).append
    return Ground(network, photos, seen, recipe, 1, "f32", accelerator, advance)


def state(network: Classifier) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: Classifier, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def unfrozen(ground: Ground) -> Iterator[Outcome]:
    groups = list(zip(ground.network.layer_groups(), group_peaks(ground.recipe), strict=True))
    return train_unfrozen(ground, FIT, OneCycle(groups, 0.01), 0)


def test_the_head_phase_leaves_the_body_alone_and_learns() -> None:
    ground = make_ground()
    before = state(ground.network)
    epochs = [outcome.epoch for outcome in train_head(ground, FIT)]
    assert changed(ground.network, before) == {"fc.weight", "fc.bias"}
    assert [(epoch.fit, epoch.phase, epoch.epoch) for epoch in epochs] == [("0", "head", n) for n in range(3)]
    assert epochs[-1].train_loss < epochs[0].train_loss


def test_the_unfrozen_phase_trains_every_weight_and_keeps_the_norms_statistics() -> None:
    told: list[int] = []
    ground = make_ground(told=told)
    before = state(ground.network)
    (outcome,) = unfrozen(ground)
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert not changed(ground.network, before) & statistics
    assert {"conv1.weight", "bn1.weight", "layer4.2.bn2.weight", "fc.weight"} <= changed(ground.network, before)
    assert outcome.logits.shape == (4, 2)
    assert outcome.epoch.valid_error is not None
    assert [step.step for step in outcome.steps] == [0, 1]
    assert sum(told) == 8


def test_a_fit_that_nobody_validates_has_no_validation_figures() -> None:
    everyone = Fit("final", torch.arange(12), torch.arange(0))
    last = list(train_head(make_ground(), everyone))[-1]
    assert (last.epoch.valid_loss, last.epoch.valid_error) == (None, None)
    groups = [([make_ground().network.fc], 1e-3)]
    (outcome,) = train_unfrozen(make_ground(), everyone, OneCycle(groups, 0.01), 0)
    assert outcome.epoch.valid_loss is None


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_the_same_seed_gives_the_same_weights(mixup: float) -> None:
    def after(seed: int, disturbed: int) -> Tensor:
        ground = replace(make_ground(replace(SMALL, mixup=mixup)), seed=seed)
        torch.manual_seed(disturbed)  # whatever was drawn elsewhere does not matter
        list(unfrozen(ground))
        return ground.network.fc.weight.detach().clone()

    assert torch.equal(after(1, 5), after(1, 6))
    assert not torch.equal(after(1, 5), after(2, 5))


def test_mixup_changes_what_is_learned() -> None:
    with_it, without = make_ground(replace(SMALL, mixup=0.4)), make_ground()
    assert next(unfrozen(with_it)).epoch.train_loss != next(unfrozen(without)).epoch.train_loss


def test_a_rate_that_blows_up_ends_in_a_sentence() -> None:
    wild = Recipe(batch_size=4, head_rate=1e38, head_epochs=9)
    with pytest.raises(TrainingError, match="learning rate is too high"):
        list(train_head(make_ground(wild), FIT))


def test_layer_groups_have_their_rates_and_norms_no_decay() -> None:
    network = make_ground().network
    cycle = OneCycle(list(zip(network.layer_groups(), (1e-4, 1e-3, 1e-2), strict=True)), 0.1)
    cycle.set(0.3)
    groups = cycle.optimizer.param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2])
    assert all(group["betas"] == (pytest.approx(0.85), 0.99) for group in groups)
    for group in groups:
        assert all((weight.ndim > 1) == (group["weight_decay"] == 0.1) for weight in group["params"])
    assert cycle.position == (pytest.approx(1e-2), pytest.approx(0.85))
