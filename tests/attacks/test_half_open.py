"""Two hundred connections that never come to anything, and a good client among them; see also bench.held."""

from __future__ import annotations

import contextlib
import select
import socket
import statistics
import threading
import time
from contextlib import ExitStack

from tests.live import Live, live_service
from tests.wire import BODY, HANG_S, TEDDY, connection, error, get, head, post, read_response, upload_head

EACH = 50
STARTS = {
    "silent": b"",
    "half a head": head()[:-2],
    "dripped head": b"GET / HTTP/1.1\r\nX: ",
    "stalled body": upload_head(BODY) + BODY[:1000],
}


def seconds_each(live: Live, times: int = 6) -> float:
    """The median of so many uploads, each with a probe."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        assert post(live, TEDDY).status_code == 200
        assert get(live, "/livez").status_code == 200
        took.append(time.monotonic() - began)
    return statistics.median(took)


def drip(socks: list[socket.socket], end: threading.Event) -> None:
    while not end.wait(0.5):
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.sendall(b"x")


def ended(sock: socket.socket) -> bool:
    """Whether the other side closes it; once there was a head, with a 408 before."""
    try:
        first = sock.recv(1, socket.MSG_PEEK)
        if first:
            status, _, answer = read_response(sock)
            assert error(status, answer) == (408, "slow_body")
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def test_two_hundred_half_open_connections_hold_up_nobody_and_end() -> None:
    with live_service() as live, ExitStack() as stack:
        alone_s = seconds_each(live)
        held = {name: [stack.enter_context(connection(live.port)) for _ in range(EACH)] for name in STARTS}
        for name, socks in held.items():
            for sock in socks:
                sock.sendall(STARTS[name])
        every = [sock for socks in held.values() for sock in socks]
        end = threading.Event()
        dripping = threading.Thread(target=drip, args=(held["dripped head"], end))
        dripping.start()
        try:
            beside_s = seconds_each(live)
            assert select.select(every, [], [], 0)[0] == [], "all of them were open meanwhile"
            assert beside_s < 5 * alone_s + 0.2
            began = time.monotonic()
            assert all(ended(sock) for sock in every)
            assert time.monotonic() - began < HANG_S
        finally:
            end.set()
            dripping.join()
        assert post(live, TEDDY).status_code == 200
        assert "Traceback" not in live.log.read_text()
