"""Each failure really happens on drawn photos, a healthy run is left alone, and each rule at both of its edges."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor

from app.bundle import read_bundle
from tests.bundles import SHIPPED, resnet_state
from tests.drawings import KINDS, bear, jpeg
from tests.training.test_loop import FIT, make_ground
from training import train as train_command
from training.__main__ import main
from training.diagnose import Finding, diagnose
from training.fits import Runner, copied, plan
from training.history import FINAL, HEAD, UNFROZEN, Epoch, Step
from training.job import Job, decode, diagnosis, prepare_ground
from training.loop import Ground, group_peaks, train_head, train_unfrozen
from training.optimizer import OneCycle
from training.progress import bars
from training.recipe import Recipe
from training.split import prepare
from training.state import State

SIZE = (160, 128)
HIGH, LOW, FEW, OVER = "Learning rate too high", "Learning rate too low", "Too few epochs", "Overfitting"


@dataclass(frozen=True)
class Bears:
    """Drawn bears, eight of each kind to train and twelve to validate, as the shipped bundle's body sees them."""

    job: Job
    ground: Ground
    start: dict[str, Tensor]

    def train(self, folder: Path, labels: Tensor | None = None, **settings: Any) -> tuple[list[dict[str, str]], State]:
        """What is said of a fast-lane run with these settings (and labels), and its records."""
        job = replace(self.job, recipe=Recipe(**settings))
        photos = self.ground.photos if labels is None else replace(self.ground.photos, labels=labels)
        (fit,) = plan(photos.rows)
        state = State("")
        ground = replace(self.ground, recipe=job.recipe, photos=photos)
        Runner(ground, "fast", folder, state, self.start, "none").run(fit, None)  # no network is kept
        return diagnosis(job, [fit], state, photos.labels, len(KINDS)), state


@pytest.fixture(scope="module")
def bears(tmp_path_factory: pytest.TempPathFactory) -> Bears:
    folder = tmp_path_factory.mktemp("diagnose")
    for kind in KINDS:
        for number in range(20):
            side = folder / "bears" / ("train" if number < 8 else "val") / kind
            side.mkdir(parents=True, exist_ok=True)
            (side / f"{number}.jpg").write_bytes(jpeg(bear(kind, 100 + number, SIZE)))
    body = folder / "body.safetensors"
    save_file(resnet_state(read_bundle(SHIPPED)), body)
    job = Job(folder / "bears", folder / "run", folder / "work", str(body), "fast", "f32", 42, Recipe())
    with bars(show=False) as progress:
        split = prepare(job.data, job.work, job.seed, progress)
        photos = decode(job.data, split, split.classes, progress, wide=False)
        ground, _ = prepare_ground(job, split, photos, Accelerator(cpu=True), progress)
    return Bears(job, ground, copied(ground.network))


def names(found: Sequence[dict[str, str]]) -> list[str]:
    return [each["name"] for each in found]


def test_a_healthy_run_is_left_alone_though_its_training_loss_is_above_its_validation_loss(
    bears: Bears, tmp_path: Path
) -> None:
    found, state = bears.train(tmp_path)
    assert found == []
    last = state.epochs[-1]
    assert last.valid_loss is not None
    assert last.train_loss > 2 * last.valid_loss
    assert last.valid_error is not None
    assert last.valid_error < 0.1


@pytest.mark.parametrize(
    ("settings", "name", "next_flags"),
    [
        ({"head_rate": 3.0}, HIGH, "--head-lr 0.003"),
        ({"head_rate": 1e-7}, LOW, "--head-lr 0.003"),
        ({"head_rate": 1e-5}, LOW, "--head-lr 0.003"),
        ({"head_epochs": 2}, FEW, "--head-epochs 30"),
    ],
)
def test_what_is_wrong_with_the_settings_is_named_with_the_next_command(
    bears: Bears, tmp_path: Path, settings: dict[str, Any], name: str, next_flags: str
) -> None:
    found, _ = bears.train(tmp_path, **settings)
    assert names(found) == [name]
    assert next_flags in found[0]["advice"]


