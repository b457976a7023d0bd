"""The download command: a file of URLs → photos in DATA/<class>/, and a ledger of what became of each URL."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from app.addresses import HostPolicy
from app.errors import SettingError
from training import url_list
from training.downloader import Download, Pace
from training.errors import TrainingError
from training.ledger import DONE, Ledger, Row
from training.progress import advancer, bars
from training.url_list import UrlList

MAX_WORKERS = 64
PACE = Pace()
MOST_PROBLEMS = 5  # lines told one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training download`."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder to fill: DATA/CLASS/")
    urls_help = "URLs, one a line, or a CSV whose header has url and perhaps class"
    parser.add_argument("--urls", metavar="FILE", type=Path, required=True, help=urls_help)
    label_help = "what the photos show (not needed where a CSV says it)"
    parser.add_argument("--class", dest="label", metavar="CLASS", help=label_help)
    max_help = "photos per class, those of earlier runs included (default: all)"
    parser.add_argument("--max-pics", metavar="N", type=_count(1, sys.maxsize), help=max_help)
    workers_help = "URLs at a time; 0: one by one, stopping at the first that fails (default: 8)"
    parser.add_argument("--workers", metavar="N", type=_count(0, MAX_WORKERS), default=8, help=workers_help)
    hosts_help = "where to download from: public (default), or a list such as 127.0.0.1:8000,*.example.org"
    parser.add_argument("--url-hosts", metavar="HOSTS", default="public", help=hosts_help)
    parser.add_argument("--work", metavar="DIR", type=Path, help="where ledger.csv is kept (default: DATA/_tellapart)")


def run(args: argparse.Namespace, pace: Pace = PACE) -> int:
    """Download with progress, and say what came of it; 1 if a line of the file led to no photo."""
    policy = _policy(args.url_hosts)
    urls = url_list.read(args.urls, args.label)
    stopped = False
    with Ledger((args.work or args.data / "_tellapart") / "ledger.csv") as ledger, bars() as progress:
        advance = advancer(progress, "photos", len(urls.listed))
        download = Download(args.data, ledger, pace, args.max_pics, advance)
        try:
            asyncio.run(download.run(urls.listed, policy, args.workers))
        except KeyboardInterrupt:
            stopped = True
    for line in summary(urls, ledger, download, args.data):
        print(line)  # noqa: T201
    if stopped:
        print("Stopped: the same command goes on from here.", file=sys.stderr)  # noqa: T201
        return 130
    if args.workers == 0 and download.failures:
        row = download.failures[0]
        print(f"{row.url}: {row.reason}", file=sys.stderr)  # noqa: T201
    rows = [ledger.row(one.url, one.label) for one in urls.listed]
    return int(bool(urls.problems) or any(row is not None and row.outcome != DONE for row in rows))


def summary(urls: UrlList, ledger: Ledger, download: Download, data: Path) -> Iterator[str]:
    """What came of the file's URLs, in sentences."""
    yield from urls.problems[:MOST_PROBLEMS]
    if len(urls.problems) > MOST_PROBLEMS:
        yield f"… and {len(urls.problems) - MOST_PROBLEMS} more lines without a URL."
    for label in dict.fromkeys(one.label for one in urls.listed):
        rows = [ledger.row(one.url, label) for one in urls.listed if one.label == label]
        yield f"{label}: {', '.join(_counts(rows, download)) or 'nothing done'}."
        reasons = Counter(row.reason for row in rows if row is not None and row.outcome != DONE)
        yield from (f"  {count} × {reason}" for reason, count in reasons.most_common())
    gone = sum(not (data / file).exists() for file in {row.file for row in ledger.done()})
    if gone:
        yield f"{gone} of the photos got earlier are no longer in {data}; they are not downloaded again."
    labels: dict[str, set[str]] = {}
    for row in ledger.done():
        labels.setdefault(row.sha256, set()).add(row.label)
    torn = [sha256 for sha256, found in labels.items() if len(found) > 1]
    if torn:
        yield f"{_several(len(torn), 'photo')} in more than one class (the first: {torn[0][:16]}): decide for one."
    yield f"{ledger.path} has a row for each URL. Next: python -m training verify {data}"


def _counts(rows: list[Row | None], download: Download) -> Iterator[str]:
    """How many of one class's URLs fared how; only what is not zero."""
    asked = {(row.url, row.label) for row in download.asked}
    got = [row for row in rows if row is not None and row.outcome == DONE]
    now = [row for row in got if (row.url, row.label) in asked]
    new = len(download.new & {row.file for row in now})
    failed = [row for row in rows if row is not None and row.outcome != DONE]
    before = sum((row.url, row.label) not in asked for row in failed)
    counts = {
        f"{_several(new, 'photo')} new": new,
        f"{len(got) - len(now)} there already": len(got) - len(now),
        f"{_several(len(now) - new, 'URL')} gave a photo that was there": len(now) - new,
        f"{len(failed) - before} failed": len(failed) - before,
        f"{before} failed in an earlier run, not asked again": before,
        f"{_several(rows.count(None), 'URL')} not asked": rows.count(None),
    }
    return (text for text, count in counts.items() if count)


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _policy(text: str) -> HostPolicy:
    try:
        policy = HostPolicy.parse(text)
    except SettingError as error:
        raise TrainingError(f"--url-hosts {error}.") from error
    if not policy.rules:
        raise TrainingError("--url-hosts none lets nothing be downloaded; give public, or a list of hosts.")
    return policy


def _count(lowest: int, highest: int) -> Callable[[str], int]:
    """An argument's type: a whole number within these bounds."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
            bounds = f"from {lowest} to {highest}" if highest < sys.maxsize else f"of at least {lowest}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")
        return int(text)

    return parse
