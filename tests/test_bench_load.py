"""Whether the load generator sees what a real server does."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench.client import FAILED, NOT_SENT, Answer, Client
from bench.load import arrivals, closed, offered, upload
from bench.overload import burst
from tests.live import free_port

HANG_S = 30.0


class Handler(BaseHTTPRequestHandler):
    """Answers by path and by what the body holds."""

    protocol_version = "HTTP/1.1"
    server: Small

    def do_GET(self) -> None:
        self.give(200)

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.peers[self.client_address[1]] += 1
        length = int(self.headers["Content-Length"])
        if length > 1_000_000:  # refused before it is read: whoever sends it all first waits for ever
            self.give(503, {"Retry-After": "7"})
            assert self.server.go_on.wait(HANG_S)
            self.rfile.read(length)
            self.server.read.set()
            return
        body = self.rfile.read(length)
        if b"hang up" in body:
            self.close_connection = True
        elif b"in pieces" in body:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-")
            time.sleep(0.05)
            self.wfile.write(b"Length: 4\r\n\r\nab")
            time.sleep(0.05)
            self.wfile.write(b"cd")
        elif b"chunked" in body:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            time.sleep(0.05)
            self.wfile.write(b"0\r\n\r\n")
        elif b"close" in body:
            self.give(200, {"Connection": "close"})
        elif b"wait" in body:
            assert self.server.go_on.wait(HANG_S)
            self.give(200)
        else:
            self.give(self.server.first.pop() if self.server.first else 200, {"Retry-After": "1"})

    def give(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": "2"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Small(ThreadingHTTPServer):
    """A server on loopback; those that wait do so until `go_on`, and `read` tells that a refused body was read."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.lock = threading.Lock()
        self.go_on, self.read = threading.Event(), threading.Event()
        self.first: list[int] = []  # statuses of the first uploads, the last one first
        self.peers: Counter[int] = Counter()  # uploads by connection


@pytest.fixture
def small() -> Iterator[Small]:
    with Small() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@contextmanager
def asking(port: int, most: int = 100) -> Iterator[tuple[Client, list[Answer]]]:
    answers: list[Answer] = []
    with Client(port, most) as client:
        yield client, answers


def run(client: Client, seconds: float = HANG_S) -> None:
    client.run(time.perf_counter() + seconds)


def statuses(answers: list[Answer]) -> list[int]:
    return [answer.status for answer in answers]


def test_answers_are_counted_as_they_are(small: Small) -> None:
    small.first = [418, 500, 503, 200]
    with asking(small.port) as (client, answers):
        for body in (b"", b"", b"", b"", b"in pieces", b"chunked", b"close", b"hang up", b""):
            client.ask(upload(body), time.perf_counter(), answers.append)
            run(client)
    assert statuses(answers) == [200, 503, 500, 418, 200, 200, 200, FAILED, 200]
    assert answers[1].retry_after == "1"
    assert sorted(small.peers.values()) == [1, 1, 7]  # one connection, until it is closed


def test_an_early_refusal_counts_when_it_comes_and_the_connection_is_used_again(small: Small) -> None:
    with asking(small.port) as (client, answers):

        def done(answer: Answer) -> None:
            answers.append(answer)
            small.go_on.set()  # only now the server reads on

        client.ask(upload(bytes(30_000_000)), time.perf_counter(), done)
        run(client)
        assert [(answer.status, answer.retry_after) for answer in answers] == [(503, "7")]

        def again(due: float) -> None:
            if small.read.is_set():
                client.ask(upload(b""), due, answers.append)
            else:
                client.at(due + 0.01, again)

        again(time.perf_counter())
        run(client)
    assert statuses(answers) == [503, 200]
    assert list(small.peers.values()) == [2]


def test_a_request_on_a_connection_closed_for_being_idle_is_sent_again(small: Small) -> None:
    with asking(small.port) as (client, answers):
        for body, idle_s in ((b"", 0.0), (b"hang up", 2.0), (b"", 0.0), (b"hang up", 0.0)):
            for connection in client._free:
                connection.freed -= idle_s  # as if it had waited so long
            client.ask(upload(body), time.perf_counter(), answers.append)
            run(client)
    assert statuses(answers) == [200, FAILED, 200, FAILED]
    assert sorted(small.peers.values()) == [1, 2, 2]  # the second upload came twice, the fourth once


def test_latency_counts_from_when_a_request_was_due(small: Small) -> None:
    with asking(small.port) as (client, answers):
        client.at(time.perf_counter() - 100, lambda due: client.ask(upload(b""), due, answers.append))
        run(client)
    assert 100 <= answers[0].seconds < 100 + HANG_S


def test_a_request_waits_for_no_other(small: Small) -> None:
    with asking(small.port) as (client, answers):
        client.ask(upload(b"wait"), time.perf_counter(), answers.append)
        client.ask(upload(b""), time.perf_counter(), lambda answer: (answers.append(answer), small.go_on.set()))
        run(client)
    assert statuses(answers) == [200, 200]
    assert answers[0].seconds < answers[1].seconds
    assert len(small.peers) == 2


def test_connections_are_bounded_and_what_was_not_sent_is_told(small: Small) -> None:
    with asking(small.port, most=2) as (client, answers):
        for _ in range(3):
            client.ask(upload(b"wait"), time.perf_counter(), answers.append)
        assert statuses(answers) == [NOT_SENT]
        small.go_on.set()
        run(client)
    assert statuses(answers) == [NOT_SENT, 200, 200]


def test_what_is_never_answered_has_failed(small: Small) -> None:
    with asking(small.port) as (client, answers):
        client.ask(upload(b"wait"), time.perf_counter(), answers.append)
        run(client, 0.2)
    with asking(free_port()) as (client, _):
        client.ask(upload(b""), time.perf_counter(), answers.append)
        run(client)
    assert statuses(answers) == [FAILED, FAILED]


def test_a_closed_loop_keeps_as_many_under_way_as_it_has_clients(small: Small) -> None:
    load = closed(small.port, [upload(b""), upload(b"x")], 3, 0.3, "/livez")
    assert load.statuses.keys() == {200}
    assert len(small.peers) == 3
    assert len(load.answers) == sum(small.peers.values()) > 3
    assert statuses(load.health) == [200] * 6
    assert load.cpu_s > 0


def test_an_open_loop_sends_all_that_is_due(small: Small) -> None:
    load = offered(small.port, [upload(b"")], 100, 0.5, "/livez")
    assert len(load.answers) == len(list(arrivals(100, 0.5)))
    assert load.statuses.keys() == {200}
    assert len(load.health) == 10


def test_a_burst_comes_back_when_it_was_told_to(small: Small) -> None:
    small.first = [503] * 3
    started = time.perf_counter()
    found = burst(small.port, [upload(b"")], 5)
    assert time.perf_counter() - started >= 1
    assert found.pop("health_max_ms") > 0
    assert found == {
        "clients": 5,
        "at_once": 2,
        "refused": 3,
        "in_at_first_retry": 1.0,
        "longest_retry_after_s": 1,
        "without_retry_after": 0,
        "other_errors": 0,
    }