def test_half_of_the_labels_wrong_is_overfitting(bears: Bears, tmp_path: Path) -> None:
    """The photos that validate keep their labels: learning the others by heart costs errors there."""
    labels = bears.ground.photos.labels.clone()
    (fit,) = plan(bears.ground.photos.rows)
    wrong = fit.training[::2]
    labels[wrong] = (labels[wrong] + 1 + torch.arange(len(wrong)) % 2) % len(KINDS)
    found, state = bears.train(tmp_path, labels, dropout=0.0, head_rate=1e-2, head_epochs=60)
    assert names(found) == [OVER]
    assert f"training clean {bears.job.out}" in found[0]["advice"]
    losses = [epoch.valid_loss or 0.0 for epoch in state.epochs]
    assert f" --head-epochs {1 + losses.index(min(losses))} " in found[0]["advice"]


@pytest.mark.parametrize(("rate", "expected"), [(0.1, HIGH), (1e-7, LOW)])
def test_a_rate_of_the_unfrozen_phase_is_named_as_such(rate: float, expected: str) -> None:
    recipe = Recipe(batch_size=4, head_epochs=10, head_rate=0.1, epochs=3, rate=rate)
    ground, state = make_ground(recipe), State("")
    cycle = OneCycle(list(zip(ground.network.layer_groups(), group_peaks(recipe), strict=True)), recipe.weight_decay)
    for outcome in chain(train_head(ground, FIT), train_unfrozen(ground, FIT, cycle, 0)):
        state.epochs.append(outcome.epoch)
        state.steps += outcome.steps
        if outcome.epoch.phase == UNFROZEN:
            state.logits.setdefault(FIT.name, []).append(outcome.logits)
    job = Job(Path("DATA"), Path("RUN"), Path("DATA/_tellapart"), "none", "full", "f32", 42, recipe)
    (found,) = diagnosis(job, [FIT], state, ground.photos.labels, 2)
    assert found["name"] == expected
    assert found["evidence"].startswith("Everything unfrozen: ")
    assert " --lr 0.001 " in found["advice"]


def test_the_command_writes_and_says_what_it_found(draw, tmp_path: Path, capsys) -> None:
    draw("data/train", disc=5, stripes=5)
    data = draw("data/val", first=20, disc=3, stripes=3)
    flags = ["--weights", "none", "--device", "cpu", "--lane", "fast", "--head-lr"]
    assert main(["train", str(data), "--out", str(tmp_path / "low"), *flags, "1e-7"]) == 0
    (found,) = json.loads((tmp_path / "low" / "run.json").read_text())["diagnosis"]
    assert found["name"] == LOW
    out = capsys.readouterr().out
    assert all(text in out for text in found.values())
    assert main(["train", str(data), "--out", str(tmp_path / "well"), *flags, "0.1"]) == 0
    assert json.loads((tmp_path / "well" / "run.json").read_text())["diagnosis"] == []
    assert "Diagnosis: nothing to complain of." in capsys.readouterr().out


def record(
    phase: str,
    valid: Sequence[float],
    *,
    fit: str = "0",
    train: Sequence[float] = (),
    steps: Sequence[float] = (),
    rate: float = 3e-3,
) -> tuple[list[Epoch], list[Step]]:
    """A phase of one fit: its validation losses by epoch, its training losses (else falling), its steps' (else 0.5)."""
    epochs = [
        Epoch(fit, phase, number, rate, (train or [1 / (n + 1) for n in range(len(valid))])[number], loss, 0.0, 1.0)
        for number, loss in enumerate(valid)
    ]
    losses = steps or [0.5] * (2 * len(valid))
    return epochs, [Step(fit, phase, number, rate, 0.9, loss) for number, loss in enumerate(losses)]


