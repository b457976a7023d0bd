"""One service under load: closed loops of 1 to 128 clients, open loops up to 95 % of its peak, start, memory, CPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.load import Load, Schedule, arrivals, closed, evenly, offered, one
from bench.service import Contender, cpu_s, memory_mb, service

CLIENTS = (1, 8, 32, 128)
# Shares of the peak, and how arrivals are spaced.
OPEN: dict[str, tuple[float, Schedule]] = {
    "50 %": (0.5, arrivals),
    "80 %": (0.8, arrivals),
    "95 %": (0.95, arrivals),
    "80 %, evenly": (0.8, evenly),
}
WARM_UP_S = 2.0
PORT = 8151
# So that nobody is refused by us with 128 clients, as nobody is by the others; what refusing does is bench.overload's.
ROOM = ("--max-waiting", "256")


def tellapart(name: str, bundle: Path, *flags: str, module: str = "app", port: int = PORT) -> Contender:
    """Our service with a bundle; `module` may be one of ours that starts it changed."""
    serve = (sys.executable, "-m", module, "serve", "--port", str(port), "--model", str(bundle), *flags)
    return Contender(name, serve, port)


def plain() -> Contender:
    """The plain version."""
    return Contender("plain", (sys.executable, "-m", "bench.plain", str(PORT)), PORT)


def summary(load: Load, cpu_ms: float) -> dict[str, Any]:
    """A bout in figures, and how long each health check took. CPU times in milliseconds per request: `cpu_ms` is the
    service's, `client_cpu_ms` the load generator's."""
    return {
        "rate": load.rate,
        "p50_ms": load.ms(50),
        "p99_ms": load.ms(99),
        "failed": len(load.answers) - load.statuses[200],
        "health_ms": [1000 * answer.seconds for answer in load.health],
        "cpu_ms": cpu_ms,
        "client_cpu_ms": 1000 * load.cpu_s / len(load.answers),
    }


def bout(pid: int, offer: Callable[[], Load]) -> dict[str, Any]:
    """Offer load and sum it up."""
    before = cpu_s(pid)
    load = offer()
    return summary(load, 1000 * (cpu_s(pid) - before) / len(load.answers))


def closed_loops(
    contender: Contender, requests: Sequence[bytes], seconds: float, clients: Sequence[int]
) -> dict[str, Any]:
    """Start a service, warm it up, and put so many clients on it in turn."""
    with service(contender) as (pid, _):
        return _closed_loops(contender, pid, requests, seconds, clients)


def one_round(contender: Contender, requests: Sequence[bytes], seconds: float, seed: int) -> dict[str, Any]:
    """All that is measured of a service, from its start to its end. Its peak is the best rate of the closed loops."""
    with service(contender) as (pid, ready_s):
        idle_mb = memory_mb(pid)
        first_answer_s = ready_s + one(contender.port, requests[0]).seconds
        closed_found = _closed_loops(contender, pid, requests, seconds, CLIENTS)
        peak = max(found["rate"] for found in closed_found.values())
        offer = partial(offered, contender.port, requests, seconds=seconds, health=contender.health, seed=seed)
        open_found = {
            key: bout(pid, partial(offer, peak * share, schedule=schedule)) for key, (share, schedule) in OPEN.items()
        }
        return {
            "ready_s": ready_s,
            "first_answer_s": first_answer_s,
            "idle_mb": idle_mb,
            "loaded_mb": memory_mb(pid),
            "peak_rate": peak,
            "closed": closed_found,
            "open": open_found,
        }


def _closed_loops(
    contender: Contender, pid: int, requests: Sequence[bytes], seconds: float, clients: Sequence[int]
) -> dict[str, Any]:
    port, health = contender.port, contender.health
    closed(port, requests, 8, WARM_UP_S, health)
    return {str(n): bout(pid, partial(closed, port, requests, n, seconds, health)) for n in clients}
