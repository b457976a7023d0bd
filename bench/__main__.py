"""`make bench`: the figures of docs/bench.md, measured here and written as JSON, which bench.report shows."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.cpu import usable_cores
from bench import alone, served
from bench.bundles import INT8, f32_bundle
from bench.limit import limit
from bench.load import SEED, upload
from bench.peers import contenders
from bench.photos import photos
from bench.results import RESULTS, medians, store
from bench.service import Contender

AT = "8"  # clients: that many keep every core at work, and hardly anybody waits


def measure(f32: Path, others: list[Contender], rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Everything in turn, `rounds` times; after each round the medians over those that there were."""
    bundles = {"int8": INT8, "f32": f32}
    ours = [served.tellapart(f"tellapart, {name}", bundle, *served.ROOM) for name, bundle in bundles.items()]
    instant = served.tellapart("HTTP alone", INT8, *served.ROOM, module="bench.instant")
    requests = [upload(photo) for photo in photos()]
    found: dict[str, list[Any]] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        found.setdefault("alone", []).append(alone.measure(bundles.values(), seconds))
        found.setdefault("http", []).append(served.closed_loops(instant, requests, seconds, [int(AT)])[AT])
        for contender in [*ours, served.plain(), *others]:
            print(f"  {contender.name}", flush=True)
            found.setdefault(contender.name, []).append(served.one_round(contender, requests, seconds, SEED + number))
        middle = {name: medians(each) for name, each in found.items()}
        yield {
            "how": {"rounds": number + 1, "seconds": seconds},
            **middle["alone"],
            "http": middle["http"],
            "served": {each.name: middle[each.name] for each in [*ours, served.plain(), *others]},
            "limit": {name: limits(middle, name) for name in bundles},
        }


def limits(middle: dict[str, Any], name: str) -> dict[str, float]:
    """What one request takes, part by part in milliseconds of CPU, the rate that this allows, and the rate served."""
    ours, cores = middle[f"tellapart, {name}"]["closed"][AT], usable_cores()
    parts = {
        "engine_cpu_ms": middle["alone"]["engine"][name][str(min(cores, 2))]["cpu_ms"],
        "decode_cpu_ms": middle["alone"]["decode_cpu_ms"],
        "http_cpu_ms": middle["http"]["cpu_ms"],
        "client_cpu_ms": ours["client_cpu_ms"],
    }
    allowed = limit(cores, *parts.values())
    return {**parts, "limit": allowed, "served": ours["rate"], "share": ours["rate"] / allowed}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure tellapart and others.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one bout of load")
    parser.add_argument("--peers", action="store_true", help="the services of bench/peers too")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results as JSON")
    args = parser.parse_args()
    others = contenders() if args.peers else []
    with tempfile.TemporaryDirectory() as folder:
        for found in measure(f32_bundle(Path(folder)), others, args.rounds, args.seconds):
            store(args.out, **found)


if __name__ == "__main__":
    main()
