"""The log: one line for whatever happens, nothing in it that a client wrote, and no request that waits for it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import logs
from app.logs import JsonFormatter
from app.outcome import continue_trace, request_id
from tests.test_http import HTML, URL, running, upload
from tests.wire import TEDDY, scope_of

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


def test_a_request_that_the_server_gives_up_while_nothing_ends_is_499(client: TestClient, lines: Lines) -> None:
    """Ray Serve cancels requests whose clients have left; uvicorn does it at its end alone."""
    form = (b"content-type", b"multipart/form-data; boundary=b")
    scope = scope_of(client.app, "/upload", method="POST", headers=[form, (b"content-length", b"99")])
    sent: list[Any] = []

    async def cancelled() -> None:
        answering = asyncio.create_task(client.app(scope, asyncio.Event().wait, sent.append))
        await asyncio.sleep(0.01)
        answering.cancel()
        await answering

    asyncio.run(cancelled())
    assert (lines.last()["route"], lines.last()["status"], "error" in lines.last(), sent) == ("/upload", 499, False, [])


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
