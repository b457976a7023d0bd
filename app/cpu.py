"""How many cores this process may really use, by its affinity mask and its cgroup's quota, and how it uses them."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """How the cores are used: `streams` photos are inferred at once, on a core each, and `workers` threads feed them.

    As many streams as usable cores: a stream of one thread wastes nothing on waiting for others. One worker more than
    streams: it decodes the next photo while all streams work.
    """

    streams: int

    @property
    def workers(self) -> int:
        """Threads that decode, wait for the engine and write the answer."""
        return self.streams + 1


# Less urgent than the event loop, which has little to do but for all; on Linux a thread has a niceness of its own.
NICER = 5


def step_back() -> None:
    """Let the event loop's thread go before the calling one, and before all that this one starts from now on."""
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    with suppress(OSError):  # a sandbox may forbid it; all works without
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICER)


def usable_cores(root: Path = Path("/")) -> int:
    """Whole cores, at least 1: the smaller of the affinity mask and the CPU quota, a fraction rounded up."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Every quota in force, in cores: cgroup v2 `cpu.max` and v1 `cpu.cfs_*`, of our own group and all above it."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            base, read = root / "sys/fs/cgroup", _quota_v2
        elif "cpu" in controllers.split(","):
            base, read = root / "sys/fs/cgroup/cpu", _quota_v1
        else:
            continue
        folder = base / group.lstrip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(base):
                yield from read(place)


def _quota_v2(folder: Path) -> Iterator[float]:
    for line in _lines(folder / "cpu.max"):
        quota, period = line.split()
        if quota != "max":
            yield int(quota) / int(period)


def _quota_v1(folder: Path) -> Iterator[float]:
    numbers = [int(n) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for n in _lines(folder / name)]
    if len(numbers) == 2 and numbers[0] > 0:
        yield numbers[0] / numbers[1]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