def said(
    *records: tuple[list[Epoch], list[Step]],
    wrong: dict[str, list[list[bool]]] | None = None,
    lane: str = "fast",
    classes: int = 3,
    **settings: Any,
) -> list[Finding]:
    """What is said of these records."""
    job = Job(Path("DATA"), Path("RUN"), Path("DATA/_tellapart"), "imagenet", lane, "auto", 42, Recipe(**settings))
    epochs, steps = (list(chain.from_iterable(kind)) for kind in zip(*records, strict=True))
    last = [epoch for epoch in epochs if epoch.phase == (HEAD if lane == "fast" else UNFROZEN)]
    judged = wrong or {epoch.fit: [[False] * 4] * len(last) for epoch in last if epoch.fit != FINAL}
    return diagnose(job, classes, epochs, steps, judged)


def named(found: Sequence[Finding]) -> list[str]:
    return [each.name for each in found]


NONE: list[str] = []
LEVEL = [0.3] * 6  # how a healthy run ends
FALLING = [1.0, 0.9, 0.8, 0.7, 0.65, 0.6]


@pytest.mark.parametrize(
    ("best", "then", "expected"),
    [
        (0.4, 1.59, NONE),  # less than four times the best
        (0.4, 1.61, [HIGH]),
        (0.2, 1.09, NONE),  # less than guessing among three classes costs: 1.0986
        (0.2, 1.11, [HIGH]),
    ],
)
@pytest.mark.parametrize("fit", ["0", FINAL])
def test_a_training_loss_over_four_times_its_best_and_over_guessing_has_exploded(
    best: float, then: float, expected: list[str], fit: str
) -> None:
    epochs, steps = record(HEAD, LEVEL)
    wild = [best] * 100 + [then] * 200
    steps = [step for step in steps if step.fit != fit] + record(HEAD, LEVEL, fit=fit, steps=wild)[1]
    assert named(said((epochs, steps))) == expected


@pytest.mark.parametrize(
    ("rate", "valid", "expected"),
    [
        (0.9e-3, [1.0] * 29 + [0.9951], [LOW]),  # all but still, at less than a third of the default rate
        (0.9e-3, [1.0] * 29 + [0.9949], NONE),
        (1.1e-3, [1.0] * 29 + [0.9951], NONE),
        (5e-4, [1.0, 0.9, 0.8, 0.7, 0.65, 0.549], NONE),  # below half of what guessing costs: 0.5493
        (5e-4, FALLING, [LOW]),  # a sixth of the usual rate and a fifth of the usual epochs
        (7e-4, FALLING, [FEW]),
        (3e-3, FALLING, [FEW]),
        (3e-3, [*FALLING[:4], 0.71, 0.56], NONE),  # rose once
        (3e-3, [1.0, 0.59, *FALLING[2:]], NONE),  # was lower before
        (3e-3, [1.0, 0.9, 0.8, 0.684, 0.65, 0.6], [FEW]),  # the last two of six epochs: half of the mean pace is 0.083
        (3e-3, [1.0, 0.9, 0.8, 0.682, 0.65, 0.6], NONE),
        (3e-3, [1.0, 0.9, 0.8, 0.7, 0.65, 0.550], [FEW]),  # half of what guessing costs: 0.5493
        (3e-3, [1.0, 0.9, 0.8, 0.7, 0.65, 0.549], NONE),
        (3e-3, [1.09, 1.085, 1.08, 1.08, 1.07, 1.058], [FEW]),  # by 2 %
        (3e-3, [1.09, 1.085, 1.08, 1.08, 1.07, 1.059], NONE),
        (3e-3, [0.550], [FEW]),
        (3e-3, [0.549], NONE),
        (0.9e-4, [0.9], [LOW]),  # a thirtieth of the usual epochs
        (1.1e-4, [0.9], [FEW]),
        (3e-3, [0.0] * 6, NONE),
        (3e-3, [float("nan")] * 6, NONE),
    ],
)
def test_a_low_rate_and_few_epochs(rate: float, valid: list[float], expected: list[str]) -> None:
    assert named(said(record(HEAD, valid, rate=rate), head_rate=rate, head_epochs=len(valid))) == expected


