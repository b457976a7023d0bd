"""Services under measurement, as processes of their own, and what they take of the machine."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.settings import ROOT

START_S = 120
END_S = 20


@dataclass(frozen=True)
class Contender:
    """A service to be measured: what starts it, where it listens, what tells its health."""

    name: str  # as in the table: "LitServe, int8"
    command: tuple[str, ...]  # whole argument vector
    port: int
    health: str = "/readyz"
    environment: Mapping[str, str] = field(default_factory=dict)  # beside ours


@contextmanager
def service(contender: Contender) -> Iterator[tuple[int, float]]:
    """A service's process id, and the seconds it took to be ready. What it logs goes to a file.

    At the end its whole process group goes, and whatever descends from it.
    """
    wait_for(contender.port)
    environment = {**os.environ, **contender.environment}
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            contender.command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while not ready(contender.port, contender.health):
                if process.poll() is not None or time.perf_counter() - started > START_S:
                    log.seek(0)
                    sys.exit(f"{contender.name} did not start:\n{log.read().decode(errors='replace')}")
                time.sleep(0.01)
            yield process.pid, time.perf_counter() - started
        finally:
            end(process)


def wait_for(port: int) -> None:
    """Return once nobody listens on a port of 127.0.0.1: another service would be measured instead."""
    until = time.perf_counter() + END_S
    while time.perf_counter() < until:
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    sys.exit(f"Something else listens on port {port}: stop it first.")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process group to leave; after END_S, or if a descendant outlives it, make it."""
    family = descendants(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in family:
        if pid != process.pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()


def ready(port: int, health: str = "/readyz") -> bool:
    """Whether the service on that port of 127.0.0.1 says that it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", health)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def descendants(pid: int) -> list[int]:
    """The process and all that come of it, those whose parents live."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def memory_mb(pid: int) -> float:
    """Memory of a process and its descendants in MB: the proportional set size, so that shared pages count once."""
    return sum(_pss_kb(each) for each in descendants(pid)) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Seconds of processor time, user and system, of a process and its descendants, those included that have ended."""
    ticks = 0
    for each in descendants(pid):
        with suppress(OSError):
            ticks += sum(map(int, _stat(each)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything: state, parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _pss_kb(pid: int) -> int:
    for file, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
            return int(next(line for line in lines if line.startswith(key)).split()[1])
    return 0
