"""What a real service refuses, over real sockets: bodies too large, requests that are none, clients that are slow."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx2
import pytest

from tests.live import Live, live_service
from tests.wire import (
    BODY,
    FORM_TYPE,
    HANG_S,
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

MB = 1_000_000


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    """A service that takes bodies up to 1 MB, for 8 s. Nothing that is done to it here may be a fault of ours."""
    with live_service("--max-upload-mb", "1", "--body-timeout-s", "8") as live:
        yield live
        assert "Traceback" not in live.log.read_text()


# ── sizes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_body_in_tiny_chunks_is_cut_off(service: Live) -> None:
    with connection(service.port) as sock:
        sock.sendall(head(f"Content-Type: {FORM_TYPE}", "Transfer-Encoding: chunked"))
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                sock.sendall(b"1\r\nx\r\n" * 10_000)
        with contextlib.suppress(ConnectionError):  # closed on what was still on its way
            status, _, answer = read_response(sock)
            assert error(status, answer) == (400, "bad_request")
        assert closed(sock)
    assert post(service, TEDDY).status_code == 200


def test_a_body_over_the_limit_by_its_length(service: Live) -> None:
    """The client sends all of it before it looks for an answer, and can still read one."""
    body = form(bytes(30 * MB))
    status, headers, answer = exchange(service.port, upload_head(body), body)
    assert error(status, answer) == (413, "too_large")
    assert headers["content-type"] == "application/json"
    assert b"1 MB" in answer


def test_a_body_over_the_limit_by_its_chunks(service: Live) -> None:
    chunked = head(f"Content-Type: {FORM_TYPE}", "Transfer-Encoding: chunked")
    start, chunk = form(b"")[:80], bytes(0x10000)
    chunks = [b"%x\r\n%s\r\n" % (len(data), data) for data in [start, *[chunk] * 200]]
    status, _, answer = exchange(service.port, chunked, *chunks, b"0\r\n\r\n")
    assert error(status, answer) == (413, "too_large")


def test_httpx2_reads_the_refusal_of_a_large_body(service: Live) -> None:
    by_length = post(service, bytes(10 * MB))
    assert error(by_length.status_code, by_length.content) == (413, "too_large")
    pieces = (form(b"")[:80] + bytes(100_000) for _ in range(100))
    headers = {"Content-Type": FORM_TYPE}
    by_chunks = httpx2.post(f"{service.url}/upload", content=pieces, headers=headers, timeout=HANG_S, trust_env=False)
    assert error(by_chunks.status_code, by_chunks.content) == (413, "too_large")


def test_a_client_that_asks_first_sends_no_body(service: Live) -> None:
    """Expect: 100-continue, as curl does with large files."""
    with connection(service.port) as sock:
        sock.sendall(upload_head(bytes(2 * MB), "Expect: 100-continue"))
        status, _, answer = read_response(sock)
    assert error(status, answer) == (413, "too_large")
    body = form(TEDDY)
    with connection(service.port) as sock:
        sock.sendall(upload_head(body, "Expect: 100-continue"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n" or pytest.fail("no 100 Continue")
        sock.sendall(body)
        assert read_response(sock)[0] == 200


def test_a_body_over_the_limit_is_refused_wherever_it_is_sent(service: Live) -> None:
    body = form(bytes(5 * MB))
    for line, refusal in (
        ("POST /nothing HTTP/1.1", (404, "not_found")),
        ("POST /model HTTP/1.1", (405, "method_not_allowed")),
        ("GET /classify-url?url=http://127.0.0.1/ HTTP/1.1", (413, "too_large")),
    ):
        declared = head(f"Content-Length: {len(body)}", line=line)
        status, _, answer = exchange(service.port, declared, body)
        assert error(status, answer) == refusal


def test_a_head_over_32_kb_is_refused(service: Live) -> None:
    large = [f"X-{number}: {'x' * 1000}" for number in range(64)]
    with connection(service.port) as sock:
        try:
            sock.sendall(head(*large, line="GET /livez HTTP/1.1"))
            answer = sock.recv(1000)
        except ConnectionError:  # closed on what was still on its way
            answer = b""
    assert answer == b"" or answer.split()[1] in (b"400", b"431")
    assert exchange(service.port, head(*large[:24], line="GET /livez HTTP/1.1"))[0] == 200


# ── requests that are none ────────────────────────────────────────────────────────────────────────────────────────────

MALFORMED = {
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": head("Host: one", "Host: two", line="GET /livez HTTP/1.1"),
    "length and chunks": upload_head(BODY, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "two lengths": upload_head(BODY, "Content-Length: 5") + BODY,
    "a negative length": head(f"Content-Type: {FORM_TYPE}", "Content-Length: -5") + BODY,
    "no length": head(f"Content-Type: {FORM_TYPE}", "Content-Length: many") + BODY,
    "gzip chunks": head(f"Content-Type: {FORM_TYPE}", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "a folded header": head("X-One: 1\r\n folded: 2\r\nX\x00: 3", line="GET /livez HTTP/1.1"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_400_and_the_connection_closed(service: Live, name: str) -> None:
    with connection(service.port) as sock:
        sock.sendall(MALFORMED[name])
        status, headers, _ = read_response(sock)
        assert status == 400
        assert headers["connection"] == "close"
        assert sock.recv(1) == b""


def test_a_malformed_body_after_or_before_the_answer_is_no_fault(service: Live) -> None:
    """At once with its head, no answer of the app's may follow the 400; later, no 400 may follow the app's answer."""
    for line, early in (("POST /nothing HTTP/1.1", 404), ("GET /livez HTTP/1.1", 200)):
        chunked, garbage = head("Transfer-Encoding: chunked", line=line), b"zz\r\n"
        with connection(service.port) as sock:
            sock.sendall(chunked + garbage)
            assert read_response(sock)[0] == 400
            assert closed(sock)
        with connection(service.port) as sock:
            sock.sendall(chunked)
            assert read_response(sock)[0] == early
            sock.sendall(garbage)
            assert closed(sock)
    assert "Traceback" not in service.log.read_text()


# ── those who are slow or leave ───────────────────────────────────────────────────────────────────────────────────────


def closed(sock: socket.socket) -> bool:
    """Whether the other side closes without a word."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def dripped_until_closed(sock: socket.socket) -> bool:
    """Send a byte every 0.2 s; whether that ends some time."""
    sock.settimeout(0.2)
    for _ in range(HANG_S * 5):
        try:
            sock.sendall(b"x")
            return sock.recv(1) == b""
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def silent(port: int) -> bool:
    with connection(port) as sock:
        return closed(sock)


