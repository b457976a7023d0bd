"""Whether the service stays as it is: `python -m bench.soak` keeps it busy for 15 minutes, 5 % of it hostile.

tests/attacks/test_soak.py does the same for half a minute.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.bundles import INT8
from bench.client import FAILED, Answer, Client
from bench.hostile import AS_EXPECTED, SLOW_S, Act, acts, play
from bench.load import HEALTH_S, PATIENCE_S, SEED, get, percentile, upload
from bench.photos import of_size, photos
from bench.results import RESULTS, store
from bench.served import tellapart
from bench.service import memory_mb, service

LEG_S = 60.0
CLIENTS = 8
STRANGERS = 32  # hostile acts at once; of five a second, every tenth takes seconds
HOSTILE = 5  # of 100
REST_S = 1.0  # between a leg and the look at memory, for what is done after an answer

# What is asked, the status it must get (of an act, the act itself knows), and how often out of 100.
Kind = tuple[bytes | Act, int, float]


@dataclass
class Leg:
    """What came of a stretch of load: how many answers were as they must be, and which others there were; beside it,
    how long probes took, in seconds, and what memory the service had, in MB."""

    answers: Counter[str] = field(default_factory=Counter)
    hostile: int = 0
    health_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


def kinds() -> list[Kind]:
    """Uploads above all; several photos in one; other formats; photos that are none; refused URLs; probes; the page;
    and strangers."""
    found = photos()
    broken = found[0][: len(found[0]) // 2]
    hostile = acts(found[0])
    return [
        *((upload(photo), 200, 1) for photo in found[:45]),
        *((upload(*found[i : i + 3]), 200, 1) for i in range(5)),
        (upload(of_size(2, "JPEG")), 200, 4),
        (upload(of_size(0.3, "PNG")), 200, 3),
        (upload(of_size(0.3, "WEBP")), 200, 3),
        (upload(b"no photo"), 415, 5),
        (upload(broken), 422, 5),
        (get("/classify-url?url=http://127.0.0.1/a.jpg"), 400, 5),
        (get("/classify-url?url=file:///etc/passwd"), 400, 5),
        (get("/livez"), 200, 5),
        (get("/readyz"), 200, 5),
        (get("/"), 200, 3),
        (get("/nothing"), 404, 2),
        *((act, 0, HOSTILE / len(hostile)) for act in hostile),
    ]


def leg(port: int, pid: int, asked: Iterator[Kind], seconds: float) -> Leg:
    """Ask all of it, CLIENTS at a time, for so many seconds at most; hostile acts go on beside.

    Every 50 ms a probe is sent and memory looked at. What has no answer a minute later is counted as such.
    """
    found, playing = Leg(), list[Future[str]]()
    with ThreadPoolExecutor(STRANGERS) as strangers, Client(port) as client:
        started = time.perf_counter()
        until = started + seconds

        def send(moment: float) -> None:
            while time.perf_counter() < until and (kind := next(asked, None)) is not None:
                what, expected, _ = kind
                if isinstance(what, bytes):
                    client.ask(what, moment, partial(done, expected))
                    return
                if not what.slow or time.perf_counter() < until - SLOW_S:
                    playing.append(strangers.submit(play, port, what))

        def done(expected: int, answer: Answer) -> None:
            wrong = f"{answer.status} instead of {expected}" if answer.status != FAILED else "no answer"
            found.answers[AS_EXPECTED if answer.status == expected else wrong] += 1
            send(answer.came)

        def probed(answer: Answer) -> None:
            found.health_s.append(answer.seconds)
            if answer.status != 200:
                found.answers[f"{answer.status} to a probe"] += 1

        def probe(moment: float) -> None:
            client.ask(get("/livez"), moment, probed)
            found.memory_mb.append(own_memory_mb(pid))
            if moment + HEALTH_S < until and client.pending > 1:
                client.at(moment + HEALTH_S, probe)

        for _ in range(CLIENTS):
            client.at(started, send)
        client.at(started + HEALTH_S, probe)
        client.run(until + PATIENCE_S)
    found.answers += Counter(each.result() for each in playing)
    found.hostile = len(playing)
    return found


def status(pid: int) -> dict[str, str]:
    """What Linux tells of a process."""
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def own_memory_mb(pid: int) -> float:
    """A process's memory without that of files."""
    return int(status(pid)["RssAnon"].split()[0]) * 1024 / 1e6


def look(pid: int) -> dict[str, float]:
    """What the service holds at rest."""
    time.sleep(REST_S)
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {"memory_mb": memory_mb(pid), "descriptors": descriptors, "threads": int(status(pid)["Threads"])}


def mixed(seed: int = SEED) -> Iterator[Kind]:
    """Kinds at random, as often as they say, without an end."""
    found, chance = kinds(), random.Random(seed)
    weights = [weight for *_, weight in found]
    while True:
        yield from chance.choices(found, weights, k=100)


def soak(port: int, pid: int, legs: Sequence[float]) -> dict[str, Any]:
    """Load of so many seconds each; what the service held after each, and how it grew from the second to the last.

    Memory is compared by its median under load: at rest malloc gives back 30 MB, or does not.
    """
    asked, held = mixed(), []
    answers: Counter[str] = Counter()
    health_s: list[float] = []
    hostile = 0
    for number, seconds in enumerate(legs):
        found = leg(port, pid, asked, seconds)
        answers, hostile, health_s = answers + found.answers, hostile + found.hostile, health_s + found.health_s
        held.append({**look(pid), "loaded_mb": percentile(found.memory_mb, 50)})
        print(f"leg {number + 1} of {len(legs)}: {found.answers.total()} requests: {held[-1]}", flush=True)
    return {
        "seconds": sum(legs),
        "requests": answers.total(),
        "hostile": hostile,
        "answers": dict(answers),
        "health_p99_ms": 1000 * percentile(health_s, 99),
        "health_max_ms": 1000 * percentile(health_s, 100),
        **{f"{key}_grown": held[-1][key] - held[1][key] for key in held[0]},
        "after_each": held,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Keep the service busy.")
    parser.add_argument("--minutes", type=int, default=15, help="three at least: growth counts from the second")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results as JSON")
    args = parser.parse_args()
    ours = tellapart("tellapart", INT8)
    with service(ours) as (pid, _):
        found = soak(ours.port, pid, [LEG_S] * max(3, args.minutes))
    store(args.out, soak=found)


if __name__ == "__main__":
    main()
