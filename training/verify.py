"""The verify command: looks at every photo of DATA, puts aside what cannot be read, and names what looks doubtful."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

from training.errors import TrainingError
from training.files import write_work
from training.findings import BAD, CLOSED, MEANINGS, NO_CLASS, Finding, find, look_at
from training.folders import Row, astray, files_of, misplaced
from training.progress import advancer, bars
from training.quarantine import FOLDER, JOURNAL, check_work, quarantine, read_moves, undo
from training.words import command, first, several, shown

COLUMNS = ("file", "class", "finding", "detail", "other")
LISTED = 12  # classes whose photos are told one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training verify`."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with one folder of photos per class")
    work_help = "where verify.csv and quarantine/ are kept (default: DATA/_tellapart)"
    parser.add_argument("--work", metavar="DIR", type=Path, help=work_help)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--dry-run", action="store_true", help="only look and report: move no file")
    either.add_argument("--undo", action="store_true", help="move back what verify and clean have moved")


def run(args: argparse.Namespace) -> int:
    """Verify or undo, and say what came of it; 1 if a file could not be opened or not be moved back."""
    data, work = args.data, args.work or args.data / "_tellapart"
    rows = files_of(data)
    check_work(data, work)
    if args.undo:
        return _undo(data, work)
    if not rows:
        raise misplaced(data, "no photos")
    with bars() as progress:
        looks = look_at(data, rows, advancer(progress, "photos", len(rows)))
    findings = find(rows, looks)
    write_work(work / "verify.csv", COLUMNS, map(astuple, findings))
    check_share(findings, len(rows), work)
    before = len(read_moves(work))
    bad = {finding.file: finding.detail for finding in findings if finding.kind == BAD and not args.dry_run}
    quarantine(data, work, bad)
    lines = [*looked(rows), *astray(data), *told(findings, dry_run=args.dry_run), "", *moved(len(bad), before, work)]
    place = ("--work", work) if args.work else ()
    if bad or before:
        lines.append(f"To move everything back: {command('verify', data, *place, '--undo')}")
    lines.append(f"Next: {command('split', data, *place)}")
    print("\n".join(lines))  # noqa: T201
    return int(any(finding.kind == CLOSED for finding in findings))


def check_share(findings: Sequence[Finding], total: int, work: Path) -> None:
    """Refuse to move over half of all files: then DATA, or what it holds, is not what it seems."""
    bad = [finding for finding in findings if finding.kind in (BAD, NO_CLASS)]
    if 2 * len(bad) > total:
        raise TrainingError(
            f"{len(bad)} of {total} files cannot be read as photos, such as {shown(bad[0].file)} "
            f"({bad[0].detail.rstrip('.')}). That is over half, so none was moved: is this the right folder? "
            f"{work / 'verify.csv'} names them all."
        )


def looked(rows: Sequence[Row]) -> Iterator[str]:
    """How many files there are in which class."""
    counts = Counter(row.label for row in rows)
    classes = ", ".join(f"{shown(label)} {number}" for label, number in counts.items())
    if len(counts) > LISTED:
        (most, high), *_, (fewest, low) = counts.most_common()
        classes = f"from {low} in {shown(fewest)} to {high} in {shown(most)}"
    yield f"Looked at {several(len(rows), 'file')} in {several(len(counts), 'class', 'classes')}: {classes}."


def told(findings: Sequence[Finding], *, dry_run: bool) -> Iterator[str]:
    """The findings for a person, a few of each kind."""
    for kind, meaning in MEANINGS.items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        if not of_kind:
            continue
        yield f"\n{kind.capitalize()} ({len(of_kind)}): {meaning}"
        yield from first([f"  {_in_words(finding)}" for finding in of_kind])
        if kind == BAD and dry_run:
            yield "Nothing was moved; without --dry-run these go to quarantine."


def moved(now: int, before: int, work: Path) -> Iterator[str]:
    """What was moved where, and where all is listed."""
    if now:
        yield f"{several(now, 'file')}, those under Bad, moved to {work / FOLDER}; nothing is deleted or changed."
    if before:
        yield f"{several(before, 'file')} moved earlier, by verify or clean: see {work / JOURNAL}."
    yield f"All findings: {work / 'verify.csv'}."


def _in_words(finding: Finding) -> str:
    both = f" and {shown(finding.other)}" if finding.other else ""
    return f"{shown(finding.file)}{both}: {shown(finding.detail)}"


def _undo(data: Path, work: Path) -> int:
    back = undo(data, work)
    print(f"{several(len(back), 'file')} moved back to the old place in {data}." if back else "Nothing to move back.")  # noqa: T201
    left = []
    for move in read_moves(work):
        taken = os.path.lexists(data / move.target)
        why = "another file stands in its old place" if taken else "it is no longer there"
        left.append(f"Not moved back: {shown(move.target)}: {why}.")
    for line in first(left):
        print(line)  # noqa: T201
    return int(bool(left))
