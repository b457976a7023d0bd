"""Replicas under load, simulated: some requests are worked on at once, some wait, more are refused; a balancer before
them. Nothing is measured here, and nothing waits.

A replica works on up to `servers` requests, each at a speed that depends on how many they are, as threads share cores
(limited processor sharing). With speeds of 1 it is the textbooks' M/G/c/K queue.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

# How many requests each replica has, those in line included; chance → which replica gets the next one.
Balancer = Callable[[Sequence[int], random.Random], int]


@dataclass(frozen=True)
class Shape:
    """What a replica is: with 1, 2, … requests worked on, the speed of each, and the seconds of work (at a speed of 1)
    from which one that begins then draws its own; and the places to wait."""

    speeds: Sequence[float]
    works: Sequence[Sequence[float]]
    places: float  # math.inf: nobody is refused

    @property
    def servers(self) -> int:
        """How many requests can be worked on at once."""
        return len(self.speeds)


class Replica:
    """One replica at a moment of simulated time."""

    def __init__(self, shape: Shape, chance: random.Random) -> None:
        self.shape = shape
        self.changes = 0  # of the moment of its next end
        self._chance = chance
        self._now = 0.0
        self._progress = 0.0  # the work that a request which had always been worked on would have got
        self._worked_on: list[tuple[float, int]] = []  # heap of the progress at which a request ends, and its number
        self._line: deque[int] = deque()

    @property
    def next_end(self) -> float:
        """When the next request ends if none comes before; infinite if none is here."""
        if not self._worked_on:
            return math.inf
        return self._now + (self._worked_on[0][0] - self._progress) / self._speed

    def arrive(self, now: float, number: int) -> bool:
        """Take a request; False where it is refused."""
        if len(self._worked_on) < self.shape.servers:
            self._pass_time(now)
            self._begin(number)
            self.changes += 1
        elif len(self._line) < self.shape.places:
            self._line.append(number)
        else:
            return False
        return True

    def end(self, now: float) -> int:
        """The number of the request that ends now; the first in line takes its place."""
        self._pass_time(now)
        _, ended = heapq.heappop(self._worked_on)
        if self._line:
            self._begin(self._line.popleft())
        self.changes += 1
        return ended

    def _begin(self, number: int) -> None:
        work = self._chance.choice(self.shape.works[len(self._worked_on)])
        heapq.heappush(self._worked_on, (self._progress + work, number))

    @property
    def _speed(self) -> float:
        return self.shape.speeds[len(self._worked_on) - 1]

    def _pass_time(self, now: float) -> None:
        if self._worked_on:
            self._progress += (now - self._now) * self._speed
        self._now = now


def at_random(requests: Sequence[int], chance: random.Random) -> int:
    """Any replica."""
    return chance.randrange(len(requests))


def least_connections(requests: Sequence[int], chance: random.Random) -> int:
    """One of those with the fewest requests."""
    fewest, start = min(requests), chance.randrange(len(requests))
    try:
        return requests.index(fewest, start)
    except ValueError:
        return requests.index(fewest)


def poisson(rate: float, count: int, chance: random.Random) -> Iterator[float]:
    """`count` moments at which requests arrive, `rate` of them a second."""
    moment = 0.0
    for _ in range(count):
        moment += chance.expovariate(rate)
        yield moment


def simulate(
    shape: Shape, replicas: int, arrivals: Iterable[float], balancer: Balancer, seed: int = 42
) -> list[float | None]:
    """Seconds from arrival to end of each request, in the order of arrival; None of those refused, who do not come
    back."""
    chance = random.Random(seed)
    system = System(shape, replicas, chance)
    for moment in arrivals:
        system.end_until(moment)
        system.arrive(moment, balancer(system.requests, chance))
    system.end_until(math.inf)
    return system.took


class System:
    """Replicas, and what became of each request."""

    def __init__(self, shape: Shape, replicas: int, chance: random.Random) -> None:
        self.requests = [0] * replicas  # of each
        self.took: list[float | None] = []
        self._replicas = [Replica(shape, chance) for _ in range(replicas)]
        self._arrived: list[float] = []
        # Heap of moment, replica and its changes: where these are no longer the replica's, it has another next end.
        self._ends: list[tuple[float, int, int]] = []

    def arrive(self, now: float, index: int) -> None:
        """Give a request to a replica."""
        replica = self._replicas[index]
        before = replica.changes
        taken = replica.arrive(now, len(self.took))
        self._arrived.append(now)
        self.took.append(None)
        self.requests[index] += taken
        if replica.changes != before:
            self._note_end(index)

    def end_until(self, moment: float) -> None:
        """Let all requests end that do so by then."""
        while self._ends and self._ends[0][0] <= moment:
            now, index, changes = heapq.heappop(self._ends)
            if changes == self._replicas[index].changes:
                number = self._replicas[index].end(now)
                self.took[number] = now - self._arrived[number]
                self.requests[index] -= 1
                self._note_end(index)

    def _note_end(self, index: int) -> None:
        replica = self._replicas[index]
        if replica.next_end < math.inf:
            heapq.heappush(self._ends, (replica.next_end, index, replica.changes))