def judged(*errors: int, photos: int = 20) -> list[list[bool]]:
    """The first so many photos wrong in each epoch; below 0: the last ones."""
    return [[n < count if count >= 0 else n >= photos + count for n in range(photos)] for count in errors]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (judged(9, 0, 3, 7, 7, 7), [OVER]),  # seven to none: p = 1/128
        (judged(9, 0, 3, 6, 6, 6), NONE),  # six to none: p = 1/64
        (judged(9, 0, 3, 7, 0, 7), NONE),  # it did not stay worse
        (judged(9, -1, 3, 10, 10, 10), [OVER]),  # ten to one: p = 0.006
        (judged(9, -1, 3, 8, 8, 8), NONE),  # eight to one: p = 0.02
        (judged(9, 9, 9, 9, 9, 9), NONE),
    ],
)
def test_errors_that_came_after_the_best_epoch_and_stayed_are_overfitting(
    wrong: list[list[bool]], expected: list[str]
) -> None:
    valid = [1.0, 0.3, 0.5, 0.5, 0.5, 0.5]
    assert named(said(record(HEAD, valid), wrong={"0": wrong})) == expected
    risen = record(HEAD, valid, train=[0.9, 0.3, 0.4, 0.4, 0.4, 0.4])
    assert named(said(risen, wrong={"0": wrong})) == [HIGH for _ in expected]


def test_folds_count_by_their_photos() -> None:
    """Four became wrong in one fold and three in the other; the bigger fold's losses count more."""
    records = record(HEAD, [1.0, 0.3, 0.5]), record(HEAD, [1.0, 0.8, 0.7], fit="1")
    wrong = {"0": judged(9, 0, 4), "1": judged(3, 0, 3, photos=9)}
    (found,) = said(*records, wrong=wrong)
    assert found.name == OVER
    assert "since epoch 2 of 3 wrong validation photos rose from 0 to 7 of 29" in found.evidence


def test_the_phases_of_the_full_lane_are_judged_apart() -> None:
    head = record(HEAD, FALLING)
    rest = record(UNFROZEN, [0.5, 0.4, 0.3, 0.3], steps=[0.4] * 4 + [9.0] * 4)
    few, high = said(head, rest, lane="full", head_epochs=6)
    assert (few.name, high.name) == (FEW, HIGH)
    assert few.advice.endswith("train DATA --out RUN-2 --head-epochs 30")
    assert high.evidence.startswith("Everything unfrozen: the training loss was 0.4 at best")
    assert high.advice.endswith("train DATA --out RUN-2 --head-epochs 6 --lr 0.0001")


def test_an_unfrozen_phase_that_does_not_move_has_too_low_a_rate_even_where_little_is_left_to_learn() -> None:
    records = record(HEAD, LEVEL), record(UNFROZEN, [0.3, 0.2999, 0.2999, 0.2998], rate=1e-7)
    (found,) = said(*records, lane="full", rate=1e-7)
    assert found.name == LOW
    assert found.advice.endswith("--lr 0.001")


def test_the_command_is_the_runs_own_with_one_setting_changed(tmp_path: Path) -> None:
    recipe = Recipe(head_rate=3.0, head_epochs=6, batch_size=64, mixup=0.4)
    job = Job(Path("my bears"), Path("runs/1"), Path("w"), "body.safetensors", "fast", "bf16", 7, recipe)
    epochs, steps = record(HEAD, LEVEL, steps=[0.4] * 4 + [9.0] * 8)
    (found,) = diagnose(job, 3, epochs, steps, {"0": judged(0, 0, 0, 0, 0, 0)})
    words = shlex.split(found.advice.partition(": ")[2])
    assert words[:4] == ["python", "-m", "training", "train"]
    parser = argparse.ArgumentParser()
    train_command.add_arguments(parser)
    args = parser.parse_args(words[4:])
    assert (args.data, args.out, args.work, args.weights) == (job.data, Path("runs/1-2"), job.work, job.weights)
    assert (args.lane, args.precision, args.seed, args.batch_size) == ("fast", "bf16", 7, 64)
    assert (args.head_lr, args.head_epochs, args.mixup, args.lr) == (3e-3, 6, 0.4, recipe.rate)


def test_a_diagnosis_does_not_wait_for_torch() -> None:
    code = "import sys, training.diagnose; assert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
