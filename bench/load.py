"""Load on a service, and what came of it: a closed loop of clients, or an open one with arrivals by schedule.

Beside it the service's health is asked for every 50 ms, whatever the load.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.client import Answer, Client

HEALTH_S = 0.05
RAMP_S = 0.5  # over which the clients of a closed loop begin, before anything is measured; bursts are bench.overload's
PATIENCE_S = 60.0  # for the answers to what was sent last
SEED = 42

# Photos per second, seconds, seed → moments of arrival from 0 on.
Schedule = Callable[[float, float, int], Iterator[float]]


@dataclass
class Load:
    """What a bout of load measured. `cpu_s` is what the load generator itself took."""

    seconds: float  # of offering load that is measured, without the wait for the last answers
    started: float = field(default_factory=time.perf_counter)
    answers: list[Answer] = field(default_factory=list)
    health: list[Answer] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Photos answered with 200 per second, while load was offered."""
        end = self.started + self.seconds
        return sum(a.status == 200 and self.started <= a.came < end for a in self.answers) / self.seconds

    @property
    def statuses(self) -> Counter[int]:
        """How many answers had each status."""
        return Counter(answer.status for answer in self.answers)

    def ms(self, percent: float, status: int = 200) -> float:
        """A percentile of the latency of answers with that status, in milliseconds."""
        found = [a.seconds for a in self.answers if a.status == status and a.came >= self.started]
        return 1000 * percentile(found, percent)

    def health_ms(self, percent: float) -> float:
        """A percentile of the latency of health checks in milliseconds."""
        return percentile([1000 * answer.seconds for answer in self.health], percent)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of them do not exceed (nearest rank); NaN of none."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)] if values else math.nan


def arrivals(rate: float, seconds: float, seed: int = SEED) -> Iterator[float]:
    """Moments from 0 to `seconds` at which requests arrive, `rate` of them a second: a Poisson process."""
    chance = random.Random(seed)
    moment = chance.expovariate(rate)
    while moment < seconds:
        yield moment
        moment += chance.expovariate(rate)


def evenly(rate: float, seconds: float, _: int = SEED) -> Iterator[float]:
    """Moments from 0 to `seconds`, `rate` of them a second, each as far from the next, as wrk2 and vegeta offer."""
    return (number / rate for number in range(int(rate * seconds)))


def upload(*photos: bytes) -> bytes:
    """A form with these photos as it goes over the wire."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = b"".join(head + photo + b"\r\n" for photo in photos) + b"--b--\r\n"
    lines = [
        "POST /upload HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str) -> bytes:
    """A GET as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def one(port: int, request: bytes) -> Answer:
    """The answer to one request, sent now."""
    answers: list[Answer] = []
    with Client(port) as client:
        client.ask(request, time.perf_counter(), answers.append)
        client.run(time.perf_counter() + PATIENCE_S)
    return answers[0]


def closed(port: int, requests: Sequence[bytes], clients: int, seconds: float, health: str) -> Load:
    """`clients` clients, each of which sends the next photo as soon as it has its answer, for `seconds`."""
    turn = itertools.cycle(requests)
    with Client(port) as client:
        load = Load(seconds, time.perf_counter() + RAMP_S)

        def send(moment: float) -> None:
            client.ask(next(turn), moment, done)

        def done(answer: Answer) -> None:
            load.answers.append(answer)
            if answer.came < load.started + seconds:
                send(answer.came)

        for number in range(clients):
            client.at(load.started - RAMP_S * (1 - number / clients), send)
        _run(client, load, health)
    return load


def offered(
    port: int,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    health: str,
    schedule: Schedule = arrivals,
    seed: int = SEED,
) -> Load:
    """An open loop: photos arrive as the schedule has it, however the service fares.

    Latency counts from the moment of arrival, so that none is left out while the load generator is behind.
    """
    turn = itertools.cycle(requests)
    with Client(port) as client:
        load = Load(seconds)
        for moment in schedule(rate, seconds, seed):
            client.at(load.started + moment, lambda due: client.ask(next(turn), due, load.answers.append))
        _run(client, load, health)
    return load


def _run(client: Client, load: Load, health: str) -> None:
    probe = get(health)
    for number in range(round(load.seconds / HEALTH_S)):
        moment = load.started + number * HEALTH_S
        client.at(moment, lambda due: client.ask(probe, due, load.health.append))
    gc.disable()  # a pause of ours would count as the service's
    before = time.process_time()
    client.run(load.started + load.seconds + PATIENCE_S)
    load.cpu_s = time.process_time() - before
    gc.enable()
