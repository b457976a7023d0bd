"""Spans of requests, through the real app; what they must not tell, and a collector that is slow or not there."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from app import traces
from app.errors import SettingError
from app.log_writer import NAME
from app.main import create_app
from app.settings import Settings
from tests.live import ROOT, clean_env, free_port
from tests.test_http import URL, FakeFetcher, upload
from tests.wire import HANG_S, TEDDY, scope_of, until

SECRET = "s3cr3t"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FAULT = "https://photos.example.org/fault"


@dataclass(frozen=True)
class Traced:
    client: TestClient
    exporter: InMemorySpanExporter

    def spans(self, response: httpx2.Response, count: int) -> list[ReadableSpan]:
        """The `count` spans of the trace that an answer names, by their start: the request's, then its steps'."""
        trace = int(response.headers["traceparent"][3:35], 16)
        until(lambda: len(self._of(trace)) >= count)
        time.sleep(0.03)  # three times the exporter's delay: were there more, they would be here
        found = sorted(self._of(trace), key=lambda span: span.start_time)
        assert len(found) == count
        return found

    def _of(self, trace: int) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.context.trace_id == trace]


@contextmanager
def running(exporter: SpanExporter | None) -> Iterator[TestClient]:
    """A client of an app that makes traces; its bundle is still loading."""
    fetcher = FakeFetcher({URL: TEDDY, f"{URL}?key={SECRET}": TEDDY, FAULT: None})
    app = create_app(replace(Settings(), traces="otlp"), fetcher=fetcher, exporter=exporter)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    exporter = InMemorySpanExporter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        with running(exporter) as client:
            until(lambda: client.get("/readyz").status_code == 200)
            yield Traced(client, exporter)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that leaves its collector no more than 0.2 s at the end."""
    monkeypatch.setattr(traces, "FLUSH_S", 0.2)


def test_a_request_is_a_span_with_one_below_for_each_step(traced: Traced) -> None:
    response = traced.client.get("/classify-url", params={"url": URL})
    request, *steps = traced.spans(response, 5)
    assert (request.name, request.kind, request.parent) == ("GET /classify-url", SpanKind.SERVER, None)
    assert request.attributes["http.route"] == "/classify-url"
    assert request.attributes["http.status_code"] == 200
    assert request.resource.attributes["service.name"] == "tellapart"
    took = [(step.name, (step.end_time - step.start_time) / 1e6) for step in steps]
    told = [part.split(";dur=") for part in response.headers["server-timing"].split(", ")]
    assert [name for name, _ in took] == [name for name, _ in told] == ["fetch", "wait", "decode", "infer"]
    assert [ms for _, ms in took] == pytest.approx([float(ms) for _, ms in told], abs=0.06)
    assert {step.parent.span_id for step in steps} == {request.context.span_id}
    assert request.start_time <= steps[0].start_time
    assert steps[-1].end_time <= request.end_time


def test_each_photo_of_a_request_has_its_steps(traced: Traced) -> None:
    _, *steps = traced.spans(upload(traced.client, TEDDY, b"text", TEDDY), 7)
    assert [step.name for step in steps] == ["wait", "decode", "infer"] * 2
    assert all(before.end_time <= after.start_time for before, after in pairwise(steps))


def test_the_callers_trace_goes_on_the_same_in_span_answer_and_log(
    traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger=NAME):
        response = upload(traced.client, TEDDY, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    request, *_ = traced.spans(response, 4)
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, CALLER)
    assert response.headers["traceparent"] == f"00-{TRACE}-{request.context.span_id:016x}-01"
    line = caplog.records[-1].fields
    assert (line["trace_id"], line["span_id"]) == (TRACE, f"{request.context.span_id:016x}")


def test_a_callers_trace_that_is_not_sampled_is_named_but_not_kept(traced: Traced) -> None:
    response = upload(traced.client, TEDDY, headers={"traceparent": f"00-{TRACE[::-1]}-{CALLER}-00"})
    assert re.fullmatch(f"00-{TRACE[::-1]}-(?!{CALLER})[0-9a-f]{{16}}-00", response.headers["traceparent"])
    assert traced.spans(response, 0) == []


def test_two_callers_are_none(traced: Traced) -> None:
    both = [("traceparent", f"00-{TRACE}-{CALLER}-01"), ("traceparent", f"00-{TRACE}-{CALLER}-01")]
    (request,) = traced.spans(traced.client.get("/nothing", headers=both), 1)
    assert (request.name, request.parent, request.context.trace_id == int(TRACE, 16)) == ("GET", None, False)


