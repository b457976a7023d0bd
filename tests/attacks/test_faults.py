"""Faults around a real service: killed, without a disk, without descriptors, with a clock that jumps."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
from PIL import Image

from app.protocol import most_connections
from bench.load import percentile
from tests.attacks.origins import origin, sabotaged
from tests.bundles import SHIPPED
from tests.drawings import bear, jpeg
from tests.live import ROOT, Live, clean_env, free_port, live_service, started
from tests.photos import encode
from tests.test_serve_load import sample
from tests.wire import BODY, HANG_S, TEDDY, connection, error, get, post, read_response, until, upload_head

LARGE = encode(Image.effect_noise((1600, 1200), 90), "PNG")  # past what a form parser keeps in memory by itself


@contextmanager
def serving(limits: str, port: int, *flags: str, cwd: Path = ROOT, **environ: str) -> Iterator[Live]:
    """A service that a shell has set limits on."""
    command = f"{limits}; exec {shlex.quote(sys.executable)} -m app serve --port {port} {' '.join(flags)}"
    env = clean_env() | {"PYTHONPATH": str(ROOT)} | environ
    with started(["sh", "-c", command], port, cwd=cwd, env=env) as live:
        yield live


# ── ended from outside ────────────────────────────────────────────────────────────────────────────────────────────────


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_killed_at_work_it_starts_again_on_the_same_port_at_once() -> None:
    """There is nothing to mend: not on disk, not in the kernel, though clients still hold connections."""
    port, before = free_port(), contents(SHIPPED)
    with serving(":", port) as live, ExitStack() as stack:
        answer = post(live, TEDDY).json()
        waiting = [stack.enter_context(connection(port)) for _ in range(8)]
        for sock in waiting:
            sock.sendall(upload_head(BODY) + BODY)
        stack.enter_context(connection(port)).sendall(upload_head(BODY) + BODY[:100])
        live.process.send_signal(signal.SIGKILL)
        assert live.process.wait(HANG_S) == -signal.SIGKILL
        with serving(":", port) as again:
            assert post(again, TEDDY).json() == answer
    assert contents(SHIPPED) == before


def test_an_upload_that_stalls_until_the_time_to_drain_is_over_is_told_so() -> None:
    with live_service("--drain-s", "1") as live, connection(live.port) as sock:
        sock.sendall(upload_head(BODY) + BODY[:1000])
        assert get(live, "/livez").status_code == 200
        live.process.send_signal(signal.SIGTERM)
        status, headers, answer = read_response(sock)
        assert error(status, answer) == (503, "draining")
        assert int(headers["retry-after"]) >= 1
        assert live.process.wait(HANG_S) == 0
        log = live.log.read_text()
        assert "Traceback" not in log
        assert "error=draining" in log


def test_whoever_waits_when_a_second_signal_stops_it_is_told_so_too() -> None:
    with live_service("--drain-s", "300") as live, connection(live.port) as sock:
        sock.sendall(upload_head(BODY) + BODY[:1000])
        live.process.send_signal(signal.SIGTERM)
        until(lambda: get(live, "/readyz").status_code == 503)
        live.process.send_signal(signal.SIGTERM)
        status, _, answer = read_response(sock)
        assert error(status, answer) == (503, "draining")
        assert live.process.wait(HANG_S) == 0
        assert "Traceback" not in live.log.read_text()


# ── no disk ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_starts_and_answers_where_nothing_can_be_written() -> None:
    """No file may grow by a byte, and home, temporary and working folder are of those where nobody can make one."""
    nowhere = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), "/proc")
    with serving("ulimit -f 0", free_port(), cwd=Path("/proc"), **nowhere) as live:
        for photo in (TEDDY, LARGE):
            assert post(live, photo).status_code == 200
        opened = [entry.readlink() for entry in Path(f"/proc/{live.process.pid}/fd").iterdir()]
        assert not [path for path in opened if "(deleted)" in str(path)]
        assert live.log.read_bytes() == b"", "the log is a file too"
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(HANG_S) == 0


def test_a_full_disk_costs_lines_of_the_log_and_nothing_else() -> None:
    """And the log says so when there is room again."""
    with live_service() as live:
        pid, size = live.process.pid, live.log.stat().st_size
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        for _ in range(5):
            assert post(live, LARGE).status_code == 200
            assert get(live, "/nothing").status_code == 404
        time.sleep(0.1)  # the log's thread looks every 20 ms
        assert live.log.stat().st_size == size
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        assert post(live, TEDDY).status_code == 200
        until(lambda: "lines of this log were lost" in live.log.read_text())
        assert "status=200" in live.log.read_text().splitlines()[-1]


# ── no descriptors ────────────────────────────────────────────────────────────────────────────────────────────────────


def flood(port: int, stack: ExitStack, count: int) -> list[socket.socket]:
    """So many connections, those refused included; they send nothing."""
    socks = []
    for _ in range(count):
        with contextlib.suppress(ConnectionError):
            socks.append(stack.enter_context(connection(port)))
    return socks


def closed(sock: socket.socket) -> bool:
    sock.settimeout(0)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_with_64_descriptors_connections_are_closed_and_all_is_well_once_they_are_gone() -> None:
    with serving("ulimit -n 64", free_port()) as live:
        busy = sample(live, "process_cpu_seconds_total")
        with ExitStack() as stack:
            socks = flood(live.port, stack, 200)
            until(lambda: sum(map(closed, socks)) > 100)
            kept = [sock for sock in socks if not closed(sock)]
            assert kept
            time.sleep(1)
            assert live.process.poll() is None
        freed = time.monotonic()
        until(lambda: alive(live))
        assert time.monotonic() - freed < 5
        assert post(live, TEDDY).status_code == 200
        assert sample(live, "process_cpu_seconds_total") - busy < 1, "it does not turn round and round meanwhile"
        log = live.log.read_text()
        assert log.count("\n") < 20
        assert "limit on open files" in log
        assert "Traceback" not in log


def test_how_many_may_be_connected() -> None:
    assert [most_connections(files) for files in (64, 1024, 10, 0)] == [24, 984, 8, 8]
    assert most_connections(resource.RLIM_INFINITY) > 10**9


def alive(live: Live) -> bool:
    try:
        return get(live, "/livez").status_code == 200
    except httpx2.TransportError:
        return False


def test_the_log_needs_no_descriptor_to_tell_of_it() -> None:
    """Python loads a codec, which is a file, when it is first used: here that would be for this very line."""
    source = "import resource, app.logs; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); "
    source += "print(app.logs.printable('socket.accept() out of system resource\\nsocket'))"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, env=clean_env(), capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("socket.accept() out of system resource\\nsocket\n", 0), done.stderr


# ── clocks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

JUMPING_CLOCK = """
import itertools, time

