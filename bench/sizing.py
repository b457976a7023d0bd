"""How many replicas a rate needs: `python -m bench.sizing`, some four minutes.

One replica is measured by closed loops and simulated; the simulation is held to open loops at some of its peak; then it
plans. docs/operate.md has the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
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
from bench.results import medians, store
from bench.served import WARM_UP_S, tellapart
from bench.service import service

RESULTS = ROOT / "docs" / "sizing.json"
RATES = (100, 1_000, 10_000)
SHARES = (0.5, 0.7, 0.8)
SPARE_CLIENTS = 5  # more than workers, so that these always find the next request
OPEN = 3  # times as long as a closed loop, as a p99 needs many requests
DRAWS = 10  # of the work, for the same arrivals
STEPS = ("wait", "decode", "infer")


def steps(answer: Answer) -> dict[str, float]:
    """Seconds of each step by Server-Timing, and of all else: sockets, form, JSON, and the load generator."""
    told = dict(each.split(";dur=") for each in answer.server_timing.split(", "))
    seconds = {step: float(told[step]) / 1000 for step in STEPS}
    return {**seconds, "overhead": answer.seconds - sum(seconds.values())}


def one_round(
    port: int, workers: int, places: int, requests: Sequence[bytes], seconds: float, seed: int
) -> tuple[dict[int, Loop], dict[str, Any]]:
    """The closed loops by their number of clients, for the simulation; and all in figures.

    What the machine does changes from minute to minute, so that the simulation is held to what comes right after the
    loops that it is made of.
    """
    loads = {
        clients: closed(port, requests, clients, seconds, "/livez")
        for clients in (*range(1, workers), workers + SPARE_CLIENTS)
    }
    loops = {clients: loop(load) for clients, load in loads.items()}
    one = profile(loops, workers, places)
    held_to = {}
    for share in SHARES:
        load = offered(port, requests, share * one.peak, OPEN * seconds, "/livez", seed=seed)
        held_to[f"{100 * share:.0f} %"] = held(one, load, share * one.peak, seed)
    speeds = dict(enumerate(one.shape.speeds, 1))
    shown = {str(clients): in_steps(load) for clients, load in loads.items()}
    return loops, {"loops": shown, "speeds": speeds, "held": held_to}


def answered(load: Load) -> list[Answer]:
    """All that was answered with 200 while it was measured."""
    return [each for each in load.answers if each.status == 200 and each.came >= load.started]


def loop(load: Load) -> Loop:
    """A closed loop, for the simulation."""
    return Loop(load.rate, [each.seconds - steps(each)["wait"] for each in answered(load)])


def in_steps(load: Load) -> dict[str, float]:
    """The same in figures: means of the steps."""
    each_step = [steps(each) for each in answered(load)]
    return {
        "rate": load.rate,
        **{f"{step}_ms": 1000 * fmean(each[step] for each in each_step) for step in each_step[0]},
    }


def held(one: Profile, load: Load, rate: float, seed: int) -> dict[str, Any]:
    """An open loop beside its simulation with the same arrivals, in figures."""
    took: list[float | None] = []
    for draw in range(DRAWS):
        took += simulate(one.shape, 1, arrivals(rate, load.seconds, seed), at_random, seed=draw)
    seconds = [each.seconds for each in answered(load)]
    refused = [None] * (len(load.answers) - len(seconds))
    measured, simulated = figures([*seconds, *refused]), figures(took)
    ratio = simulated["p99_ms"] / measured["p99_ms"]
    return {"rate": rate, "measured": measured, "simulated": simulated, "ratio": ratio}


def middle(rounds: Sequence[dict[int, Loop]]) -> dict[int, Loop]:
    """The loops of several rounds as one: the median rate, all the times."""
    return {
        clients: Loop(
            median(each[clients].rate for each in rounds), [busy for each in rounds for busy in each[clients].busy_s]
        )
        for clients in rounds[0]
    }


def planned(one: Profile, p99_ms: float, requests: int) -> dict[str, Any]:
    """Replicas for each of RATES. Ends the program where no load is low enough."""
    share = highest_share(one, p99_ms, requests)
    if not share:
        sys.exit(
            f"A request by itself takes {1000 * fmean(one.shape.works[0]):.0f} ms: no plan has a p99 of {p99_ms:g} ms."
        )
    return {
        "p99_ms": p99_ms,
        "share": share,
        "rate": share * one.peak,
        "rates": {str(rate): plan(one, rate, share, requests) for rate in RATES},
    }


def main() -> None:
    """Measure, simulate, plan, write and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description="How many replicas a rate needs.")
    parser.add_argument("--rounds", type=int, default=5, help="of all that is measured [5]")
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.5,
        help="length of a closed loop in seconds; open ones are three times it [2.5]",
    )
    parser.add_argument("--p99-ms", type=float, default=100.0, help="what 99 of 100 answers are to be within")
    parser.add_argument("--requests", type=int, default=100_000, help="simulated in each case")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results as JSON")
    args = parser.parse_args()
    requests = [upload(photo) for photo in photos()]
    ours = tellapart("tellapart", INT8)
    with service(ours):
        workers, places = room(ours.port)
        closed(ours.port, requests, workers, WARM_UP_S, "/livez")
        rounds = [
            one_round(ours.port, workers, places, requests, args.seconds, SEED + number)
            for number in range(args.rounds)
        ]
    one = profile(middle([loops for loops, _ in rounds]), workers, places)
    found = {
        "how": {"rounds": args.rounds, "seconds": args.seconds, "requests": args.requests},
        "cores": usable_cores(),
        "workers": workers,
        "places": places,
        **medians([figures for _, figures in rounds]),
        "plan": planned(one, args.p99_ms, args.requests),
    }
    store(args.out, sizing=found)
    print("\n".join(markdown(json.loads(args.out.read_text()))))


if __name__ == "__main__":
    main()
