"""The compare command: two runs on the photos that both judged.

Photos are matched by content, so that a renamed or moved one still counts; each content counts once. Every photo of a
run was judged by a network that had not trained on it, so both figures are honest on the same photos (of an imported
network nobody knows that, and its sentence says so). Where the runs differ in a photo's label, the newer run's counts
for both: labels are corrected as time goes by, and a run that was trained on the wrong one is not to be praised for
repeating it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import TrainingError
from training.history import Prediction, read_predictions
from training.metrics import error_rate
from training.run_folder import Run, read_run

SIGNIFICANT = 0.05
NAMED = 5  # files of each kind that are told by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training compare`."""
    parser.add_argument(
        "first", type=Path, metavar="RUN", help="folder that train or import wrote, usually the older one"
    )
    parser.add_argument("second", type=Path, metavar="OTHER_RUN", help="the one to compare it with")


def run(args: argparse.Namespace) -> int:
    """Compare, and say what came of it."""
    for line in in_words(compare(read_run(args.first), read_run(args.second))):
        print(line.encode(errors="backslashreplace").decode())  # noqa: T201 (a file name may be no UTF-8)
    return 0


@dataclass(frozen=True)
class Side:
    """One of the two runs: its name, how it was measured, and which common photos it got wrong."""

    name: str
    measured: str
    alone: int  # photos that only this run judged
    unknown: tuple[str, ...]  # classes that common photos belong to and this run did not have
    wrong: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same photos; `files` and both `wrong` are in one order."""

    first: Side
    second: Side
    newer: Side
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
        from scipy.stats import binomtest  # takes a second, which --help need not wait for

        better, worse = len(self.better), len(self.worse)
        return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0

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
    older = judged[1 - newer]
    return Comparison(
        sides[0],
        sides[1],
        sides[newer],
        tuple(judged[newer][content].file for content in common),
        sum(older[content].label != label for content, label in zip(common, labels, strict=True)),
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
    return Side(
        str(finished.folder),
        str(finished.summary["measured"]),
        len(answers) - len(common),
        tuple(sorted(set(labels) - set(finished.classes))),
        np.array(wrong),
    )


def in_words(found: Comparison) -> list[str]:
    """The lines of the answer."""
    sides = (found.first, found.second)
    width = max(len(each.name) for each in sides)
    lines = [f"{count(len(found.files))} judged by both, matched by content; copies count once."]
    lines += [f"{count(each.alone)} judged by {each.name} alone, left out." for each in sides if each.alone]
    if found.relabelled:
        lines.append(
            f"{count(found.relabelled)} labelled otherwise in the older run: "
            f"both runs are held to the labels of the newer one, {found.newer.name}."
        )
    lines += [
        f"{each.name} was not taught {', '.join(each.unknown)}: it has photos of that wrong in any case."
        for each in sides
        if each.unknown
    ]
    lines += ["", *(f"{each.name:{width}}  {rate_in_words(each)}" for each in sides), "", *table(found), ""]
    lines += [f"{each.name}: {each.measured}" for each in sides]
    return [*lines, "", *changes(found), verdict(found)]


def count(photos: int) -> str:
    """ "1 photo", "2 photos"."""
    return f"{photos} photo{'' if photos == 1 else 's'}"


def rate_in_words(one: Side) -> str:
    """The run's errors on the common photos, with the 95 % Wilson interval."""
    rate = error_rate(one.wrong)
    low, high = (100 * bound for bound in rate["wilson95"])
    share = f"{100 * rate['error_rate']:.1f} %, 95 % interval {low:.1f} to {high:.1f} %"
    return f"{rate['errors']} of {count(rate['photos'])} wrong ({share})"


def table(found: Comparison) -> list[str]:
    """The 2 × 2 table of photos: the first run's right and wrong by the second's."""
    both_wrong = int((found.first.wrong & found.second.wrong).sum())
    better, worse = len(found.better), len(found.worse)
    both_right = len(found.files) - both_wrong - better - worse
    margin = max(len(found.first.name) + 6, 12)
    return [
        f"{'':{margin}}  {found.second.name}",
        f"{'':{margin}}  {'right':>8}{'wrong':>8}",
        f"{found.first.name + ' right':>{margin}}  {both_right:>8}{worse:>8}",
        f"{'wrong':>{margin}}  {better:>8}{both_wrong:>8}",
    ]


def changes(found: Comparison) -> list[str]:
    """The first files that got better and worse."""
    lines = []
    for word, files in (("better", found.better), ("worse", found.worse)):
        if files:
            more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
            lines.append(f"Got {word}: {', '.join(files[:NAMED])}{more}.")
    return lines


def verdict(found: Comparison) -> str:
    """In plain words: whether the second run is better, worse, or no different as far as these photos tell."""
    better, worse = len(found.better), len(found.worse)
    p = found.p
    if p >= SIGNIFICANT:
        claim = "No evidence that they differ"
    else:
        claim = f"{found.second.name} is {'better' if better > worse else 'worse'}"
    likely = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
    return f"{claim}: {count(better)} got better, {worse} worse (exact McNemar test, {likely})."
