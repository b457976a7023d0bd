"""How many replicas a rate needs: `python -m bench.sizing`, some four minutes.

One replica is measured by closed loops and simulated; the simulation is held to open loops at some of its peak; then it
plans. docs/operate.md has the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from app.cpu import usable_cores
from app.settings import ROOT
from bench.bundles import INT8
from bench.client import Answer
from bench.load import SEED, Load, arrivals, closed, offered, upload
from bench.overload import room
from bench.photos import photos
from bench.queueing import at_random, simulate
from bench.replica import Loop, Profile, figures, highest_share, plan, profile
from bench.report import markdown
from bench.results import store
from bench.served import tellapart
from bench.service import service

RESULTS = ROOT / "docs" / "sizing.json"
RATES = (100, 1_000, 10_000)
SHARES = (0.5, 0.7, 0.8)
SPARE_CLIENTS = 5  # more than workers, so that these always find the next request
OPEN = 3  # times as long as a closed loop, as a p99 needs many requests
DRAWS = 10  # of the work, for the same arrivals
STEPS = ("wait", "decode", "infer")

# Of each round one.
Loops = Mapping[int, Sequence[Load]]  # by clients
Opens = Mapping[float, Sequence[Load]]  # by the share of the peak that was offered


def steps(answer: Answer) -> dict[str, float]:
    """Seconds of each step by Server-Timing, and of all else: sockets, form, JSON, and the load generator."""
    told = dict(each.split(";dur=") for each in answer.server_timing.split(", "))
    seconds = {step: float(told[step]) / 1000 for step in STEPS}
    return {**seconds, "overhead": answer.seconds - sum(seconds.values())}


def measure(port: int, workers: int, seconds: float, rounds: int) -> tuple[Loops, Opens, float]:
    """Closed loops by the number of clients, open ones by the share of the peak, and the peak's rate; in turn."""
    requests = [upload(photo) for photo in photos()]
    loops: dict[int, list[Load]] = defaultdict(list)
    opens: dict[float, list[Load]] = defaultdict(list)
    peak = 0.0
    closed(port, requests, workers + SPARE_CLIENTS, seconds, "/livez")  # warms up
    for number in range(rounds):
        for clients in (*range(1, workers), workers + SPARE_CLIENTS):
            loops[clients].append(closed(port, requests, clients, seconds, "/livez"))
        peak = peak or loops[workers + SPARE_CLIENTS][0].rate
        for share in SHARES:
            opens[share].append(offered(port, requests, share * peak, OPEN * seconds, "/livez", seed=SEED + number))
    return loops, opens, peak


def answered(loads: Sequence[Load]) -> list[Answer]:
    """All that was answered with 200 while it was measured."""
    return [each for load in loads for each in load.answers if each.status == 200 and each.came >= load.started]


def loop(loads: Sequence[Load]) -> Loop:
    """The rounds of one closed loop, for the simulation."""
    rate = fmean(load.rate for load in loads)
    return Loop(rate, [each.seconds - steps(each)["wait"] for each in answered(loads)])


def shown(loads: Sequence[Load]) -> dict[str, float]:
    """The same in figures: means of the steps."""
    each_step = [steps(each) for each in answered(loads)]
    means = {f"{step}_ms": 1000 * fmean(each[step] for each in each_step) for step in each_step[0]}
    return {"rate": fmean(load.rate for load in loads), **means}


def held(one: Profile, loads: Sequence[Load], rate: float) -> dict[str, Any]:
    """Open loops beside their simulation with the same arrivals, in figures."""
    took: list[float | None] = []
    for number, load in enumerate(loads):
        for draw in range(DRAWS):
            moments = arrivals(rate, load.seconds, SEED + number)
            took += simulate(one.shape, 1, moments, one.works, at_random, seed=draw)
    seconds = [each.seconds for each in answered(loads)]
    refused = [None] * (sum(len(load.answers) for load in loads) - len(seconds))
    measured, simulated = figures([*seconds, *refused]), figures(took)
    ratio = simulated["p99_ms"] / measured["p99_ms"]
    return {"rate": rate, "measured": measured, "simulated": simulated, "ratio": ratio}


def planned(one: Profile, p99_ms: float, requests: int) -> dict[str, Any]:
    """Replicas for each of RATES. Ends the program where no load is low enough."""
    share = highest_share(one, p99_ms, requests)
    if not share:
        sys.exit(f"A request by itself takes {1000 * fmean(one.works):.0f} ms: no plan has a p99 of {p99_ms:g} ms.")
    return {
        "p99_ms": p99_ms,
        "share": share,
        "rate": share * one.peak,
        "rates": {str(rate): plan(one, rate, share, requests) for rate in RATES},
    }


def main() -> None:
    """Measure, simulate, plan, write and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description="How many replicas a rate needs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="length of a closed loop; open ones are three times it"
    )
    parser.add_argument("--p99-ms", type=float, default=100.0, help="what 99 of 100 answers are to be within")
    parser.add_argument("--requests", type=int, default=100_000, help="simulated in each case")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results as JSON")
    args = parser.parse_args()
    ours = tellapart("tellapart", INT8)
    with service(ours):
        workers, places = room(ours.port)
        loops, opens, peak = measure(ours.port, workers, args.seconds, args.rounds)
    one = profile({clients: loop(loads) for clients, loads in loops.items()}, workers, places)
    found = {
        "how": {"rounds": args.rounds, "seconds": args.seconds, "requests": args.requests},
        "cores": usable_cores(),
        "workers": workers,
        "places": places,
        "speeds": list(one.shape.speeds),
        "loops": {str(clients): shown(loads) for clients, loads in loops.items()},
        "held": {f"{100 * share:.0f} %": held(one, loads, share * peak) for share, loads in opens.items()},
        "plan": planned(one, args.p99_ms, args.requests),
    }
    store(args.out, sizing=found)
    print("\n".join(markdown(json.loads(args.out.read_text()))))


if __name__ == "__main__":
    main()