def partial_head(port: int) -> bool:
    with connection(port) as sock:
        sock.sendall(head()[:-2])
        return closed(sock)


def dripped_head(port: int) -> bool:
    with connection(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        return dripped_until_closed(sock)


def partial_head_after_an_answer(port: int) -> bool:
    with connection(port) as sock:
        sock.sendall(head(line="GET /livez HTTP/1.1") + head()[:-2])
        assert read_response(sock)[0] == 200
        return closed(sock)


def stalled_body(port: int) -> bool:
    with connection(port) as sock:
        sock.sendall(upload_head(BODY) + BODY[:1000])
        status, _, answer = read_response(sock)
        return error(status, answer) == (408, "slow_body")


def dripped_body_after_the_answer(port: int) -> bool:
    """Nothing waits for the rest of it, so no clock on bodies runs."""
    with connection(port) as sock:
        sock.sendall(head("Content-Length: 1000", line="GET /livez HTTP/1.1"))
        assert read_response(sock)[0] == 200
        return dripped_until_closed(sock)


def honest_beside_them(port: int) -> bool:
    return exchange(port, upload_head(BODY), BODY)[0] == 200


@pytest.fixture(scope="module", autouse=True)
def outcomes() -> Iterator[dict[str, Future[bool]]]:
    """All at once, as each takes the five seconds of its clock: on a service of their own, while other tests go on."""
    slow = (silent, partial_head, dripped_head, partial_head_after_an_answer, stalled_body)
    clients = (*slow, dripped_body_after_the_answer, honest_beside_them)
    with live_service("--body-timeout-s", "8") as live, ThreadPoolExecutor(len(clients)) as pool:
        yield {each.__name__: pool.submit(each, live.port) for each in clients}
        assert "Traceback" not in live.log.read_text()


def test_a_body_has_a_limit_in_all() -> None:
    """A byte every 0.1 s never stalls, but takes too long."""
    with live_service(env={"TELLAPART_BODY_TIMEOUT_S": "0.5"}) as live, connection(live.port) as sock:
        sock.sendall(upload_head(BODY))
        stop = threading.Event()

        def drip() -> None:
            for byte in BODY:
                if stop.wait(0.1):
                    return
                sock.sendall(bytes([byte]))

        dripping = threading.Thread(target=drip)
        dripping.start()
        status, _, answer = read_response(sock)
        stop.set()
        dripping.join()
        assert error(status, answer) == (408, "slow_body")


def test_clients_that_leave_during_an_upload_do_no_harm(service: Live) -> None:
    for sent in (0, 1, 500, len(BODY) - 1, len(BODY)):
        for reset in (False, True):
            with connection(service.port) as sock:
                sock.sendall(upload_head(BODY) + BODY[:sent])
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert get(service, "/readyz").status_code == 200
    assert post(service, TEDDY).status_code == 200


def test_slow_clients_lose_their_connection(outcomes: dict[str, Future[bool]]) -> None:
    assert {name: outcome.result() for name, outcome in outcomes.items()} == dict.fromkeys(outcomes, True)