def test_no_span_tells_what_a_client_wrote(traced: Traced) -> None:
    names = ("User-Agent", "Referer", "Cookie", "X-Forwarded-For", "Authorization", "Host", "tracestate", "baggage")
    headers = dict.fromkeys(names, f"a={SECRET}")
    later = {**headers, "traceparent": f"01-{'9' * 32}-{CALLER}-01-{SECRET}"}
    asked = [
        traced.client.get("/classify-url", params={"url": f"{URL}?key={SECRET}"}, headers=later),
        traced.client.get(f"/{SECRET}?{SECRET}", headers=headers),
        traced.client.request(SECRET.upper(), "/upload", headers=headers),
        traced.client.post("/upload", files={"file": (SECRET, SECRET.encode())}, headers=headers),
    ]
    assert [response.status_code for response in asked] == [200, 404, 405, 415]
    found = [
        span for response, count in zip(asked, (5, 1, 1, 1), strict=True) for span in traced.spans(response, count)
    ]
    assert {span.name for span in found} > {"GET /classify-url", "GET", "HTTP /upload", "POST /upload"}
    assert not any(SECRET in span.to_json().lower() for span in found)


def test_bytes_that_are_no_text_trip_nothing(traced: Traced) -> None:
    """The instrumentation alone decodes a query and headers as they come, and fails on these."""
    odd = rb"\x" + b"\xff"
    headers = [(name, odd) for name in (b"host", b"user-agent", b"traceparent")]
    scope = scope_of(traced.client.app, "/nothing", query_string=odd, headers=headers)
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(traced.client.app(scope, lambda: asyncio.sleep(9), send))
    assert sent[0]["status"] == 404


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/static/page.js", "/sw.js"])
def test_what_machines_ask_for_all_day_is_not_traced(traced: Traced, path: str) -> None:
    response = traced.client.get(path)
    assert response.status_code == 200
    assert "traceparent" not in response.headers


def test_a_fault_is_an_error_and_a_refusal_is_none(traced: Traced) -> None:
    fault = traced.client.get("/classify-url", params={"url": FAULT})
    refusal = traced.client.get("/classify-url", params={"url": "http://127.0.0.1/"})
    (failed, _), (refused, _) = traced.spans(fault, 2), traced.spans(refusal, 2)
    assert (failed.attributes["http.status_code"], failed.status.status_code) == (500, StatusCode.ERROR)
    assert (refused.attributes["http.status_code"], refused.status.status_code) == (400, StatusCode.UNSET)


class Stuck(SpanExporter):
    """A collector that takes spans and never answers."""

    def __init__(self) -> None:
        self.asked, self.end = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.end.wait()
        return SpanExportResult.FAILURE


def test_a_collector_that_never_answers_holds_up_neither_requests_nor_the_end(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    stuck = Stuck()
    with running(stuck) as client:
        for _ in range(5):
            assert client.get("/").status_code == 200
        assert stuck.asked.wait(HANG_S)
        started = time.monotonic()
    assert 0.2 <= time.monotonic() - started < 10  # the SDK itself would wait for 30 s
    stuck.end.set()


def test_a_collector_that_is_away_holds_up_neither(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with running(None) as client:
        assert client.get("/").status_code == 200
        started = time.monotonic()
    assert time.monotonic() - started < 10


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An address, and what was posted to it: path and body."""
    posted: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", posted
        finally:
            server.shutdown()
            thread.join()


def test_the_last_spans_are_sent_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "FLUSH_S", HANG_S)  # it ends as soon as they are
    with collector() as (address, posted):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=bears-of-alaska")
        with running(None) as client:
            assert client.get("/").status_code == 200
        ((path, body),) = posted
    assert path == "/v1/traces"
    assert b"bears-of-alaska" in body
    assert b"GET /" in body


def test_a_variable_that_an_import_reads_is_told_too() -> None:
    command = [sys.executable, "-m", "app", "serve", "--port", str(free_port()), "--traces", "otlp"]
    env = clean_env() | {"OTEL_PROPAGATORS": "b3"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "An OTEL_* variable cannot be used: " in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_sdk_can_be_turned_off_by_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with running(InMemorySpanExporter()) as client:
        assert "traceparent" not in client.get("/").headers
        answered = client.get("/", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"}).headers["traceparent"]
        assert TRACE in answered
        assert CALLER not in answered


def test_a_variable_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(SettingError, match=r"^An OTEL_\* variable cannot be used: max_queue_size must be .*[^.]\.$"):
        create_app(replace(Settings(), traces="otlp"))


def test_without_the_extra_one_sentence_and_exit_code_2() -> None:
    source = (
        "import sys\nsys.modules['opentelemetry.instrumentation'] = None\nfrom app.__main__ import main\n"
        "sys.exit(main(['serve', '--traces', 'otlp', '--port', sys.argv[1]]))"
    )
    command = [sys.executable, "-c", source, str(free_port())]
    done = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "ERROR --traces otlp needs the traces extra of pyproject.toml: " in done.stderr
