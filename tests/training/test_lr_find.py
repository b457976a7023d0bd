import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.training.test_loop import make_ground
from training.__main__ import main
from training.loop import group_peaks
from training.lr_find import HIGH, LOW, Trial, advice, ramp, restored, suggestions, unfrozen_step
from training.model import build
from training.optimizer import OneCycle


def bowl(rate: float) -> float:
    """A loss that is flat, falls between 1e-4 and 1e-1, then explodes."""
    return 1 - 0.6 / (1 + math.exp(-3 * (math.log10(rate) + 2.5))) + (rate / 0.3) ** 2


def test_the_ramp_is_even_on_the_log_scale_and_stops_at_four_times_the_best() -> None:
    trials = ramp(bowl)
    ratios = [b.rate / a.rate for a, b in pairwise(trials)]
    assert trials[0].rate == LOW
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert trials[-1].rate < HIGH
    assert trials[-1].smoothed <= 4 * min(trial.smoothed for trial in trials)
    assert ramp(lambda _: 1.0)[-1].rate == pytest.approx(HIGH)


def test_a_loss_that_is_no_number_ends_the_ramp() -> None:
    assert ramp(lambda rate: math.nan if rate > 1e-3 else 1.0)[-1].rate < 1e-3


def test_three_rules_agree_on_a_bowl() -> None:
    found = suggestions(ramp(bowl))
    assert set(found) == {"steepest", "minimum / 10", "valley"}
    rate, agreed = advice(found)
    assert agreed
    assert 1e-3 <= rate <= 1e-1


@pytest.mark.parametrize("found", [{}, {"a": 1e-5, "b": 1e-3, "c": 1e-1}])
def test_rules_that_differ_widely_give_the_usual_rate(found: dict[str, float]) -> None:
    assert advice(found) == (3e-3, False)


def test_a_loss_that_only_rises_gives_no_suggestion() -> None:
    assert suggestions([Trial(10.0**n, float(n), float(n)) for n in range(-20, 1)]) == {}


def test_noise_of_the_first_steps_is_no_answer() -> None:
    expected = suggestions(ramp(bowl))
    trials = [Trial(t.rate, t.loss, t.smoothed - (5 if n == 2 else 0)) for n, t in enumerate(ramp(bowl))]
    assert suggestions(trials) == expected


def test_weights_optimizer_and_random_state_are_restored(draw) -> None:
    from app.image import Preprocess

    network, _ = build(2, Preprocess(), "none")
    cycle = OneCycle([([network.fc], 1.0)], 0.01)
    cycle.hold(1e-2)
    cycle.step(network.fc(torch.ones(1, 512)).sum(), 1.0)
    weights, moments = network.fc.weight.detach().clone(), {k: v.clone() for k, v in cycle.tensors().items()}
    chance = torch.get_rng_state()
    with restored(network, cycle):
        torch.rand(3)
        cycle.step(network.fc(torch.ones(1, 512)).sum(), 1.0)
        assert not torch.equal(network.fc.weight, weights)
    assert torch.equal(network.fc.weight, weights)
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(value, moments[name]) for name, value in cycle.tensors().items())


def test_the_command_writes_plot_and_numbers(draw, tmp_path: Path, capsys) -> None:
    data, out = draw(disc=6, stripes=6), tmp_path / "found.png"
    assert main(["lr-find", str(data), "--weights", "none", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "found.csv").read_text().startswith("rate,loss,smoothed\n")
    assert "--head-lr" in capsys.readouterr().out


def test_unfrozen_trials_move_the_body() -> None:
    ground = make_ground()
    groups = list(zip(ground.network.layer_groups(), group_peaks(ground.recipe), strict=True))
    before = ground.network.conv1.weight.detach().clone()
    step = unfrozen_step(ground, OneCycle(groups, 0.01), torch.Generator().manual_seed(1))
    assert len(ramp(step, steps=3, high=1e-3)) == 3
    assert not torch.equal(ground.network.conv1.weight, before)