jumps = itertools.cycle([-10**8, 10**8])
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + next(jumps)
time.time_ns = lambda: real_ns() + next(jumps) * 10**9
"""


def test_a_clock_that_jumps_moves_no_deadline(tmp_path: Path) -> None:
    """By years, at every look at it; logs and the Date header may be wrong, deadlines may not."""

    def silence(sock: socket.socket) -> None:
        sock.recv(1)

    with ExitStack() as stack:
        photos = stack.enter_context(origin({"/silence": silence}))
        flags = ("--url-hosts", f"127.0.0.1:{photos.port}", "--url-timeout-s", "0.5", "--body-timeout-s", "1")
        live = stack.enter_context(live_service(*flags, env=sabotaged(tmp_path, JUMPING_CLOCK)))
        stalled = stack.enter_context(connection(live.port))
        began = time.monotonic()
        stalled.sendall(upload_head(BODY) + BODY[:1000])
        assert post(live, TEDDY).status_code == 200
        response = get(live, f"/classify-url?url={photos.url}/silence")
        assert error(response.status_code, response.content) == (504, "fetch_slow")
        assert time.monotonic() - began > 0.5
        status, _, answer = read_response(stalled)
        assert error(status, answer) == (408, "slow_body")
        assert 0.9 < time.monotonic() - began < HANG_S
        assert time.strftime("%Y") not in {line[:4] for line in live.log.read_text().splitlines()}, "it did jump"
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(HANG_S) == 0


def test_only_the_log_and_a_date_for_people_ask_what_time_it_is() -> None:
    """Whatever else asks a clock asks one that cannot jump."""
    found = set()
    for path in (ROOT / "app").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                asks = (node.value.id, node.attr)
                if asks in {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}:
                    found.add(path.name)
    assert found == {"reload.py", "outcome.py"}  # the latter for spans, which other machines' stand beside


# ── the event loop ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_event_loop_answers_while_photos_are_decoded_and_inferred() -> None:
    """Twelve megapixels at a time, on every thread; the tight figure (p99 under 20 ms) is bench.overload's."""
    large = jpeg(bear("grizzly", 1).resize((4000, 3000)))
    with live_service() as live, httpx2.Client(base_url=live.url, timeout=HANG_S, trust_env=False) as client:
        stop, answered = threading.Event(), []

        def keep_uploading() -> None:
            with httpx2.Client(base_url=live.url, timeout=HANG_S, trust_env=False) as own:
                while not stop.is_set():
                    answered.append(own.post("/upload", files={"file": large}).status_code)

        uploading = [threading.Thread(target=keep_uploading) for _ in range(4)]
        for thread in uploading:
            thread.start()
        try:
            until(lambda: len(answered) >= 4)
            before, took = len(answered), []
            for _ in range(100):
                began = time.perf_counter()
                assert client.get("/livez").status_code == 200
                took.append(time.perf_counter() - began)
                time.sleep(0.01)
            assert len(answered) > before
        finally:
            stop.set()
            for thread in uploading:
                thread.join()
        assert set(answered) == {200}
        assert percentile(took, 90) < 0.1
