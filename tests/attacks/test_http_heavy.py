"""Requests that are small and legal, and made to cost the event loop much: while it works, nobody else is answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.service import cpu_s
from tests.live import Live, live_service
from tests.test_dialects import INFER
from tests.wire import BOUNDARY, FORM_TYPE, connection, get, head, read_response, upload_head

BAR_S = 0.04  # of CPU for a request of 32 KB, or a read of 64 KB
KB = 1000
HEADERS = (
    "Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Type", "Cookie", "Expect",
    "Forwarded", "If-Modified-Since", "If-None-Match", "If-Range", "Inference-Header-Content-Length", "Origin", "Range",
    "TE", "traceparent", "Upgrade", "X-Forwarded-For", "X-Request-ID",
)  # fmt: skip
FILLERS = {
    "commas": ",", "semicolons": ";", "pairs": "a=b; ", "types": "a/b;q=0.1,", "ranges": "bytes=0-0,", "quotes": '"',
    "escapes": '\\"', "spaces": "x \t", "dashes": "--", "tags": 'W/"a", ', "base64": "Basic eDp5", "percent": "%41",
}  # fmt: skip
INFERS = f"POST {INFER}"
PATHS = (
    "GET /static/page.css", "GET /model", "GET /metrics", "POST /upload", "GET /classify-url?url=x", "GET /",
    INFERS, "POST /hf",
)  # fmt: skip


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    with live_service() as live:
        yield live
        assert get(live, "/readyz").status_code == 200
        assert "Traceback" not in live.log.read_text()


def cpu_of(live: Live, *requests: bytes) -> float:
    """The seconds of CPU that the service takes to answer these, to which a busy machine hardly adds any."""
    before = cpu_s(live.process.pid)
    for sent in requests:
        with connection(live.port) as sock:
            sock.sendall(sent)
            assert 200 <= read_response(sock)[0] < 500
    return cpu_s(live.process.pid) - before


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_of_30_kb_holds_the_event_loop(service: Live, name: str) -> None:
    for filler, text in FILLERS.items():
        value = (text * (30 * KB // len(text)))[: 30 * KB].strip()
        requests = [head(f"{name}: {value}", line=f"{path} HTTP/1.1") for path in PATHS]
        assert cpu_of(service, *requests) < len(PATHS) * BAR_S, filler


@pytest.mark.parametrize("line", ["a:b", "a:", "Accept:a", "If-None-Match:a"])
def test_no_head_of_thousands_of_headers_does(service: Live, line: str) -> None:
    lines = [line] * (30 * KB // (len(line) + 4))
    requests = [head(*lines, line=f"{path} HTTP/1.1") for path in PATHS]
    assert cpu_of(service, *requests) < len(PATHS) * BAR_S


@pytest.mark.parametrize("text", ["a&", "url=x&", "%41", "+", "a=b;", "&", "=", "explain=black&"])
def test_no_query_does(service: Live, text: str) -> None:
    query = text * (30 * KB // len(text))
    paths = ("GET /classify-url", "POST /upload", "GET /nothing")
    assert cpu_of(service, *[head(line=f"{path}?{query} HTTP/1.1") for path in paths]) < len(paths) * BAR_S


DUST = {
    "boundaries that are none": f"\r\n--{BOUNDARY}x",
    "boundaries with spaces": f"\r\n--{BOUNDARY} ",
    "half boundaries": f"\r\n--{BOUNDARY[:-1]}",
    "line ends": "\r\n",
    "CRs": "\r",
    "dashes": "\r\n--",
}


@pytest.mark.parametrize("name", DUST)
def test_no_form_does(service: Live, name: str) -> None:
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
    filler = DUST[name].encode()
    body = start + filler * (4000 * KB // len(filler)) + f"\r\n--{BOUNDARY}--\r\n".encode()
    assert cpu_of(service, upload_head(body) + body) < 4000 / 64 * BAR_S


GRAINS = {
    "numbers": "200,", "long numbers": "7" * 40 + ",", "longer numbers": "7" * 4000 + ",", "words": "true,",
    "fractions": "0.123456789e-7,", "lists": "[],", "lists in lists": "[", "objects": "{},", "texts": '"",',
    "escapes": "\\n", "spaces": " ",
}  # fmt: skip


@pytest.mark.parametrize("name", GRAINS)
def test_no_json_does(service: Live, name: str) -> None:
    """Most of it is refused before it is read; the rest while another thread may run."""
    filler = GRAINS[name]
    for start, end in (('{"inputs": [', "1]}"), ('{"inputs": "', '"}')):
        body = (start + filler * (4000 * KB // len(filler)) + end).encode()
        for line in (INFERS, "POST /hf"):
            sent = upload_head(body, line=f"{line} HTTP/1.1") + body
            assert cpu_of(service, sent) < 4000 / 64 * BAR_S


def test_no_body_in_small_packets_does(service: Live) -> None:
    """A preamble, and a part of headers alone, a hundred bytes at a time."""
    for body in (b"\r\n" * 30 * KB, f"--{BOUNDARY}\r\n".encode() + b"A: b\r\n" * 1000):
        before = cpu_s(service.process.pid)
        with connection(service.port) as sock:
            sock.sendall(head(f"Content-Type: {FORM_TYPE}", f"Content-Length: {len(body)}"))
            for first in range(0, len(body), 100):
                sock.sendall(body[first : first + 100])
            assert read_response(sock)[0] == 400
        assert cpu_s(service.process.pid) - before < len(body) / 100 * BAR_S / 100
