"""Whether the service stays as it is: `python -m bench.soak` sends 10,000 mixed requests after a first 1,000."""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.bundles import INT8
from bench.client import Answer, Client
from bench.load import SEED, get, upload
from bench.photos import of_size, photos
from bench.results import RESULTS, store
from bench.served import tellapart
from bench.service import memory_mb, service

LEG = 1000
LEGS = 10
CLIENTS = 8
LEG_TIMEOUT_S = 600.0
REST_S = 1.0  # between a leg and the look at memory, for what is done after an answer

# What is asked, the status it must get, and how often out of 100.
Kind = tuple[bytes, int, int]


def kinds() -> list[Kind]:
    """Uploads above all; several photos in one; other formats; photos that are none; refused URLs; probes; the page."""
    found = photos()
    broken = found[0][: len(found[0]) // 2]
    return [
        *((upload(photo), 200, 1) for photo in found[:50]),
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
    ]


def leg(port: int, asked: Iterator[Kind]) -> Counter[str]:
    """Send all of it, CLIENTS at a time; how many answers had the status they must have, and which others came."""
    found: Counter[str] = Counter()
    with Client(port) as client:

        def send(moment: float) -> None:
            kind = next(asked, None)
            if kind is None:
                return
            request, expected, _ = kind

            def done(answer: Answer) -> None:
                wrong = f"{answer.status} instead of {expected}"
                found["as expected" if answer.status == expected else wrong] += 1
                send(answer.came)

            client.ask(request, moment, done)

        started = time.perf_counter()
        for _ in range(CLIENTS):
            client.at(started, send)
        client.run(started + LEG_TIMEOUT_S)
    return found


def look(pid: int) -> dict[str, float]:
    """What the service holds at rest."""
    time.sleep(REST_S)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {"memory_mb": memory_mb(pid), "descriptors": descriptors, "threads": int(status["Threads"])}


def soak(legs: int, size: int) -> dict[str, Any]:
    """A first leg, then `legs` more of `size` requests each; what the service held after each, and how it grew."""
    mixed = kinds()
    chance = random.Random(SEED)
    ours = tellapart("tellapart", INT8)
    answers: Counter[str] = Counter()
    held = []
    with service(ours) as (pid, _):
        for number in range(legs + 1):
            asked = chance.choices(mixed, weights=[weight for *_, weight in mixed], k=size)
            answers += leg(ours.port, iter(asked))
            held.append(look(pid))
            print(f"{(number + 1) * size} requests: {held[-1]}", flush=True)
    grown = {f"{key}_grown": held[-1][key] - held[0][key] for key in held[0]}
    memory_mb = held[-1]["memory_mb"]
    return {"requests": legs * size, "answers": dict(answers), "memory_mb": memory_mb, **grown, "after_each": held}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Send 11,000 mixed requests.")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results as JSON")
    args = parser.parse_args()
    store(args.out, soak=soak(LEGS, LEG))


if __name__ == "__main__":
    main()
