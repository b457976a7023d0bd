"""The fits of a run: which there are, and one of them from the first step to the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.folders import VALIDATION, Row
from training.history import FINAL, write_epochs, write_steps
from training.loop import Fit, Ground, Outcome, group_peaks, train_head, train_unfrozen
from training.optimizer import OneCycle
from training.run_folder import STAGE_1, STAGE_2
from training.state import State, write_tensors


def plan(rows: Sequence[Row]) -> list[Fit]:
    """A fit per fold, and a last one on all photos; or one fit, where the split has no folds."""
    folds = sorted({row.fold for row in rows} - {""})
    everyone = torch.arange(len(rows))
    judged = {name: torch.tensor([row.fold == name for row in rows]) for name in folds}
    if not folds:
        validates = torch.tensor([row.split == VALIDATION for row in rows])
        return [Fit("0", everyone[~validates], everyone[validates])]
    fits = [Fit(name, everyone[~here], everyone[here]) for name, here in judged.items()]
    return [*fits, Fit(FINAL, everyone, everyone[:0])]


@dataclass(frozen=True)
class Runner:
    """Runs fits in `folder`, keeping `state` there after every epoch. `start`: the network's tensors before any fit."""

    ground: Ground
    lane: str
    folder: Path
    state: State
    start: dict[str, Tensor]
    kept: str  # the fit whose networks are written; of the others only the logits count

    def run(self, fit: Fit, epochs: int | None) -> None:
        """Train `fit` for at most `epochs` of its last phase (None: all of them).

        Of the fit that is kept, writes the best epoch's network (the last one's, where nobody validates): STAGE_1 in
        the fast lane, STAGE_2 in the full one, where STAGE_1 is the network after the head alone.
        """
        best: dict[str, Tensor] = {}
        for outcome in self._outcomes(fit, epochs):
            if fit.name == self.kept and self._is_best(fit, outcome):
                if self.lane == "fast":
                    best = copied(self.ground.network)  # its epochs are shorter than writing it would take
                else:
                    self._keep(self.ground.network.state_dict(), STAGE_2)
        if best:
            self._keep(best, STAGE_1)

    def finish(self, fit: Fit) -> None:
        """Note that `fit` needs not be run again."""
        self.state.fits.append(fit.name)
        self._save({})

    def _outcomes(self, fit: Fit, epochs: int | None) -> Iterator[Outcome]:
        """The last phase's epochs that are still to be done, each recorded and saved after the caller has seen it."""
        network, resumed = self.ground.network, self.state.take()
        network.load_state_dict(resumed.get("network", self.start))
        if not resumed:
            for outcome in train_head(self.ground, fit):
                self._record(fit, outcome, last=self.lane == "fast")
                if self.lane == "fast":
                    yield outcome
                    if outcome.epoch.epoch + 1 == epochs:
                        break
        if self.lane == "fast":
            return
        if fit.name == self.kept and not resumed:
            self._keep(network.state_dict(), STAGE_1)
        recipe = self.ground.recipe
        cycle = OneCycle(list(zip(network.layer_groups(), group_peaks(recipe), strict=True)), recipe.weight_decay)
        cycle.load(resumed.pop("optimizer", {}))
        done = len(self.state.logits.get(fit.name, []))
        if done == epochs:
            return
        for outcome in train_unfrozen(self.ground, fit, cycle, done):
            self._record(fit, outcome, last=True)
            yield outcome
            self._save({"network": network.state_dict(), "optimizer": cycle.tensors()})
            if outcome.epoch.epoch + 1 == epochs:
                break

    def _record(self, fit: Fit, outcome: Outcome, *, last: bool) -> None:
        self.state.epochs.append(outcome.epoch)
        self.state.steps.extend(outcome.steps)
        if last:
            self.state.logits.setdefault(fit.name, []).append(outcome.logits)
            self.state.similarities.setdefault(fit.name, []).append(outcome.similarity)

    def _is_best(self, fit: Fit, outcome: Outcome) -> bool:
        """Whether no earlier epoch of the last phase had a lower validation loss."""
        last = outcome.epoch
        earlier = [e.valid_loss for e in self.state.epochs[:-1] if (e.fit, e.phase) == (fit.name, last.phase)]
        return last.valid_loss is None or all(each is None or last.valid_loss < each for each in earlier)

    def _keep(self, tensors: Mapping[str, Tensor], name: str) -> None:
        if self.ground.accelerator.is_main_process:
            write_tensors(self.folder / name, tensors)

    def _save(self, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        if self.ground.accelerator.is_main_process:
            self.state.save(self.folder, parts)
            write_epochs(self.folder, self.state.epochs)
            write_steps(self.folder, self.state.steps)


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's tensors, on the CPU."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}


def best_epoch(fits: Sequence[Fit], logits: dict[str, list[Tensor]], labels: Tensor) -> int:
    """The epoch of the last phase with the lowest mean loss over all photos that were judged."""
    judged = [fit for fit in fits if fit.name != FINAL]
    truth = torch.cat([labels[fit.validation] for fit in judged])
    losses = [
        functional.cross_entropy(torch.cat([logits[fit.name][epoch] for fit in judged]), truth).item()
        for epoch in range(len(logits[judged[0].name]))
    ]
    return min(range(len(losses)), key=losses.__getitem__)
