"""How long a newcomer waits: `make serve` in a fresh clone, then again. Run: `python -m bench.start`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from app.settings import ROOT
from bench.results import RESULTS, store
from bench.service import end, memory_mb, ready, wait_for

PORT = 8153
AGAIN = 5


def serve(folder: Path) -> tuple[float, float]:
    """Seconds from typing `make serve` to ready, and the service's proportional memory in MB."""
    wait_for(PORT)
    started = time.perf_counter()
    environment = {**os.environ, "TELLAPART_PORT": str(PORT)}
    command = ["make", "--silent", "serve"]
    make = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
    try:
        while not ready(PORT):
            if make.poll() is not None or time.perf_counter() - started > 300:
                sys.exit("make serve did not start the service")
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        return seconds, memory_mb(make.pid)
    finally:
        end(make)


def installed_mb(environment: Path) -> float:
    """Size of an environment's files in MB, without uv and pip, which only install."""
    packages = next(environment.glob("lib/python*/site-packages"))
    helpers = [*packages.glob("uv*"), *packages.glob("pip*"), environment / "bin/uv", environment / "bin/uvx"]
    return size_mb(environment) - sum(size_mb(path) for path in helpers)


def size_mb(path: Path) -> float:
    """Size of a file, or of all files below a folder, in MB."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if not file.is_dir()) / 1e6


def main() -> None:
    """Clone, start, start again; write."""
    parser = argparse.ArgumentParser(prog="python -m bench.start", description="Time `make serve` in a fresh clone.")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tellapart"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        fresh_s, _ = serve(folder)
        again = [serve(folder) for _ in range(AGAIN)]
        found = {
            "fresh_clone_s": fresh_s,
            "again_s": median(seconds for seconds, _ in again),
            "memory_mb": median(memory for _, memory in again),
            "installed_mb": installed_mb(folder / ".venv"),
        }
    store(args.out, start=found)


if __name__ == "__main__":
    main()
