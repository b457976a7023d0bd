"""`python -m bench.peers`: every configuration that was tried, in turn, as the table of docs/bench-peers.md.

Rates are divided by the share of the machine that was there to be had: what other processes took is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.cpu import usable_cores
from bench.load import closed, upload
from bench.peers.configurations import PORT, TRIED, Configuration, prepare
from bench.photos import photos
from bench.results import medians
from bench.service import Contender, cpu_s, service

CLIENTS = (8, 32)
WARM_UP_S = 2.0
COLUMNS = ("server, engine", "settings", "photos/s, 8 clients", "32 clients", "CPU ms a photo", "others took")
OURS = Configuration("tellapart", "int8", "as it is", (sys.executable, "-m", "app", "serve", "--port", PORT))


def busy_s() -> float:
    """Seconds of processor time that all processes have used so far, or that a hypervisor has taken away."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def bout(contender: Contender, pid: int, requests: Sequence[bytes], clients: int, seconds: float) -> dict[str, float]:
    """One closed loop. `share` is what other processes left of the cores, from 0 to 1."""
    busy, used, began = busy_s(), cpu_s(pid), time.perf_counter()
    load = closed(contender.port, requests, clients, seconds, contender.health)
    used = cpu_s(pid) - used
    others = busy_s() - busy - used - load.cpu_s
    share = 1 - others / usable_cores() / (time.perf_counter() - began)
    return {
        "rate": load.rate / share,
        "share": share,
        "cpu_ms": 1000 * used / len(load.answers),
        "failed": len(load.answers) - load.statuses[200],
    }


def measure(contender: Contender, requests: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Start a service, warm it up, put 8 and then 32 clients on it."""
    with service(contender) as (pid, _):
        closed(contender.port, requests, CLIENTS[0], WARM_UP_S, contender.health)
        return {str(clients): bout(contender, pid, requests, clients, seconds) for clients in CLIENTS}


def row(tried: Configuration, found: dict[str, Any]) -> str:
    """A line of the table; the chosen ones are bold."""
    eight, many = (found[str(clients)] for clients in CLIENTS)
    figures = [f"{eight['rate']:.1f}", f"{many['rate']:.1f}", f"{eight['cpu_ms']:.1f}"]
    figures.append(f"{100 - 50 * (eight['share'] + many['share']):.0f} %")
    if failed := eight["failed"] + many["failed"]:
        figures[0] += f" ({failed:g} failed)"
    mark = "**" if tried.chosen else ""
    return (
        "| " + " | ".join(f"{mark}{word}{mark}" for word in (tried.contender().name, tried.settings, *figures)) + " |"
    )


def main() -> None:
    """Measure and print, a line for each measurement as it comes, then the medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Measure all configurations tried.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one bout of load")
    parser.add_argument("--chosen", action="store_true", help="only the configurations that were chosen, and tellapart")
    args = parser.parse_args()
    prepare()
    requests = [upload(photo) for photo in photos()]
    lines = [OURS, *(each for each in TRIED if each.chosen or not args.chosen)]
    found: list[list[Any]] = [[] for _ in lines]
    for _ in range(args.rounds):
        for tried, rounds in zip(lines, found, strict=True):
            rounds.append(measure(tried.contender(), requests, args.seconds))
            print(row(tried, rounds[-1]), flush=True)
    print("\n| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for tried, rounds in zip(lines, found, strict=True):
        print(row(tried, medians(rounds)))


if __name__ == "__main__":
    main()
