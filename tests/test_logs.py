"""The log: one line for whatever happens, nothing in it that a client wrote, and no request that waits for it."""

from __future__ import annotations

import fcntl
import json
import logging
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
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app import logs
from app.logs import MAX_WAITING_LINES, JsonFormatter, TextFormatter, Writer
from app.outcome import continue_trace, request_id
from tests.live import ROOT, Live, clean_env, free_port, get, live_service, started
from tests.test_http import HTML, TEDDY, URL, running, upload
from tests.test_serve import HANG_S, exchange, head, origin, until

SECRET = "s3cret"
SPANS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Lines(logging.Handler):
    """Keeps what is logged, as one form writes it."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def last(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.texts[-1])
        return content


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What this process logs meanwhile, as JSON."""
    kept = Lines(JsonFormatter())
    before = logs.log.level
    logs.log.addHandler(kept)
    logs.log.setLevel(logging.INFO)
    yield kept
    logs.log.removeHandler(kept)
    logs.log.setLevel(before)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running() as client:
        yield client


# ── a request's line ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_line_of_an_upload(client: TestClient, lines: Lines) -> None:
    response = upload(client, TEDDY, headers={"X-Request-ID": "order-7.b_2"})
    (text,) = lines.texts
    line = json.loads(text)
    assert re.fullmatch(TIME, line.pop("time"))
    times = {name: line.pop(name) for name in ("total_ms", "wait_ms", "decode_ms", "infer_ms")}
    assert times["total_ms"] > times["decode_ms"] + times["infer_ms"] > 0
    assert line == {
        "level": "INFO",
        "message": "request",
        "id": "order-7.b_2",
        "route": "/upload",
        "method": "POST",
        "status": 200,
        "photos": 1,
        "bundle": response.json()["model"]["version"],
    }


def test_the_line_of_a_url_tells_the_fetch(client: TestClient, lines: Lines) -> None:
    client.get("/classify-url", params={"url": URL})
    line = lines.last()
    assert (line["route"], line["status"], line["photos"]) == ("/classify-url", 200, 1)
    assert line["fetch_ms"] >= 0
    assert list(line)[7:12] == ["total_ms", "fetch_ms", "wait_ms", "decode_ms", "infer_ms"]


def test_the_line_of_several_photos_sums_their_times_and_names_each_error_once(
    client: TestClient, lines: Lines
) -> None:
    response = upload(client, TEDDY, b"text", TEDDY, b"text", TEDDY[:2000])
    line = lines.last()
    assert (line["status"], line["photos"], line["error"]) == (200, 2, "not_an_image,broken_image")
    steps = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    for step in ("wait", "decode", "infer"):
        assert line[f"{step}_ms"] == pytest.approx(float(steps[step]), abs=0.051)


