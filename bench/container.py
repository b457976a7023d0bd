"""What an image weighs, how soon it is ready when locked down, and how it stops: `python -m bench.container IMAGE`."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from app.bundle import read_bundle
from app.settings import ROOT
from bench.service import ready

PORT = 8154
LOCKED_DOWN = (
    *("--read-only", "--tmpfs", "/tmp:size=64m", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--cpus", "2", "--memory", "2g", "--pids-limit", "100", "--publish", f"127.0.0.1:{PORT}:8000"),
)
UNWANTED = {"cc", "gcc", "g++", "ld", "make", "pip", "pip3", "curl", "wget"}


class Engine:
    """A container engine's command line, such as `docker` or `podman --runtime runc`."""

    def __init__(self, command: str) -> None:
        self.command = shlex.split(command)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([*self.command, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        found: dict[str, Any] = json.loads(self("inspect", container))[0]
        return found

    @contextmanager
    def container(self, *arguments: str) -> Iterator[str]:
        """A container made by these arguments, removed at the end."""
        name = self(*arguments)
        try:
            yield name
        finally:
            self("rm", "--force", name)


def content(engine: Engine, image: str) -> tuple[float, set[str]]:
    """Megabytes of all files as a container sees them, and the names of its programs."""
    total, programs = 0, set()
    with engine.container("create", image) as name:
        export = subprocess.Popen([*engine.command, "export", name], stdout=subprocess.PIPE)
        with export, tarfile.open(fileobj=export.stdout, mode="r|") as files:
            for file in files:
                total += file.size
                if file.isfile() and Path(file.name).parent.name in ("bin", "sbin"):
                    programs.add(Path(file.name).name)
    return total / 1e6, programs


def start(engine: Engine, name: str) -> float:
    """Seconds from the start of the container's process to ready."""
    deadline = time.monotonic() + 60
    while not ready(PORT):
        if time.monotonic() > deadline:
            sys.exit(f"The service did not get ready: {engine.inspect(name)['State']}")
        time.sleep(0.01)
    now = datetime.now(UTC)
    return (now - datetime.fromisoformat(engine.inspect(name)["State"]["StartedAt"])).total_seconds()


def processor_s(engine: Engine, name: str) -> float:
    """Seconds of processor time that its first process has used (user and system, in ticks of 10 ms)."""
    numbers = engine("exec", name, "cat", "/proc/1/stat").rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / 100


def stop(engine: Engine, name: str) -> tuple[float, int]:
    """Seconds that SIGTERM takes, and the exit code."""
    started = time.perf_counter()
    engine("stop", "--time", "25", name)
    return time.perf_counter() - started, engine.inspect(name)["State"]["ExitCode"]


def classify() -> float:
    """How far the container's answer for a golden photo of the bundled bears is from the one recorded, at most."""
    bundle = read_bundle(ROOT / "models" / "bears")
    golden = bundle.golden[0]
    files = {"file": golden.path.read_bytes()}
    response = httpx2.post(f"http://127.0.0.1:{PORT}/upload", files=files, timeout=60, trust_env=False)
    found = dict(response.raise_for_status().json()["predictions"])
    expected = dict(zip(bundle.classes, golden.probabilities, strict=True))
    return max(abs(float(found[name]) - float(expected[name])) for name in bundle.classes)


@dataclass(frozen=True)
class Round:
    """One life of a container. Times in seconds."""

    start_s: float
    cpu_s: float
    difference: float
    status: str
    written: str
    stop_s: float
    exit_code: int


def live(engine: Engine, image: str) -> Round:
    """Start a container locked down, let it classify, look at its first process, stop it."""
    with engine.container("run", "--detach", *LOCKED_DOWN, image) as name:
        start_s, used_s = start(engine, name), processor_s(engine, name)
        difference = classify()
        status = engine("exec", name, "grep", "-E", "^(Name|Uid|CapEff|NoNewPrivs)", "/proc/1/status")
        written = engine("exec", name, "ls", "-A", "/tmp")
        return Round(start_s, used_s, difference, " ".join(status.split()), written, *stop(engine, name))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--engine", default="docker", help="docker, or a command line such as 'podman --runtime runc'")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    engine = Engine(args.engine)
    megabytes, programs = content(engine, args.image)
    print(f"content: {megabytes:.0f} MB; of {', '.join(sorted(UNWANTED))}: {sorted(UNWANTED & programs) or 'none'}")
    rounds = [live(engine, args.image) for _ in range(args.rounds)]
    start_s, cpu_s, stop_s = (median(getattr(each, name) for each in rounds) for name in ("start_s", "cpu_s", "stop_s"))
    print(f"start to ready: {start_s:.2f} s; processor time {cpu_s:.2f} s")
    print(f"a golden photo: differs by {max(each.difference for each in rounds):.1e}")
    print(f"process 1: {rounds[0].status}; written to /tmp: {rounds[0].written or 'nothing'}")
    print(f"SIGTERM to gone: {stop_s:.2f} s; exit codes: {[each.exit_code for each in rounds]}")


if __name__ == "__main__":
    main()
