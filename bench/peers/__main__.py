"""`python -m bench.peers`: every configuration that was tried, in turn, as the table of docs/bench-peers.md."""

from __future__ import annotations

import argparse
from typing import Any

from bench.bundles import INT8
from bench.load import upload
from bench.peers.configurations import ENGINES, TRIED, Configuration, prepare
from bench.photos import photos
from bench.results import medians
from bench.served import closed_loops, tellapart

CLIENTS = (8, 32)
HEAD = "| server | engine | settings | photos/s, 8 clients | 32 clients | p99, ms, 8 | CPU ms a photo | failed |"


def row(tried: Configuration | None, found: dict[str, Any]) -> str:
    """A line of the table; tellapart's where nothing was tried."""
    words = (
        [tried.rival, ENGINES[tried.engine], tried.settings] if tried else ["tellapart", ENGINES["int8"], "as it is"]
    )
    eight, many = (found[str(clients)] for clients in CLIENTS)
    figures = (f"{eight['rate']:.1f}", f"{many['rate']:.1f}", f"{eight['p99_ms']:.0f}", f"{eight['cpu_ms']:.1f}")
    failed = f"{eight['failed'] + many['failed']:g}"
    mark = "**" if tried and tried.chosen else ""
    return "| " + " | ".join(f"{mark}{word}{mark}" for word in (*words, *figures, failed)) + " |"


def main() -> None:
    """Measure and print, a line for each round as it comes, then the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Measure all configurations tried.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one bout of load")
    parser.add_argument("--only", default="", help="only servers whose name begins so, and tellapart")
    args = parser.parse_args()
    prepare()
    requests = [upload(photo) for photo in photos()]
    lines: list[Configuration | None] = [None, *(each for each in TRIED if each.rival.startswith(args.only))]
    found: dict[int, list[Any]] = {}
    for _ in range(args.rounds):
        for number, tried in enumerate(lines):
            contender = tried.contender() if tried else tellapart("tellapart", INT8)
            found.setdefault(number, []).append(closed_loops(contender, requests, args.seconds, CLIENTS))
            print(row(tried, found[number][-1]), flush=True)
    print(f"\n{HEAD}\n|---|---|---|---|---|---|---|---|")
    for number, tried in enumerate(lines):
        print(row(tried, medians(found[number])))


if __name__ == "__main__":
    main()