REFUSED = {
    "a blocked URL": ("GET", "/classify-url?url=http://127.0.0.1/", "/classify-url", 400, "blocked_url"),
    "no file": ("POST", "/upload", "/upload", 400, "no_file"),
    "no such path": ("GET", f"/{SECRET}", "unmatched", 404, "not_found"),
    "no such asset": ("GET", f"/static/{SECRET}.js", "/static", 404, "not_found"),
    "another method": ("DELETE", "/upload", "/upload", 405, "method_not_allowed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_line_of_a_refusal_has_its_code(client: TestClient, lines: Lines, name: str) -> None:
    method, path, route, status, code = REFUSED[name]
    response = client.request(method, path)
    line = lines.last()
    assert (line["route"], line["method"], line["status"], line["error"]) == (route, method, status, code)
    assert line["id"] == response.headers["x-request-id"]


def test_a_method_of_the_clients_own_is_other(client: TestClient, lines: Lines) -> None:
    client.request(SECRET.upper(), "/upload")
    assert lines.last()["method"] == "other"


def test_refusals_by_middleware_have_a_line_and_an_id_too(lines: Lines) -> None:
    with running(api_key="right", max_upload_mb=0.1) as client:
        responses = [
            upload(client, TEDDY, headers={"X-Request-ID": "a"}),
            upload(client, bytes(200_000), headers={"X-Request-ID": "b", "Authorization": "Bearer right"}),
            client.get("/metrics", headers={"X-Request-ID": "c"}),
        ]
    expected = [("a", 401), ("b", 413), ("c", 401)]
    told = [json.loads(text) for text in lines.texts]
    assert [(response.headers["x-request-id"], response.status_code) for response in responses] == expected
    assert [(line["id"], line["status"]) for line in told] == expected
    assert [(line["route"], line["error"]) for line in told] == [
        ("/upload", "unauthorized"),
        ("/upload", "too_large"),
        ("/metrics", "unauthorized"),
    ]


def test_probes_have_no_line_while_all_is_well(client: TestClient, lines: Lines) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert client.get(path).headers["x-request-id"]
    assert lines.texts == []
    client.app.state.service.draining = True  # type: ignore[attr-defined]
    try:
        assert client.get("/readyz").status_code == 503
    finally:
        client.app.state.service.draining = False  # type: ignore[attr-defined]
    assert lines.texts == []
    client.post("/readyz")
    assert lines.last()["status"] == 405


def test_a_fault_is_one_line_with_its_traceback_and_a_500_with_its_id(
    client: TestClient, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.routes.as_json", lambda *_: {}["two\nlines"])
    response = upload(client, TEDDY)
    (text,) = lines.texts
    line = json.loads(text)
    assert "\n" not in text
    assert (line["level"], line["status"], line["error"], line["route"]) == ("ERROR", 500, "internal", "/upload")
    assert line["id"] == response.headers["x-request-id"]
    assert line["traceback"].startswith("Traceback (most recent call last):\n")
    assert line["traceback"].endswith("KeyError: 'two\\nlines'\n")
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_nothing_that_a_client_wrote_is_in_any_line(client: TestClient, lines: Lines) -> None:
    headers = dict.fromkeys(("User-Agent", "Referer", "Cookie", "X-Forwarded-For", "Authorization", "Host"), SECRET)
    options: dict[str, Any] = {"headers": {**headers, "X-Request-ID": f"{SECRET} {SECRET}", "traceparent": SECRET}}
    name = f"{SECRET}.jpg"
    client.post(f"/upload?{SECRET}={SECRET}", files={"file": (name, TEDDY)}, **options)
    client.post(f"/upload?top_k={SECRET}", files={"file": (name, TEDDY)}, **options)
    client.post("/upload", files=[("file", (name, b"text")), ("file", (name, TEDDY))], **options)
    client.post(f"/{SECRET}", files={"file": (name, TEDDY)}, **options)
    for url in (
        f"{URL}?{SECRET}",
        f"http://{SECRET}.test/",
        f"http://{SECRET}:{SECRET}@a.test/",
        SECRET,
        f"//{SECRET}",
    ):
        client.get("/classify-url", params={"url": url}, **options)
        client.get("/classify-url", params={"url": url}, headers={**options["headers"], **HTML})
    assert len(lines.texts) == 14
    assert not any(SECRET in text for text in lines.texts)


# ── ids and traces ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ["a", "0-9_A.z", "x" * 64])
def test_a_sane_request_id_is_taken_over(client: TestClient, given: str) -> None:
    assert client.get("/livez", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "ä", "a;b", '"a"', "a=b", "a\x1b[31m", "a\n", "\udcff"])
def test_another_is_replaced(given: str) -> None:
    made = request_id(given)
    assert re.fullmatch("[0-9a-f]{16}", made)
    assert made != request_id(given)


def test_two_request_ids_are_none(client: TestClient) -> None:
    response = client.get("/livez", headers=[("X-Request-ID", "one"), ("X-Request-ID", "two")])
    assert response.headers["x-request-id"] not in ("one", "two", "one, two")


def test_pages_of_listed_origins_may_send_and_read_both() -> None:
    with running(cors_origins=("https://friend.example",)) as client:
        origin = {"Origin": "https://friend.example"}
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-Request-ID, traceparent"}
        preflight = client.options("/upload", headers={**origin, **asked})
        assert preflight.status_code == 200
        assert re.fullmatch("[0-9a-f]{16}", preflight.headers["x-request-id"])
        shown = client.get("/", headers=origin).headers["access-control-expose-headers"]
        assert {"X-Request-ID", "traceparent"} <= set(shown.split(", "))


def test_a_trace_goes_on_in_the_line_and_in_the_answer(client: TestClient, lines: Lines) -> None:
    response = client.get("/nothing", headers={"traceparent": SPANS})
    version, trace, span, flags = response.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert span != "b7ad6b7169203331"
    assert (lines.last()["trace_id"], lines.last()["span_id"]) == (trace, span)


def test_without_a_trace_none_is_begun(client: TestClient, lines: Lines) -> None:
    assert "traceparent" not in client.get("/nothing").headers
    two = [("traceparent", SPANS), ("traceparent", SPANS)]
    assert "traceparent" not in client.get("/nothing", headers=two).headers
    assert "trace_id" not in lines.last()


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        (SPANS, "01"),
        (SPANS[:-1] + "0", "00"),
        (SPANS[:-2] + "ff", "03"),
        ("cc" + SPANS[2:] + "-what-later-versions-add", "01"),
    ],
)
def test_valid_traceparents(given: str, flags: str) -> None:
    """W3C Trace Context §3.2.2 and §4.3: a later version is read as far as it is known."""
    assert re.fullmatch(rf"00-{given[3:35]}-[0-9a-f]{{16}}-{flags}", continue_trace(given))


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00",
        SPANS.upper(),
        SPANS[:-1],
        SPANS + "0",
        SPANS + "-more",
        "ff" + SPANS[2:],
        "cc" + SPANS[2:] + "more",
        SPANS.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        SPANS.replace("b7ad6b7169203331", "0" * 16),
        SPANS.replace("0af7", "0ag7"),
        SPANS + "\n",
    ],
)
def test_traceparents_that_are_none(given: str) -> None:
    assert continue_trace(given) == ""


