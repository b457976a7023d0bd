"""The download command: a file of URLs → photos in DATA/<class>/, and a ledger of what became of each URL."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path

from app.addresses import HostPolicy
from app.errors import SettingError
from training import url_list
from training.downloader import Download
from training.errors import TrainingError
from training.ledger import DONE, FAILED, Ledger, Row
from training.patience import Pace
from training.progress import advancer, bars
from training.url_list import Listed, UrlList
from training.words import command, first, several

MAX_WORKERS = 64
PACE = Pace()

# what can become of a URL → what is counted then
NEW, THERE, TWICE = "new", "got earlier", "gave a photo that was there"
FAILS, FAILED_BEFORE, NOT_ASKED = "failed", "failed in an earlier run", "not asked"
FATES = {NEW: "photo", THERE: "photo", TWICE: "URL", FAILS: "URL", FAILED_BEFORE: "URL", NOT_ASKED: "URL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training download`."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder to fill: DATA/CLASS/")
    urls_help = "URLs, one a line, or a CSV whose header has url and perhaps class"
    parser.add_argument("--urls", metavar="FILE", type=Path, required=True, help=urls_help)
    label_help = "what the photos show (not needed where a CSV says it)"
    parser.add_argument("--class", dest="label", metavar="CLASS", help=label_help)
    max_help = "photos per class, those of earlier runs included that are still there (default: all)"
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
    code, last = 0, ""
    with Ledger((args.work or args.data / "_tellapart") / "ledger.csv") as ledger, bars() as progress:
        advance = advancer(progress, "photos", len(urls.listed))
        download = Download(args.data, ledger, pace, args.max_pics, advance)
        try:
            asyncio.run(download.run(urls.listed, policy, args.workers))
        except KeyboardInterrupt:
            code, last = 130, "Stopped: the same command goes on from here."
        except OSError as error:  # of the disk: the network's have become rows
            code, last = 2, f"{error.filename or ledger.path}: {error.strerror}. The same command goes on from here."
    print("\n".join(summary(urls, ledger, download, args.data)))  # noqa: T201
    if not code:
        place = ("--work", args.work) if args.work else ()
        print("Next:", command("verify", args.data, *place))  # noqa: T201
        code = int(bool(urls.problems) or not all(_settled(one, ledger, download) for one in urls.listed))
        if args.workers == 0 and download.failures:
            last = f"{download.failures[0].url}: {download.failures[0].reason}"
    if last:
        print(last, file=sys.stderr)  # noqa: T201
    return code


def _settled(one: Listed, ledger: Ledger, download: Download) -> bool:
    """Whether a URL gave a photo, or was not needed."""
    row = ledger.row(one.url, one.label)
    return row.outcome == DONE if row else not download.site(one).left


def summary(urls: UrlList, ledger: Ledger, download: Download, data: Path) -> Iterator[str]:
    """What came of the file's URLs, in sentences."""
    yield from first(urls.problems)
    rows: dict[str, list[Row | None]] = {}
    for one in urls.listed:
        rows.setdefault(one.label, []).append(ledger.row(one.url, one.label))
    asked = set(download.asked)
    for label, own in rows.items():
        yield from _of_class(label, own, asked, download.new)
    for host, site in download.sites.items():
        if site.left and site.queue:
            yield f"{host} {site.left}: {several(len(site.queue), 'URL')} of it not asked."
    passing = sum(row is not None and row.outcome == FAILED for own in rows.values() for row in own)
    if passing:
        yield f"{several(passing, 'URL')} failed for a reason that may pass; the same command asks again."
    yield from _kept(ledger, data)
    yield f"What became of each URL: {ledger.path}."


def _of_class(label: str, rows: Sequence[Row | None], asked: Set[Row], new: Set[Row]) -> Iterator[str]:
    """How the URLs of a class fared, and why some failed."""
    fates = Counter(_fate(row, row in asked, row in new) for row in rows)
    yield f"{label}: {', '.join(f'{several(fates[fate], FATES[fate])} {fate}' for fate in FATES if fates[fate])}."
    reasons = Counter(row.reason for row in rows if row is not None and row.outcome != DONE)
    yield from (f"  {number} × {reason}" for reason, number in reasons.most_common())


def _fate(row: Row | None, asked: bool, new: bool) -> str:
    if row is None:
        return NOT_ASKED
    if row.outcome == DONE:
        return NEW if new else TWICE if asked else THERE
    return FAILS if asked else FAILED_BEFORE


def _kept(ledger: Ledger, data: Path) -> Iterator[str]:
    """What a person should know of the photos of this and earlier runs."""
    done = ledger.done()
    here = {file for file in {row.file for row in done} if (data / file).exists()}
    if gone := len({row.file for row in done} - here):
        yield f"{several(gone, 'photo')} gone from {data} since; such are not downloaded again."
    files: dict[str, set[str]] = {}
    for row in done:
        if row.file in here:
            files.setdefault(row.sha256, set()).add(row.file)
    if torn := [sorted(found) for found in files.values() if len(found) > 1]:
        yield f"{several(len(torn), 'photo')} in more than one class, such as {' and '.join(torn[0])}: decide for one."


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
