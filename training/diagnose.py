"""What went wrong in a run, in words: each finding with its evidence and the next command. No torch.

A phase gets at most one finding, the first that holds. Thresholds lie where healthy runs are left alone, so that some
ill ones pass too: a false alarm costs an evening of training. Training loss above validation loss is no sign of
anything: dropout, augmentation and label smoothing raise the one alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from training.history import HEAD, UNFROZEN, Epoch, Step
from training.metrics import coin_tail
from training.phases import Phase, gather
from training.recipe import Recipe
from training.words import command

if TYPE_CHECKING:
    from training.job import Job

SMOOTHING = 0.9  # of the running mean of the steps' losses, as in lr-find
EXPLODED = 4.0  # times the best running mean so far: where fastai v1's lr_find stops
PACE = 0.5  # of the mean one: a loss that levels off is far below
STILL = 0.005  # of the loss: any rate that trains at all moves it more
CLEAR = 0.02  # of the loss: a fall that is worth more epochs
LOW = 1 / 3  # of the default rate: above it, the rate is not to blame
ROOM = 0.5  # of the loss of guessing: below it, a loss may go on falling, for there is little left to gain
CHANCE = 0.01  # how likely photos that change sides at random may look like overfitting


@dataclass(frozen=True)
class Finding:
    """A complaint: what it is, the numbers that show it, and what to do about it, with the command."""

    name: str
    evidence: str
    advice: str


def diagnose(
    job: Job,
    classes: int,
    epochs: Sequence[Epoch],
    steps: Sequence[Step],
    wrong: Mapping[str, Sequence[Sequence[bool]]],
) -> list[Finding]:
    """What there is to complain of, phase by phase; [] for a healthy run.

    `wrong[fit][epoch][photo]`: whether the fit judged that photo of its validation side wrong, in the last phase.
    """
    guess = math.log(classes)
    photos = {fit: len(judged[0]) for fit, judged in wrong.items()}
    head = gather(HEAD, job.recipe, guess, epochs, steps, photos)
    if job.lane == "fast":
        found = [exploded(job, head, guess) or got_worse(job, head, wrong) or too_slow(job, head, guess)]
    else:
        rest = gather(UNFROZEN, job.recipe, head.valid[-1], epochs, steps, photos)
        found = [
            exploded(job, head, guess) or too_slow(job, head, guess),
            exploded(job, rest, guess) or got_worse(job, rest, wrong) or too_slow(job, rest, guess),
        ]
    return [finding for finding in found if finding]


def exploded(job: Job, phase: Phase, guess: float) -> Finding | None:
    """Whether the training loss exploded: over four times its best so far, and over that of guessing.

    Both are running means over the steps of a fit. As the rate goes down again, much of the harm is mended, not all.
    """
    found = [explosion(steps, guess) for steps in phase.steps.values()]
    worst = max((each for each in found if each), key=lambda each: each[1], default=None)
    if worst is None:
        return None
    best, top, step = worst
    return lower_rate(
        job,
        phase,
        f"{phase.what}: the training loss was {best:.3g} at best, then rose to {top:.3g}, at a rate of {step.lr:.2g}; "
        f"that of guessing is {guess:.3g}.",
    )


def lower_rate(job: Job, phase: Phase, evidence: str) -> Finding:
    """The finding that the rate was too high: a tenth of it comes next, or the default, if that is lower."""
    value = min(phase.rate.value / 10, phase.rate.usual)
    advice = f"Train at a lower rate: {again(job, phase.rate.flag, value)}"
    return Finding("Learning rate too high", evidence, advice)


def explosion(steps: Sequence[Step], guess: float) -> tuple[float, float, Step] | None:
    """The lowest running mean of the loss before it exploded, the highest after that, and that step; or None."""
    smoothed, best = list(running_means(step.loss for step in steps)), math.inf
    for number, loss in enumerate(smoothed):
        if loss > max(EXPLODED * best, guess):
            top = max(range(number, len(smoothed)), key=smoothed.__getitem__)
            return best, smoothed[top], steps[top]
        best = min(best, loss)
    return None


def running_means(losses: Iterable[float]) -> Iterator[float]:
    """Of the losses so far, without the bias of a short past."""
    mean = 0.0
    for number, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        yield mean / (1 - SMOOTHING**number)


def got_worse(job: Job, phase: Phase, wrong: Mapping[str, Sequence[Sequence[bool]]]) -> Finding | None:
    """Whether the validation error got worse after the best epoch and stayed worse: overfitting, if the training loss
    fell all the while; else the rate was too high.

    The best epoch is the one with the lowest validation loss: that with the fewest errors would owe some of them to
    luck. The same photos are judged before and after, so what counts is those that changed sides: the exact McNemar
    test (as in compare), one-sided. Only of the last phase is it known what was said of each photo.
    """
    valid, train = phase.valid[1:], phase.train
    best = min(range(len(valid)), key=valid.__getitem__)
    judged = [[photo for fit in wrong.values() for photo in fit[epoch]] for epoch in range(len(valid))]
    errors = [sum(photos) for photos in judged]
    if min(errors[-phase.last :]) <= errors[best]:
        return None
    worse = sum(after and not before for before, after in zip(judged[best], judged[-1], strict=True))
    better = worse - (errors[-1] - errors[best])
    chance = coin_tail(better, worse + better)
    if chance >= CHANCE:
        return None
    likely = f"p = {chance:.1g}" if chance >= 0.001 else "p < 0.001"
    evidence = (
        f"{phase.what}: since epoch {best + 1} of {len(valid)} wrong validation photos rose from {errors[best]} to "
        f"{errors[-1]} of {len(judged[-1])} ({worse} became wrong, {better} right; McNemar test, {likely}), while "
        f"the training loss went from {train[best]:.3g} to {train[-1]:.3g}."
    )
    if train[-1] >= train[best]:
        return lower_rate(job, phase, evidence)
    sooner = again(job, phase.epochs.flag, best + 1)
    advice = f"Look for wrong labels: {command('clean', job.out)}. If there are none, stop sooner: {sooner}"
    return Finding("Overfitting", evidence, advice)


def too_slow(job: Job, phase: Phase, guess: float) -> Finding | None:
    """Whether there was more to learn when the epochs ran out, and which setting is to blame.

    From the curve alone a low rate and few epochs look the same: either way the weights did not come far. To blame is
    what lies further below its default; of the rate, only one far below. Of a single epoch there is only one loss, and
    the room that it leaves is all that can be judged.
    """
    valid, last, count = phase.valid, phase.last, len(phase.train)
    falling = valid[-1] > ROOM * guess and (count == 1 or still_falling(phase))
    level = ", and had not begun to level off." if falling and count > 1 else "."
    if phase.rate.share < min(LOW, phase.epochs.share) and (falling or still(valid[1:])):
        return Finding(
            "Learning rate too low",
            f"{phase.what}: with {phase.rate.flag} {phase.rate.value:g} the validation loss got from {valid[0]:.4g} to "
            f"{valid[-1]:.4g}{level}",
            f"Train at a higher rate: {again(job, phase.rate.flag, phase.rate.usual)}",
        )
    if falling and valid[-1 - last] - valid[-1] >= CLEAR * valid[-1]:
        where = f"the last {last} of {count} epochs" if last > 1 else f"the last of {count} epochs"
        return Finding(
            "Too few epochs",
            f"{phase.what}: in {where if count > 1 else 'the only epoch'} the validation loss got from "
            f"{valid[-1 - last]:.3g} to {valid[-1]:.3g}{level}",
            f"Train for longer: {again(job, phase.epochs.flag, max(2 * count, phase.epochs.usual))}",
        )
    return None


def still(losses: Sequence[float]) -> bool:
    """Whether the losses of several epochs are all but the same: validation is free of chance, only weights move it."""
    return len(losses) > 1 and max(losses) - min(losses) < STILL * max(losses)


def still_falling(phase: Phase) -> bool:
    """Whether the validation loss fell to the end, never rising in the last third of the epochs, and at no less than
    half its mean pace: per unit of the learning rate, as that goes down to nothing and would level any curve."""
    valid, travelled, last = phase.valid, phase.travelled, phase.last
    end = valid[-1 - last :]
    if any(after > before for before, after in pairwise(end)) or end[-1] > min(valid):
        return False
    mean = (max(valid) - end[-1]) / travelled[-1]
    return 0 < PACE * mean <= (end[0] - end[-1]) / (travelled[-1] - travelled[-1 - last])


def again(job: Job, flag: str, value: float) -> str:
    """The run's own command, into another folder, with `flag` set to `value`."""
    usual = replace(
        job, work=job.data / "_tellapart", weights="imagenet", lane="full", precision="auto", seed=42, recipe=Recipe()
    )
    own, plain = flags(job), flags(usual)
    chosen = {name: text for name, text in own.items() if text != plain[name]} | {flag: f"{value:g}"}
    return command("train", job.data, "--out", f"{job.out}-2", *(word for pair in chosen.items() for word in pair))


def flags(job: Job) -> dict[str, str]:
    """What the command line said, or could have said."""
    recipe = job.recipe
    return {
        "--weights": job.weights,
        "--lane": job.lane,
        "--head-epochs": f"{recipe.head_epochs}",
        "--head-lr": f"{recipe.head_rate:g}",
        "--epochs": f"{recipe.epochs}",
        "--lr": f"{recipe.rate:g}",
        "--batch-size": f"{recipe.batch_size}",
        "--mixup": f"{recipe.mixup:g}",
        "--precision": job.precision,
        "--seed": f"{job.seed}",
        "--work": str(job.work),
    }
