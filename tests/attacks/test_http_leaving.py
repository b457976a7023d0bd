"""Clients that leave, half or wholly, at every stage; that do not read; that send on although they were refused."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.live import Live, live_service
from tests.test_serve_load import SLOW, gauge, sample
from tests.wire import (
    BODY,
    FORM_TYPE,
    HANG_S,
    TEDDY,
    connection,
    error,
    exchange,
    form,
    head,
    post,
    read_response,
    until,
)
from tests.wire import upload_head as head_of

FREE_S = 0.1  # by when a place in the line is free
MANY = form(*[SLOW] * 4)  # a second and more of decoding


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    """One thread and the next one's, and room for eight to wait."""
    with live_service("--threads", "1", "--max-waiting", "8") as live:
        yield live
        assert "Traceback" not in live.log.read_text()


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


# ── one side closed ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_client_that_closed_its_own_side_alone_is_answered(service: Live) -> None:
    """As `nc -N` does once it has sent its input; the connection is closed behind the answer."""
    for sent in (head_of(BODY) + BODY, head(line="GET /model HTTP/1.1"), head(line="GET /nothing HTTP/1.1")):
        with connection(service.port) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            status, _, answer = read_response(sock)
            assert status == (404 if b"nothing" in sent else 200)
            assert answer
            assert sock.recv(1) == b""


def test_so_is_one_that_sent_several_requests(service: Live) -> None:
    with connection(service.port) as sock:
        sock.sendall((head_of(BODY) + BODY) * 3)
        sock.shutdown(socket.SHUT_WR)
        answers = read_all(sock)
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.count(b'"verdict":"teddys"') == 3


def test_one_that_closed_its_side_before_it_had_sent_all_is_not(service: Live) -> None:
    with connection(service.port) as sock:
        sock.sendall(head_of(BODY) + BODY[:-10])
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""


# ── gone ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_who_leaves_the_line_makes_room_at_once(service: Live, reset: bool) -> None:
    """Before those who are at work have ended."""
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connection(service.port)).sendall(head_of(MANY) + MANY)
        until(lambda: gauge(service, "running") == 2)
        waiting = [stack.enter_context(connection(service.port)) for _ in range(8)]
        for sock in waiting:
            sock.sendall(head_of(BODY) + BODY)
        until(lambda: gauge(service, "waiting") == 8)
        for sock in waiting:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        began = time.monotonic()
        until(lambda: gauge(service, "waiting") == 0)
        assert time.monotonic() - began < 5 * FREE_S
        assert gauge(service, "running") == 2
    until(lambda: gauge(service, "running") == 0)


def test_who_leaves_during_inference_frees_the_thread_with_the_call_that_runs(service: Live) -> None:
    """The other photos of the request are not looked at: that would take as much CPU as if nobody had left."""

    def cpu_s() -> float:
        return sample(service, "process_cpu_seconds_total")

    before = cpu_s()
    assert post(service, *[SLOW] * 6).status_code == 200
    whole_s, before, body = cpu_s() - before, cpu_s(), form(*[SLOW] * 6)
    with connection(service.port) as sock:
        sock.sendall(head_of(body) + body)
        until(lambda: gauge(service, "running") == 1)
    until(lambda: gauge(service, "running") == 0)
    assert cpu_s() - before < 0.75 * whole_s


def test_who_leaves_during_an_upload_frees_the_memory_that_it_held() -> None:
    """Of bodies of 100 KB at most, 25 may be in memory: those that stall keep others out, until they have left."""
    body = form(bytes(99_800))
    with live_service("--max-upload-mb", "0.1") as live, ExitStack() as stack:
        held: list[socket.socket] = []

        def kept_out_once_one_more_stalls() -> bool:
            held.append(stack.enter_context(connection(live.port)))
            held[-1].sendall(head_of(body) + body[:99_800])
            return post(live, TEDDY).status_code == 503

        until(kept_out_once_one_more_stalls)
        assert len(held) >= 25
        for sock in held:
            sock.close()
        until(lambda: post(live, TEDDY).status_code == 200)
        assert "Traceback" not in live.log.read_text()


# ── slow ones ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def refused_while_sending(port: int) -> bool:
    """http.client reads no answer before it has sent all; here that takes longer than a refusal waits for a byte."""

    def pieces() -> Iterator[bytes]:
        for _ in range(6):
            yield bytes(1000)
            time.sleep(0.6)

    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S)) as asking:
        asking.request("POST", "/nothing", body=pieces(), headers={"Content-Length": "6000"})
        response = asking.getresponse()
        return error(response.status, response.read()) == (404, "not_found")


def answer_not_taken(port: int) -> bool:
    """A client that asks and asks and never reads: its connection is reset some time."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.5)
        with pytest.raises((TimeoutError, ConnectionError)):
            while True:
                sock.sendall(head(line="GET /openapi.json HTTP/1.1") * 100)
        until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)
    return True


def refused_without_end(port: int) -> bool:
    """Past the limit nothing is owed: whoever sends on is cut off."""
    with connection(port) as sock:
        sock.sendall(head(f"Content-Type: {FORM_TYPE}", f"Content-Length: {10**12}"))
        with pytest.raises(ConnectionError):
            for _ in range(HANG_S * 10):
                sock.sendall(bytes(1000))
                time.sleep(0.1)
    return True


def honest_beside_them(port: int) -> bool:
    return exchange(port, head_of(BODY), BODY)[0] == 200


@pytest.fixture(scope="module", autouse=True)
def outcomes() -> Iterator[dict[str, Future[bool]]]:
    """All at once, as each takes seconds: on a service of their own, while the other tests go on."""
    clients = (refused_while_sending, answer_not_taken, refused_without_end, honest_beside_them)
    with live_service() as live, ThreadPoolExecutor(len(clients)) as pool:
        yield {each.__name__: pool.submit(each, live.port) for each in clients}
        assert "Traceback" not in live.log.read_text()


def test_slow_clients_get_their_answer_or_are_cut_off(outcomes: dict[str, Future[bool]]) -> None:
    assert {name: outcome.result() for name, outcome in outcomes.items()} == dict.fromkeys(outcomes, True)
