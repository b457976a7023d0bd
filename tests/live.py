"""A real service for tests: `python -m app serve` in a process of its own, with the bundled bears."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
READY_S = 60  # a hang guard: a start takes about a second
END_S = 30
# Settings that `TELLAPART_… make test` hands on to the services under test; others would change what is tested.
HONOURED = ("TELLAPART_MODEL", "TELLAPART_THREADS")


@dataclass(frozen=True)
class Live:
    """A service that is ready. `log` holds what it wrote to stdout and stderr."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def live_service(*flags: str, env: Mapping[str, str] | None = None) -> Iterator[Live]:
    """Start `python -m app serve` on a free port of 127.0.0.1 with these flags and variables; end it afterwards."""
    port = free_port()
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), *flags]
    with started(command, port, cwd=ROOT, env=clean_env() | dict(env or {})) as live:
        yield live


@contextmanager
def started(command: Sequence[str], port: int, *, cwd: Path, env: Mapping[str, str]) -> Iterator[Live]:
    """Run a command that serves on `port`, wait until it is ready, and end it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=out)
        with process:
            try:
                wait_until_ready(process, port, log)
                yield Live(f"http://127.0.0.1:{port}", port, process, log)
            finally:
                end(process)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def clean_env() -> dict[str, str]:
    """This process's environment without proxies, and of the service's settings only those honoured."""

    def kept(name: str) -> bool:
        ours = name.startswith("TELLAPART_") or name == "PORT"
        return name in HONOURED or not (ours or name.lower().endswith("_proxy"))

    return {name: value for name, value in os.environ.items() if kept(name)}


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a GET, without any proxy. Raises OSError while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once /readyz says so; fail with the log if the process ends or takes too long."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if get(port, "/readyz")[0] == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise AssertionError(f"The service did not get ready (exit code {process.poll()}):\n{log.read_text()}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop the process as Ctrl-C does, which waits for nothing; kill it if it stays."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
