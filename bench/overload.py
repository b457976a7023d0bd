"""More than the service can do: `python -m bench.overload` offers 3 and 10 times its peak, then a burst.

What must hold is in LIMITS; `python -m bench.report` shows it beside the figures.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.cpu import usable_cores
from bench.bundles import INT8
from bench.client import NOT_SENT, Answer, Client
from bench.limit import beside_refusals
from bench.load import HEALTH_S, PATIENCE_S, SEED, Load, closed, get, offered, one, percentile, upload
from bench.photos import photos
from bench.results import RESULTS, store
from bench.served import WARM_UP_S, tellapart
from bench.service import Contender, cpu_s, service

TIMES = (3, 10)
# Enough to keep the cores at work, and no more than the room holds, so that nobody is refused.
PEAK_CLIENTS = 32
PEAK_S = 8.0
REFUSALS_S = 5.0
BURST = 4  # times the room
PROBES = 20  # of health, while a burst is taken in
JITTER = 0.1  # of Retry-After, so that those who were refused together do not come back together


def peak(port: int, pid: int, requests: Sequence[bytes], health: str) -> dict[str, float]:
    """The rate that the service can keep up, and what an answer then takes: CPU in milliseconds, p99 latency."""
    closed(port, requests, 8, WARM_UP_S, health)
    before = cpu_s(pid)
    load = closed(port, requests, PEAK_CLIENTS, PEAK_S, health)
    cpu_ms = 1000 * (cpu_s(pid) - before) / len(load.answers)
    return {
        "rate": load.rate,
        "cpu_ms": cpu_ms,
        "p99_ms": load.ms(99),
        "failed": len(load.answers) - load.statuses[200],
    }


def refusal_cpu_ms(contender: Contender, requests: Sequence[bytes], rate: float) -> float:
    """What refusing one upload takes, in milliseconds of CPU: of a service that refuses all, however many."""
    with service(contender) as (pid, _):
        offered(contender.port, requests, rate, WARM_UP_S, contender.health)
        before = cpu_s(pid)
        load = offered(contender.port, requests, rate, REFUSALS_S, contender.health)
        return 1000 * (cpu_s(pid) - before) / len(load.answers)


def flood(
    port: int, requests: Sequence[bytes], times: float, at_peak: dict[str, float], refusal_ms: float, seconds: float
) -> dict[str, Any]:
    """Offer `times` the peak for `seconds`, then see how soon all is as before."""
    load = offered(port, requests, times * at_peak["rate"], seconds, "/livez")
    after = one(port, requests[0])
    ended = load.started + load.seconds
    refused = [answer for answer in load.answers if answer.status == 503]
    unwell = sum(probe.status != 200 for probe in load.health)
    client_cpu = load.cpu_s / load.seconds
    possible = beside_refusals(
        usable_cores(), len(refused) / load.seconds * refusal_ms / 1000, client_cpu, at_peak["cpu_ms"]
    )
    return {
        "offered": len(load.answers),
        "rate": load.rate,
        "share_of_peak": load.rate / at_peak["rate"],
        "share_of_possible": load.rate / possible,
        "p99_ms": load.ms(99),
        "p99_times_peak": load.ms(99) / at_peak["p99_ms"],
        "refused": len(refused),
        "refusal_p50_ms": load.ms(50, 503),
        "refusal_p99_ms": load.ms(99, 503),
        "without_retry_after": sum(not answer.retry_after for answer in refused),
        "other_errors": len(load.answers) - load.statuses[200] - len(refused) - load.statuses[NOT_SENT] + unwell,
        "not_sent": load.statuses[NOT_SENT],
        "health_p99_ms": load.health_ms(99),
        "normal_after_s": normal_after_s(load, after, ended),
        "client_cpu_share": client_cpu,
    }


def normal_after_s(load: Load, after: Answer, ended: float) -> float | None:
    """Seconds from the end of the flood until its last answer has come and one more upload was answered; None: it was
    not."""
    last = max(answer.came for answer in load.answers)
    return max(0.0, last - ended) + after.seconds if after.status == 200 else None


def burst(port: int, requests: Sequence[bytes], size: int, seed: int = SEED) -> dict[str, Any]:
    """`size` uploads at once; each that is refused comes back once, when Retry-After says, a little later at random."""
    chance = random.Random(seed)
    first: list[Answer] = []
    second: list[Answer] = []
    probes: list[Answer] = []
    with Client(port) as client:
        started = time.perf_counter()

        def come(photo: bytes) -> None:
            def done(answer: Answer) -> None:
                first.append(answer)
                if answer.status == 503:
                    wait_s = int(answer.retry_after or 0) * (1 + JITTER * chance.random())
                    client.at(answer.came + wait_s, lambda due: client.ask(photo, due, second.append))

            client.at(started, lambda due: client.ask(photo, due, done))

        for number in range(PROBES):
            client.at(started + number * HEALTH_S, lambda due: client.ask(get("/livez"), due, probes.append))
        for number in range(size):
            come(requests[number % len(requests)])
        client.run(started + 2 * PATIENCE_S)
    refused = [answer for answer in first if answer.status == 503]
    return {
        "clients": size,
        "at_once": sum(answer.status == 200 for answer in first),
        "refused": len(refused),
        "in_at_first_retry": sum(answer.status == 200 for answer in second) / len(refused) if refused else None,
        "longest_retry_after_s": max((int(answer.retry_after or 0) for answer in refused), default=0),
        "without_retry_after": sum(not answer.retry_after for answer in refused),
        "other_errors": sum(answer.status not in (200, 503) for answer in first + second),
        "health_max_ms": 1000 * percentile([probe.seconds for probe in probes], 100),
    }


def room(port: int) -> tuple[int, int]:
    """How many uploads the service works on, and how many it lets wait."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/model")
    plan = json.loads(connection.getresponse().read())["plan"]
    connection.close()
    return int(plan["workers"]), int(plan["max_waiting"])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description="Offer more than can be answered.")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each flood")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results as JSON")
    args = parser.parse_args()
    requests = [upload(photo) for photo in photos()]
    ours = tellapart("tellapart", INT8)
    found: dict[str, Any] = {"how": {"seconds": args.seconds, "peak_clients": PEAK_CLIENTS}}
    with service(ours) as (pid, _):
        at_peak = found["peak"] = peak(ours.port, pid, requests, "/livez")
    full = tellapart("full", INT8, module="bench.full")
    refusal_ms = found["refusal_cpu_ms"] = refusal_cpu_ms(full, requests, (max(TIMES) - 1) * at_peak["rate"])
    with service(ours):
        closed(ours.port, requests, 8, WARM_UP_S, "/livez")
        found["burst"] = burst(ours.port, requests, BURST * sum(room(ours.port)))
        for times in TIMES:
            found[f"{times}x"] = flood(ours.port, requests, times, at_peak, refusal_ms, args.seconds)
    store(args.out, overload=found)


if __name__ == "__main__":
    main()