# ── the two forms ─────────────────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = "a\r\nb\tc\x1b[31md\x00e\x7ff\x85g\u2028h\u202ei\udcffj"


def record(message: str, fault: Exception | None = None, **fields: object) -> logging.LogRecord:
    content = {"name": "tellapart", "levelname": "INFO", "msg": message, "fields": fields}
    return logging.makeLogRecord({**content, "exc_info": fault and (type(fault), fault, fault.__traceback__)})


def test_the_text_form() -> None:
    line = TextFormatter().format(record("request", id="a-1", route="/upload", status=200, total_ms=1.5, error="a,b"))
    assert re.fullmatch(rf'{TIME} INFO request id=a-1 route=/upload status=200 total_ms=1.5 error="a,b"', line)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_whatever_a_line_holds_it_is_one_line_of_what_can_be_printed(formatter: logging.Formatter) -> None:
    line = formatter.format(record(HOSTILE, detail=HOSTILE))
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x80-\x9f\u2028\u202e\udcff]", line)
    assert formatter.format(record("Bär 🐻")).endswith(("Bär 🐻", '"B\\u00e4r \\ud83d\\udc3b"}'))


def test_a_traceback_as_text_cannot_pass_for_lines_of_the_log() -> None:
    try:
        raise ValueError(f"first\n2026-11-26T10:00:00.000Z INFO {HOSTILE}")
    except ValueError as error:
        lines = TextFormatter().format(record("request", error)).split("\n")
    assert re.fullmatch(rf"{TIME} INFO request", lines[0])
    assert all(line.startswith("  | ") and line.isprintable() for line in lines[1:])
    assert len(lines) > 4


def test_an_endless_exception_is_cut() -> None:
    try:
        raise ValueError("x" * 10**6 + " and the end")
    except ValueError as error:
        line = JsonFormatter().format(record("request", error))
    assert len(line) < 10_000
    assert json.loads(line)["traceback"].endswith(" and the end\n")


def test_other_programs_lines_name_their_source() -> None:
    other = logging.makeLogRecord({"name": "uvicorn.error", "levelname": "ERROR", "msg": "%s", "args": ("x",)})
    assert TextFormatter().format(other).endswith(" ERROR uvicorn.error: x")
    assert json.loads(JsonFormatter().format(other))["logger"] == "uvicorn.error"


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_waits_for_a_pipe_that_is_not_read() -> None:
    """Lines past the bound are lost, and the next one that can be written says how many were."""
    read, write = os.pipe()
    writer = Writer(write)
    writer.setFormatter(TextFormatter())
    started_at = time.monotonic()
    for number in range(MAX_WAITING_LINES + 2000):
        writer.handle(record("request", number=number, filler="x" * 80))
    writer.close()  # does not wait for ever either
    assert time.monotonic() - started_at < 20
    text, kept, lost = b"", 0, 0
    while kept + lost < MAX_WAITING_LINES + 2000:
        text += os.read(read, 65536)
        kept = text.count(b"number=")
        lost = sum(map(int, re.findall(rb" WARNING (\d+) lines of this log were lost: .*\n", text)))
    assert kept + lost == MAX_WAITING_LINES + 2000
    assert 1000 < lost < 2000
    os.close(read)
    os.close(write)


def test_a_pipe_that_was_closed_breaks_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    writer = Writer(write)
    for formatter in (TextFormatter(), None):
        writer.setFormatter(formatter)
        writer.handle(record("request"))
        writer.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
    writer.close()
    os.close(write)
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_loses_lines_and_says_so_when_there_is_room_again(tmp_path: Path) -> None:
    """A line of which only the beginning was written does not swallow the next one's."""
    path, (read, write) = tmp_path / "log", os.pipe()
    os.set_blocking(write, False)
    writer = Writer(write)
    writer.setFormatter(JsonFormatter())
    writer.handle(record("x" * 200_000))
    until(lambda: writer._torn)
    with Path("/dev/full").open("wb", buffering=0) as full:
        os.dup2(full.fileno(), write)
    torn = os.read(read, 10**6)  # now it tries to write the rest
    until(lambda: writer._lost == 1)
    writer.handle(record("lost"))
    until(lambda: writer._lost == 2)
    with path.open("wb", buffering=0) as file:
        file.write(torn)
        os.dup2(file.fileno(), write)
    writer.handle(record("written"))
    writer.close()
    os.close(read)
    os.close(write)
    half, *lines = path.read_bytes().splitlines()
    assert half == torn
    assert [json.loads(line)["message"] for line in lines] == [
        "2 lines of this log were lost: they could not be written.",
        "written",
    ]


def test_a_pipe_that_blocks_no_writer_is_waited_for() -> None:
    """What some supervisors give."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    writer = Writer(write)
    writer.setFormatter(TextFormatter())
    for number in range(2000):
        writer.handle(record("request", number=number, filler="x" * 80))
    text = b""
    while b"number=1999" not in text:
        text += os.read(read, 65536)
    writer.close()
    assert len(text.splitlines()) == 2000


# ── the process ───────────────────────────────────────────────────────────────────────────────────────────────────────


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
