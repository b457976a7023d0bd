"""How each phase of a run went, put together from its records over all fits. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from training.history import HEAD, Epoch, Step
from training.recipe import Recipe


@dataclass(frozen=True)
class Setting:
    """A number that the command line takes: its flag, what the run had, and the default."""

    flag: str
    value: float
    usual: float

    @property
    def share(self) -> float:
        """Of the default."""
        return self.value / self.usual


@dataclass(frozen=True)
class Phase:
    """How one phase went, over all fits that somebody validates (`steps`, by fit: over all fits).

    Losses in nats, after each epoch: `train` is the mean over the fits, `valid` over all photos judged, and begins with
    that before the first epoch. `travelled`, at the same points: the sum of the rates so far, which is about how far
    Adam may have moved a weight.
    """

    what: str
    rate: Setting
    epochs: Setting
    steps: Mapping[str, Sequence[Step]]
    train: Sequence[float]
    valid: Sequence[float]
    travelled: Sequence[float]

    @property
    def last(self) -> int:
        """How many epochs tell how it ended."""
        return max(1, len(self.train) // 3)


def gather(
    name: str, own: Recipe, start: float, epochs: Sequence[Epoch], steps: Sequence[Step], photos: Mapping[str, int]
) -> Phase:
    """The phase `name`; `photos`: how many each fit judged; `start`: the validation loss before the first epoch (for
    the head that of guessing, than which random weights are no better)."""
    usual = Recipe()
    if name == HEAD:
        what = "The head alone"
        rate = Setting("--head-lr", own.head_rate, usual.head_rate)
        count = Setting("--head-epochs", own.head_epochs, usual.head_epochs)
    else:
        what = "Everything unfrozen"
        rate = Setting("--lr", own.rate, usual.rate)
        count = Setting("--epochs", own.epochs, usual.epochs)
    mine = {fit: [step for step in steps if (step.fit, step.phase) == (fit, name)] for fit in {s.fit for s in steps}}
    judged = [epoch for epoch in epochs if epoch.phase == name and epoch.fit in photos]
    number = 1 + max(epoch.epoch for epoch in judged)
    train, valid = [0.0] * number, [0.0] * number
    for epoch in judged:
        train[epoch.epoch] += epoch.train_loss / len(photos)
        valid[epoch.epoch] += (epoch.valid_loss or 0.0) * photos[epoch.fit] / sum(photos.values())
    rates = [step.lr for step in mine[judged[0].fit]]
    travelled = [*accumulate(rates, initial=0.0)][:: len(rates) // number]
    return Phase(what, rate, count, mine, train, [max(start, valid[0]) if name == HEAD else start, *valid], travelled)
