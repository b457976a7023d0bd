"""One replica as it was measured, for bench.queueing to simulate, and how many of it a rate needs."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.load import percentile
from bench.queueing import Balancer, Shape, at_random, least_connections, poisson, simulate

BALANCERS: dict[str, Balancer] = {"at random": at_random, "least connections": least_connections}
STEPS = 100  # of the peak, in which the highest load is looked for


@dataclass(frozen=True)
class Loop:
    """A closed loop of clients: answers per second, and of each the seconds that it took without waiting in line."""

    rate: float
    busy_s: Sequence[float]


@dataclass(frozen=True)
class Profile:
    """What is simulated, and the most that it answers per second."""

    shape: Shape
    peak: float


def profile(loops: Mapping[int, Loop], workers: int, places: int) -> Profile:
    """The replica with as many workers, from loops of 1, 2, … clients, of which the longest keeps all workers busy.

    With n clients each has 1/n of the rate, so the speed of n requests at once is that against one client's. How much
    they vary is as with so many clients. What stands outside the workers (the form, JSON, the sockets) is taken for a
    part of the work, as it takes the same cores.
    """
    by_busy = [loops[n] for n in range(1, workers)] + [loops[max(loops)]]
    speeds = [each.rate / n / loops[1].rate for n, each in enumerate(by_busy, 1)]
    works = [[each / fmean(loop.busy_s) / loops[1].rate for each in loop.busy_s] for loop in by_busy]
    return Profile(Shape(speeds, works, places), by_busy[-1].rate)


def figures(took: Sequence[float | None]) -> dict[str, float]:
    """Of simulated requests: p50 and p99 of those answered in ms, and the share that was refused."""
    answered = [each for each in took if each is not None]
    p50, p99 = (1000 * percentile(answered, percent) for percent in (50, 99))
    return {"p50_ms": p50, "p99_ms": p99, "refused": 1 - len(answered) / len(took)}


def loaded(one: Profile, replicas: int, rate: float, requests: int, balancer: Balancer) -> dict[str, float]:
    """Figures of so many replicas under Poisson arrivals of `rate` a second."""
    arrivals = poisson(rate, requests, random.Random(requests))
    return figures(simulate(one.shape, replicas, arrivals, balancer))


def highest_share(one: Profile, p99_ms: float, requests: int) -> float:
    """The highest load, as a share of the peak, at which one replica's p99 is within `p99_ms`; 0 if there is none.

    A balancer that chooses at random gives each of many replicas such arrivals as one has by itself.
    """
    low, high = 0, STEPS
    while high - low > 1:
        middle = (low + high) // 2
        within = loaded(one, 1, one.peak * middle / STEPS, requests, at_random)["p99_ms"] <= p99_ms
        low, high = (middle, high) if within else (low, middle)
    return low / STEPS


def plan(one: Profile, rate: float, share: float, requests: int) -> dict[str, Any]:
    """Replicas for a rate at that share of the peak and one more, and how they fare: all of them, and with one gone."""
    needed = math.ceil(rate / (one.peak * share))

    def fare(replicas: int) -> dict[str, Any]:
        cases = {name: loaded(one, replicas, rate, requests, balancer) for name, balancer in BALANCERS.items()}
        return {"replicas": replicas, "share": rate / (one.peak * replicas), **cases}

    return {"all": fare(needed + 1), "one gone": fare(needed)}
