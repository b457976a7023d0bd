"""The compare command: two runs on the photos that both judged, in words."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.comparison import Comparison, Side, compare
from training.metrics import error_rate
from training.run_folder import read_run
from training.words import several, shown

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
        print(shown(line))  # noqa: T201
    return 0


def in_words(found: Comparison) -> list[str]:
    """The lines of the answer."""
    sides = (found.first, found.second)
    width = max(len(each.name) for each in sides)
    lines = [f"{several(len(found.files), 'photo')} judged by both, matched by content; copies count once."]
    lines += [
        f"{several(each.alone, 'photo')} judged by {each.name} alone, left out; it had {each.alone_wrong} wrong."
        for each in sides
        if each.alone
    ]
    if found.relabelled:
        lines.append(
            f"{several(found.relabelled, 'photo')} labelled otherwise in the older run: "
            f"both runs are held to the labels of the newer one, {found.newer.name}."
        )
    if found.relabelled or found.older.alone:
        lines.append(
            f"Where photos were relabelled or deleted because {found.older.name} had them wrong, that favours it: "
            f"its mistakes were looked at, those of {found.newer.name} were not yet."
        )
    lines += [
        f"{each.name} was not taught {', '.join(each.unknown)}: it has photos of that wrong in any case."
        for each in sides
        if each.unknown
    ]
    lines += ["", *(f"{each.name:{width}}  {rate_in_words(each)}" for each in sides), "", *table(found), ""]
    lines += [f"{each.name}: {each.measured}" for each in sides]
    return [*lines, "", *changes(found), verdict(found)]


def rate_in_words(one: Side) -> str:
    """The run's errors on the common photos, with the 95 % Wilson interval."""
    rate = error_rate(one.wrong)
    low, high = (100 * bound for bound in rate["wilson95"])
    share = f"{100 * rate['error_rate']:.1f} %, 95 % interval {low:.1f} to {high:.1f} %"
    return f"{rate['errors']} of {several(rate['photos'], 'photo')} wrong ({share})"


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
    return f"{claim}: {several(better, 'photo')} got better, {worse} worse (exact McNemar test, {likely})."
