"""Usable cores: the affinity mask and every cgroup quota above us, read from files under a root of the test's own."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.cpu import NICER, step_back, usable_cores

V1 = "sys/fs/cgroup/cpu"
V1_GROUPS = "12:memory:/app\n3:cpu,cpuacct:/app\n1:name=systemd:/app\n"


def v1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


# what stands in the files, how many of 8 cores that leaves
MACHINES: dict[str, tuple[dict[str, str], int]] = {
    "no cgroups": ({}, 8),
    "v2, no limit": ({"proc/self/cgroup": "0::/app\n", "sys/fs/cgroup/app/cpu.max": "max 100000\n"}, 8),
    "v2, two cores": ({"proc/self/cgroup": "0::/app\n", "sys/fs/cgroup/app/cpu.max": "200000 100000\n"}, 2),
    "v2, another period": ({"proc/self/cgroup": "0::/app\n", "sys/fs/cgroup/app/cpu.max": "30000 10000\n"}, 3),
    "v2, one and a half": ({"proc/self/cgroup": "0::/app\n", "sys/fs/cgroup/app/cpu.max": "150000 100000\n"}, 2),
    "v2, a tenth": ({"proc/self/cgroup": "0::/app\n", "sys/fs/cgroup/app/cpu.max": "10000 100000\n"}, 1),
    "v2, more than there are": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 8),
    "v2, own root in a container": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
    "v2, the parent is tighter": (
        {
            "proc/self/cgroup": "0::/pods/app/main\n",
            "sys/fs/cgroup/pods/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/pods/app/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pods/app/main/cpu.max": "500000 100000\n",
        },
        3,
    ),
    "v2, a folder that the container cannot see": (
        {"proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"},
        3,
    ),
    "v2, a neighbour's limit": ({"proc/self/cgroup": "0::/app\n", "sys/fs/cgroup/other/cpu.max": "100000 100000\n"}, 8),
    "v2, above the container's root": (
        {"proc/self/cgroup": "0::/../../other\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2,
    ),
    "v1, no limit": ({"proc/self/cgroup": V1_GROUPS, **v1(f"{V1}/app", -1)}, 8),
    "v1, two cores": ({"proc/self/cgroup": V1_GROUPS, **v1(f"{V1}/app", 200_000)}, 2),
    "v1, two and a bit": ({"proc/self/cgroup": V1_GROUPS, **v1(f"{V1}/app", 105_000, 50_000)}, 3),
    "v1, the parent is tighter": (
        {"proc/self/cgroup": V1_GROUPS, **v1(f"{V1}/app", 400_000), **v1(V1, 100_000)},
        1,
    ),
    "v1, a folder that the container cannot see": (
        {"proc/self/cgroup": "4:cpuacct,cpu:/docker/0123\n", **v1(V1, 300_000)},
        3,
    ),
    "v1, quota without period": ({"proc/self/cgroup": V1_GROUPS, f"{V1}/app/cpu.cfs_quota_us": "100000\n"}, 8),
    "hybrid: v1 has the cpu controller, v2 has none": (
        {
            "proc/self/cgroup": f"{V1_GROUPS}0::/app\n",
            "sys/fs/cgroup/unified/app/cgroup.procs": "1\n",
            **v1(f"{V1}/app", 150_000),
        },
        2,
    ),
    "v1, three levels down, the middle one is tightest": (
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/pods/app/main\n",
            **v1(f"{V1}/pods", 600_000),
            **v1(f"{V1}/pods/app", 250_000),
            **v1(f"{V1}/pods/app/main", 400_000),
        },
        3,
    ),
    "v1 beside v2": (
        {
            "proc/self/cgroup": f"{V1_GROUPS}0::/app\n",
            "sys/fs/cgroup/app/cpu.max": "500000 100000\n",
            **v1(f"{V1}/app", 400_000),
        },
        4,
    ),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_usable_cores_of_eight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    files, cores = MACHINES[machine]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores(tmp_path) == cores


def test_the_affinity_mask_counts_not_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 17}, raising=False)
    assert usable_cores(tmp_path) == 2


def test_where_there_is_no_affinity_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6


def test_on_this_machine() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_a_thread_that_steps_back_takes_along_those_it_starts_and_no_other() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with ThreadPoolExecutor(1, initializer=step_back) as pool:
        assert pool.submit(niceness).result() == niceness() + NICER
        started = pool.submit(lambda: ThreadPoolExecutor(1).submit(niceness).result())
        assert started.result() == niceness() + NICER
