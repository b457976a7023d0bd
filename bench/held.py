"""What a good client is cost by others who hold on: `python -m bench.held`.

200 half-open connections, and every fetch of a URL that may be under way waiting for an origin that says nothing.
"""

from __future__ import annotations

import argparse
import itertools
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from bench.bundles import INT8
from bench.load import Load, closed, get, upload
from bench.photos import photos
from bench.served import PORT, WARM_UP_S, tellapart
from bench.service import service

CONNECTIONS = 200
FETCHES = 8  # at once, app.fetch
DRIP_S = 0.5
HEAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n"
# What is sent at first, and again every DRIP_S: nothing at all; half a head; a head byte by byte; a body that stalls.
WAYS = ((b"", b""), (HEAD, b""), (HEAD + b"X: ", b"x"), (HEAD + b"\r\n--b\r\n", b""))


def keep_open(end: threading.Event) -> None:
    """Hold CONNECTIONS half-open connections, and open another wherever the service has closed one."""
    ways = itertools.cycle(WAYS)
    held: dict[socket.socket, bytes] = {}
    while not end.wait(DRIP_S):
        gone = set(select.select(held, [], [], 0)[0])  # closed, or answered with a 408
        for sock, piece in held.items():
            try:
                sock.sendall(piece)
            except OSError:
                gone.add(sock)
        for sock in gone:
            del held[sock]
            sock.close()
        while len(held) < CONNECTIONS:
            start, piece = next(ways)
            sock = socket.create_connection(("127.0.0.1", PORT), timeout=10)
            sock.sendall(start)
            held[sock] = piece
    for sock in held:
        sock.close()


@contextmanager
def half_open() -> Iterator[None]:
    """Meanwhile somebody holds them."""
    end = threading.Event()
    holding = threading.Thread(target=keep_open, args=(end,))
    holding.start()
    try:
        yield
    finally:
        end.set()
        holding.join()


@contextmanager
def slow_origins(port: int) -> Iterator[None]:
    """Meanwhile every fetch waits for whoever listens on that port."""
    with ExitStack() as stack:
        for number in range(FETCHES):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=10))
            sock.sendall(get(f"/classify-url?url=http://127.0.0.1:{port}/{number}.jpg"))
        yield


def main() -> None:
    """Measure in turn, without and with them, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.held", description="Hold connections and fetches.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of one bout")
    args = parser.parse_args()
    requests = [upload(photo) for photo in photos()]

    def bout(beside: AbstractContextManager[None]) -> Load:
        with beside:
            return closed(PORT, requests, 1, args.seconds, "/livez")

    with socket.create_server(("127.0.0.1", 0)) as origin:  # whose connections nobody accepts
        port = int(origin.getsockname()[1])
        clocks = ("--url-timeout-s", "300", "--request-timeout-s", "300")
        ours = tellapart("tellapart", INT8, "--url-hosts", f"127.0.0.1:{port}", *clocks)
        cases: dict[str, tuple[Callable[[], AbstractContextManager[None]], float]] = {
            "200 half-open connections": (half_open, 2.0),
            "every fetch held": (lambda: slow_origins(port), 1.2),
        }
        with service(ours):
            closed(PORT, requests, 1, WARM_UP_S, "/livez")
            for name, (beside, bar) in list(cases.items()) * args.rounds:
                p99 = [bout(each()).ms(99) for each in (nullcontext, beside)]
                print(f"{name}: p99 {p99[0]:.1f} → {p99[1]:.1f} ms, {p99[1] / p99[0]:.2f} times (bar {bar:g})")


if __name__ == "__main__":
    main()
