"""Requests that are malformed, oversized or made to be read in two ways, over raw sockets."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

import pytest
from PIL import Image

from bench.service import memory_mb
from tests.live import Live, live_service
from tests.photos import encode
from tests.wire import (
    BOUNDARY,
    FORM_TYPE,
    TEDDY,
    connection,
    error,
    exchange,
    form,
    get,
    head,
    post,
    read_response,
    upload_head,
)

NO_FILE, BAD, GOOD = (400, "no_file"), (400, "bad_request"), (200, "")
CHUNKED = head(f"Content-Type: {FORM_TYPE}", "Transfer-Encoding: chunked")


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    """Nothing that is done to it here may be a fault of ours."""
    with live_service("--max-upload-mb", "2") as live:
        yield live
        assert get(live, "/readyz").status_code == 200
        assert "Traceback" not in live.log.read_text()


# ── forms ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def part(disposition: str, data: bytes = TEDDY, *headers: str) -> bytes:
    lines = [f"--{BOUNDARY}", *([f"Content-Disposition: {disposition}"] if disposition else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + data + b"\r\n"


FILE = 'form-data; name="file"; filename="a.jpg"'
END = f"--{BOUNDARY}--\r\n".encode()
FORMS: dict[str, tuple[bytes, tuple[int, str]]] = {
    "200 files": (part(FILE, b"x") * 200 + END, BAD),
    "200 fields": (part('form-data; name="file"', b"x") * 200 + END, BAD),
    "64 files and 64 fields": (part(FILE) + part(FILE, b"x") * 63 + part('form-data; name="x"', b"x") * 64 + END, GOOD),
    "200 boundaries that are none": (part(FILE, f"\r\n--{BOUNDARY}x".encode() * 200) + END, BAD),
    "a long field": (part('form-data; name="note"', b"x" * 100_000) + part(FILE) + END, BAD),
    "no final boundary": (part(FILE), BAD),
    "cut within the final boundary": (part(FILE) + END[:-6], BAD),
    "another boundary": (b"--other\r\n\r\n--other--\r\n", BAD),
    "nothing": (b"", BAD),
    "the final boundary alone": (END, NO_FILE),
    "no name": (part('form-data; filename="a.jpg"') + END, BAD),
    "no disposition": (part("") + END, BAD),
    "another name": (part('form-data; name="photo"; filename="a.jpg"') + END, NO_FILE),
    "text instead of a file": (part('form-data; name="file"') + END, BAD),
    "a file without a name of its own": (part('form-data; name="file"; filename=""') + END, GOOD),
    "a path": (part('form-data; name="file"; filename="../../etc/passwd"') + END, GOOD),
    "a NUL": (part('form-data; name="file"; filename="a\0.jpg"') + END, GOOD),
    "bytes that are no text": (part('form-data; name="file"; filename="\xff\xfe.jpg"') + END, GOOD),
    "a name that RFC 7578 forbids": (part("form-data; name=\"file\"; filename*=utf-8''..%2Fa%0D.jpg") + END, BAD),
    "two names": (part('form-data; name="file"; name="file"; filename="a.jpg"') + END, GOOD),
    "a header of 1 MB": (part(FILE, TEDDY, f"X-Long: {'x' * 1_000_000}") + END, BAD),
    "100 headers": (part(FILE, TEDDY, *[f"X-{number}: x" for number in range(100)]) + END, BAD),
    "a header without a name": (part(FILE, TEDDY, ": x") + END, BAD),
    "what comes after the end": (part(FILE) + END + b"x" * 100_000, GOOD),
    "a boundary in the photo": (part(FILE, TEDDY + f"\r\n--{BOUNDARY}x".encode()) + END, GOOD),
    "a form in a photo's place": (part(FILE, part(FILE)[:-2]) + END, (415, "not_an_image")),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(service: Live, name: str) -> None:
    body, expected = FORMS[name]
    status, _, answer = exchange(service.port, upload_head(body) + body)
    assert (GOOD if status == 200 else error(status, answer)) == expected


TYPES = ["application/json", "application/x-www-form-urlencoded", "image/jpeg", "multipart/mixed; boundary=b", ""]
TYPES += ["multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="a\\"b"', "\xff"]


@pytest.mark.parametrize("content_type", TYPES)
def test_what_is_no_form(service: Live, content_type: str) -> None:
    body = json.dumps({"file": "x"}).encode()
    lines = head(f"Content-Length: {len(body)}", "Content-Type: TYPE").replace(b"TYPE", content_type.encode("latin-1"))
    status, _, answer = exchange(service.port, lines + body)
    assert error(status, answer) == NO_FILE


def test_a_boundary_of_30_kb(service: Live) -> None:
    boundary = "b" * 30_000
    body = form(TEDDY).replace(BOUNDARY.encode(), boundary.encode())
    lines = head(f"Content-Type: multipart/form-data; boundary={boundary}", f"Content-Length: {len(body)}")
    status, _, answer = exchange(service.port, lines + body)
    assert error(status, answer) == BAD


# ── chunks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def chunks(body: bytes, size: int) -> bytes:
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("colour", [(7, 0x0A, 0x0D), (0x0A, 0x0D, 0x0A)])
def test_a_photo_that_is_full_of_line_ends_is_no_body_in_tiny_chunks(
    service: Live, colour: tuple[int, int, int]
) -> None:
    """Such as a bitmap of one odd colour."""
    photo = encode(Image.new("RGB", (600, 400), colour), "BMP")
    assert photo.count(b"\r\n") > len(photo) // 4
    status, _, answer = exchange(service.port, CHUNKED, chunks(form(photo), 16384))
    assert status == 200
    assert json.loads(answer) == post(service, photo).json()


def send_tiny_chunks(port: int, count: int) -> bytes:
    """What comes of so many chunks of a byte each; the other side may hang up before it has them all."""
    with connection(port) as sock, contextlib.suppress(ConnectionError):
        with contextlib.suppress(ConnectionError):
            sock.sendall(CHUNKED + b"1\r\nx\r\n" * count)
        return sock.recv(4096)
    return b""


def test_a_million_tiny_chunks_take_no_memory(service: Live) -> None:
    for _ in range(20):
        send_tiny_chunks(service.port, 10_000)
    before = memory_mb(service.process.pid)
    for _ in range(100):
        answer = send_tiny_chunks(service.port, 10_000)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert memory_mb(service.process.pid) - before < 1
    assert post(service, TEDDY).status_code == 200


def test_so_do_chunks_that_come_one_by_one(service: Live) -> None:
    """Each packet holds so few that none looks like a flood."""
    with connection(service.port) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(CHUNKED)
        for _ in range(10_000):
            sock.sendall(b"1\r\nx\r\n" * 3)
        pytest.fail("all of them were taken")


# ── read in two ways ──────────────────────────────────────────────────────────────────────────────────────────────────

HIDDEN = b"GET /livez HTTP/1.1\r\nHost: hidden\r\n\r\n"
FRAMINGS = {
    "length and chunks": (["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    "chunks and length": (["Transfer-Encoding: chunked", "Content-Length: 5"], b"0\r\n\r\n"),
    "two codings": (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], b"0\r\n\r\n"),
    "a coding of its own": (["Transfer-Encoding: xchunked"], b"0\r\n\r\n"),
    "identity": (["Transfer-Encoding: identity"], b"0\r\n\r\n"),
    "a space before the colon": (["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
    "a vertical tab": (["Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n"),
    "a NUL": (["Transfer-Encoding: chunked\0"], b"0\r\n\r\n"),
    "a lone CR": (["X: a\rTransfer-Encoding: chunked"], b"0\r\n\r\n"),
    "lengths that differ": (["Content-Length: 0", "Content-Length: 5"], b"12345"),
    "a list of lengths": (["Content-Length: 5, 6"], b"12345"),
    "a sign": (["Content-Length: +5"], b"12345"),
    "hexadecimal": (["Content-Length: 0x5"], b"12345"),
    "a fraction": (["Content-Length: 5.0"], b"12345"),
    "25 digits": ([f"Content-Length: {'9' * 25}"], b"12345"),
    "a chunk with a sign": (["Transfer-Encoding: chunked"], b"+5\r\n12345\r\n0\r\n\r\n"),
    "a chunk with 0x": (["Transfer-Encoding: chunked"], b"0x5\r\n12345\r\n0\r\n\r\n"),
    "a negative chunk": (["Transfer-Encoding: chunked"], b"-5\r\n12345\r\n0\r\n\r\n"),
    "a chunk of 40 digits": (["Transfer-Encoding: chunked"], b"5" * 40 + b"\r\n12345\r\n0\r\n\r\n"),
    "a chunk longer than it says": (["Transfer-Encoding: chunked"], b"5\r\n1234567\r\n0\r\n\r\n"),
    "a trailer that is none": (["Transfer-Encoding: chunked"], b"0\r\nno trailer\r\n\r\n"),
    "an endless chunk extension": (["Transfer-Encoding: chunked"], b"5;" + b"x" * 100_000),
    "an endless trailer": (["Transfer-Encoding: chunked"], b"0\r\n" + b"A: b\r\n" * 12_000 + b"\r\n"),
}


@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("name", FRAMINGS)
def test_a_body_that_can_be_read_in_two_ways_hides_no_request(service: Live, name: str, method: str) -> None:
    """One answer at most, and the connection is closed: what stands behind it is never taken for a request."""
    headers, body = FRAMINGS[name]
    with connection(service.port) as sock:
        sock.sendall(head(*headers, line=f"{method} /nothing HTTP/1.1") + body + HIDDEN)
        answers = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(65536):
                answers += piece
    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.split()[1] in (b"400", b"404", b"431")
    assert b"alive" not in answers


LINES = {
    "no version": b"GET /livez\r\nHost: a\r\n\r\n",
    "a version of its own": b"GET /livez HTTP/one\r\nHost: a\r\n\r\n",
    "spaces in the path": b"GET /liv ez HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space at the start": b" GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method that is none": b"G(T /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    "a NUL in the path": b"GET /livez\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a header without a colon": b"GET /livez HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n",
    "a header without a name": b"GET /livez HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    "a folded header": b"GET /livez HTTP/1.1\r\n folded: 1\r\nHost: a\r\n\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a proxy's line": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n\r\n",
}


@pytest.mark.parametrize("name", LINES)
def test_what_is_no_request_is_400_in_our_error_shape_and_the_end(service: Live, name: str) -> None:
    with connection(service.port) as sock:
        sock.sendall(LINES[name])
        status, headers, answer = read_response(sock)
        assert error(status, answer) == BAD
        assert headers["connection"] == "close"
        assert sock.recv(1) == b""


@pytest.mark.parametrize("size", [33_000, 60_000, 1_000_000])
@pytest.mark.parametrize("filler", ["one", "many", "path"])
def test_a_head_over_32_kb_is_431_or_closed(service: Live, size: int, filler: str) -> None:
    headers = {"one": [f"X: {'x' * size}"], "many": ["a:"] * (size // 4), "path": []}[filler]
    path = "/livez?" + "x" * size if filler == "path" else "/livez"
    with connection(service.port) as sock:
        try:
            sock.sendall(head(*headers, line=f"GET {path} HTTP/1.1"))
            status, _, answer = read_response(sock)
            assert error(status, answer) == (431, "large_head")
            assert sock.recv(1) == b""
        except ConnectionError:  # closed on what was still on its way
            assert size > 65536


def test_neither_is_one_behind_another_request_taken(service: Live) -> None:
    with connection(service.port) as sock:
        sock.sendall(head(line="GET /livez HTTP/1.1") + head(f"X: {'x' * 40_000}", line="GET /livez HTTP/1.1"))
        answers = b""
        while piece := sock.recv(65536):
            answers += piece
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"431"]
    assert exchange(service.port, head(f"X: {'x' * 32_000}", line="GET /livez HTTP/1.1"))[0] == 200
