"""Services under measurement, as processes of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def service(command: list[str], port: int) -> Iterator[tuple[int, float]]:
    """A service's process id, and the seconds it took to be ready. Its log, a line for each request, goes to a file."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log, subprocess.Popen([sys.executable, *command], stderr=log) as process:
        try:
            while not ready(port):
                if process.poll() is not None or time.perf_counter() - started > 60:
                    log.seek(0)
                    sys.exit(f"{command} did not start:\n{log.read().decode()}")
                time.sleep(0.02)
            yield process.pid, time.perf_counter() - started
        finally:
            process.terminate()


def ready(port: int) -> bool:
    """Whether the service on that port is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB (VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000
