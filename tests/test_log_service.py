"""The log of the real process: a line for whatever happens, from its start to its end."""

import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.live import ROOT, Live, clean_env, free_port, get, live_service, started
from tests.test_logs import SECRET, TIME
from tests.test_serve import HANG_S, exchange, head, origin, until
from tests.wire import TEDDY


@pytest.fixture(scope="module", params=["text", "json"])
def service(request: pytest.FixtureRequest) -> Iterator[tuple[str, Live]]:
    with live_service("--log-format", request.param, "--max-upload-mb", "1") as live:
        yield request.param, live


def read_lines(live: Live, count: int) -> list[str]:
    """The log, once it has so many lines."""
    until(lambda: len(live.log.read_text().splitlines()) >= count)
    return live.log.read_text().splitlines()


RAW = {
    "a path": head(line="GET /%0d%0aINFO%20forged%1b[31m%00 HTTP/1.1"),
    "bytes in a path": b"GET /\xff\xe2\x80\xa8\x85 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a query": head(line="GET /classify-url?url=http://a%0d%0aINFO%20forged%1b[31m.test/ HTTP/1.1"),
    "a request id": head("X-Request-ID: a\x1b[31mforged", line="GET /forged HTTP/1.1"),
    "a method": head(line=f"{'FORGED' * 1000} / HTTP/1.1"),
    "no HTTP": b"forged \x1b[31m\x00\xff\r\n\r\n",
    "an upgrade": head("Connection: Upgrade", "Upgrade: forged", line="GET /forged HTTP/1.1"),
    "two lengths": head("Content-Length: 5", "Transfer-Encoding: chunked", line="POST /forged HTTP/1.1") + b"0\r\n\r\n",
}


@pytest.mark.parametrize("name", RAW)
def test_a_hostile_request_is_one_line(service: tuple[str, Live], name: str) -> None:
    form, live = service
    before = len(live.log.read_text().splitlines())
    status = exchange(live.port, RAW[name])[0]
    line = read_lines(live, before + 1)[-1]
    fields = json.loads(line) if form == "json" else dict(re.findall(r"(\w+)=(\S+)", line))
    assert int(fields["status"]) == status >= 400
    assert re.match(rf"{TIME} INFO request ", line) or form == "json"
    time.sleep(0.05)
    (added,) = live.log.read_bytes().splitlines()[before:]
    assert not re.search(rb"forged|[\x00-\x1f\x7f-\xff]", added, re.IGNORECASE)


def test_a_client_that_left_is_499(service: tuple[str, Live]) -> None:
    form, live = service
    before = len(live.log.read_text().splitlines())
    with socket.create_connection(("127.0.0.1", live.port)) as sock:
        sock.sendall(head("Content-Type: multipart/form-data; boundary=b", "Content-Length: 999") + b"--b\r\n")
        time.sleep(0.1)
    assert ('"status": 499' if form == "json" else "status=499") in read_lines(live, before + 1)[before]


def test_no_library_logs_the_url_that_is_fetched() -> None:
    """httpx2 logs it at INFO, httpcore2 at DEBUG, uvicorn the query of every request."""
    with origin(TEDDY) as (port, asked), live_service("--url-hosts", f"127.0.0.1:{port}") as live:
        status, _ = get(live.port, f"/classify-url?url=http://127.0.0.1:{port}/{SECRET}.jpg?{SECRET}")
        assert (status, asked) == (200, [f"/{SECRET}.jpg?{SECRET}"])
        until(lambda: "route=/classify-url" in live.log.read_text())
        assert SECRET not in live.log.read_text()
        assert len(live.log.read_text().splitlines()) == 2


def test_start_requests_and_stop_are_objects_where_json_is_asked_for() -> None:
    with live_service(env={"TELLAPART_LOG_FORMAT": "json"}) as live:
        get(live.port, "/model")
        read_lines(live, 2)
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(HANG_S) == 0
        lines = [json.loads(line) for line in live.log.read_text().splitlines()]
    assert [line["level"] for line in lines] == ["INFO"] * 4
    serves, request, stops, stopped = (line["message"] for line in lines)
    assert serves.startswith("tellapart serves bears ")
    assert request == "request"
    assert (stops, stopped) == ("tellapart stops within 20 s, on SIGTERM.", "tellapart has stopped.")


def test_a_refused_bundle_is_an_object_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "serve", "--log-format", "json", "--port", str(free_port())]
    done = subprocess.run([*command, "--model", tmp_path], cwd=ROOT, env=clean_env(), capture_output=True, timeout=60)
    line = json.loads(done.stderr)
    assert (done.returncode, done.stdout, line["level"]) == (3, b"", "ERROR")
    assert line["message"].startswith(f"{tmp_path} has no model.json: ")


@contextmanager
def serving(redirection: str) -> Iterator[Live]:
    """A service whose stderr a shell has put elsewhere."""
    port = free_port()
    command = f"exec {shlex.quote(sys.executable)} -m app serve --port {port} {redirection}"
    with started(["sh", "-c", command], port, cwd=ROOT, env=clean_env()) as live:
        yield live


def test_a_fault_that_ends_the_process_is_an_object_as_well() -> None:
    source = (
        "import sys, app.server, app.__main__\n"
        "app.server.serve = lambda settings: 1 / 0\n"
        "sys.exit(app.__main__.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", source, "serve", "--log-format", "json"]
    done = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, timeout=60)
    line = json.loads(done.stderr)
    assert (done.returncode, line["level"], line["message"]) == (1, "ERROR", "tellapart has failed.")
    assert line["traceback"].endswith("ZeroDivisionError: division by zero\n")


def test_a_log_that_nobody_reads_holds_up_no_request(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    with serving(f"2>{shlex.quote(str(pipe))}") as live, httpx2.Client(base_url=live.url, trust_env=False) as client:
        for _ in range(100):
            assert client.get("/nothing").status_code == 404
        assert client.post("/upload", files={"file": TEDDY}).status_code == 200
        live.process.send_signal(signal.SIGINT)
        assert live.process.wait(HANG_S) == 0
    assert 3000 < len(os.read(reader, 10**6)) <= 4096
    os.close(reader)


def test_without_a_stderr_no_socket_takes_its_place() -> None:
    with serving("2>&-") as live:
        assert httpx2.post(f"{live.url}/upload", files={"file": TEDDY}, trust_env=False).status_code == 200
        assert Path(f"/proc/{live.process.pid}/fd/2").readlink() == Path(os.devnull)
        assert live.log.read_text() == ""
