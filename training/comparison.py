"""Two runs on the photos that both judged: who had which of them wrong, and whether that is more than chance.

Photos are matched by content, so that a renamed or moved one still counts; each content counts once. Every photo of a
run was judged by a network that had not trained on it, so both figures are honest on the same photos (of an imported
network nobody knows that, and its sentence says so). Where the runs differ in a photo's label, the newer run's counts
for both: labels are corrected as time goes by, and a run that was trained on the wrong one is not to be praised for
repeating it.

That is one yardstick, but after cleaning not an impartial one: it was corrected where the older run disagreed with it,
so wrong labels that the older run repeats are still there, and photos that it failed on may be gone. Both favour the
older run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.errors import TrainingError
from training.history import Prediction, read_predictions
from training.metrics import coin_tail
from training.run_folder import Run


@dataclass(frozen=True)
class Side:
    """One of the two runs: its name, how it was measured, and which common photos it got wrong."""

    name: str
    measured: str
    alone: int  # photos that only this run judged
    alone_wrong: int  # of these, by its own labels
    unknown: tuple[str, ...]  # classes that common photos belong to and this run did not have
    wrong: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same photos; `files` and both `wrong` are in one order."""

    first: Side
    second: Side
    newer: Side  # one of the two, as is `older`
    older: Side
    files: tuple[str, ...]  # as the newer run calls them
    relabelled: int  # photos with another label in the older run

    @property
    def better(self) -> list[str]:
        """Photos that the first run had wrong and the second has right."""
        return self._where(self.first.wrong & ~self.second.wrong)

    @property
    def worse(self) -> list[str]:
        """Photos that the first run had right and the second has wrong."""
        return self._where(~self.first.wrong & self.second.wrong)

    @property
    def p(self) -> float:
        """The exact McNemar test: how likely so uneven a change is if better and worse were a coin's throw.

        Source: McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika
        12 (1947); exact by the binomial distribution.
        """
        better, worse = len(self.better), len(self.worse)
        return min(1.0, 2 * coin_tail(min(better, worse), better + worse))

    def _where(self, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> list[str]:
        return [file for file, here in zip(self.files, chosen, strict=True) if here]


def compare(first: Run, second: Run) -> Comparison:
    """Both runs on the photos that both judged. Raises TrainingError if there are none."""
    runs = (first, second)
    judged = [by_content(each) for each in runs]
    common = sorted(judged[0].keys() & judged[1].keys())
    if not common:
        raise TrainingError(
            f"{first.folder} and {second.folder} judged no photo in common, so there is nothing to compare: "
            "give two runs over the same photos."
        )
    newer = 0 if first.summary["date"] > second.summary["date"] else 1
    labels = [judged[newer][content].label for content in common]
    sides = [side(each, answers, common, labels) for each, answers in zip(runs, judged, strict=True)]
    before = judged[1 - newer]
    return Comparison(
        first=sides[0],
        second=sides[1],
        newer=sides[newer],
        older=sides[1 - newer],
        files=tuple(judged[newer][content].file for content in common),
        relabelled=sum(before[content].label != label for content, label in zip(common, labels, strict=True)),
    )


def by_content(finished: Run) -> dict[str, Prediction]:
    """The run's answers by the photo's sha256; of equal photos, the first by file name stands for all."""
    contents = {row.file: row.sha256 for row in finished.rows}
    found: dict[str, Prediction] = {}
    for each in sorted(read_predictions(finished.folder), key=lambda each: each.file):
        if each.file not in contents:
            raise TrainingError(f"{finished.folder} judged {each.file}, which its split.csv does not name: train anew.")
        found.setdefault(contents[each.file], each)
    return found


def side(finished: Run, answers: dict[str, Prediction], common: Sequence[str], labels: Sequence[str]) -> Side:
    """How the run did on the `common` photos, held to `labels`."""
    wrong = [answers[content].predicted != label for content, label in zip(common, labels, strict=True)]
    alone = [answers[content] for content in answers.keys() - set(common)]
    return Side(
        name=str(finished.folder),
        measured=str(finished.summary["measured"]),
        alone=len(alone),
        alone_wrong=sum(each.predicted != each.label for each in alone),
        unknown=tuple(sorted(set(labels) - set(finished.classes))),
        wrong=np.array(wrong),
    )
