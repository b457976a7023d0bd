"""What half-open connections cost a good client: `python -m bench.half_open` holds 200 of them, in four ways."""

from __future__ import annotations

import argparse
import itertools
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.bundles import INT8
from bench.load import Load, closed, upload
from bench.photos import photos
from bench.served import WARM_UP_S, tellapart
from bench.service import service

HELD = 200
DRIP_S = 0.5
BAR = 2.0  # times the 99th percentile without them
HEAD = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9999\r\n"
# What is sent at first, and again every DRIP_S: nothing at all; half a head; a head byte by byte; a body that stalls.
WAYS = ((b"", b""), (HEAD, b""), (HEAD + b"X: ", b"x"), (HEAD + b"\r\n--b\r\n", b""))


def keep_open(port: int, end: threading.Event) -> None:
    """Hold HELD half-open connections, and open another wherever the service has closed one."""
    ways = itertools.cycle(WAYS)
    held: dict[socket.socket, bytes] = {}
    while not end.wait(DRIP_S):
        for sock in [*select.select(held, [], [], 0)[0]]:  # closed, or answered with a 408
            del held[sock]
            sock.close()
        for sock, piece in list(held.items()):
            try:
                sock.sendall(piece)
            except OSError:
                del held[sock]
                sock.close()
        while len(held) < HELD:
            start, piece = next(ways)
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
            sock.sendall(start)
            held[sock] = piece
    for sock in held:
        sock.close()


@contextmanager
def half_open(port: int) -> Iterator[None]:
    """Meanwhile somebody holds them."""
    end = threading.Event()
    holding = threading.Thread(target=keep_open, args=(port, end))
    holding.start()
    try:
        yield
    finally:
        end.set()
        holding.join()


def main() -> None:
    """Measure in turn, without and with them, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.half_open", description="Hold 200 half-open connections.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of one bout")
    args = parser.parse_args()
    requests = [upload(photo) for photo in photos()]
    ours = tellapart("tellapart", INT8)

    def bout() -> Load:
        return closed(ours.port, requests, 1, args.seconds, ours.health)

    with service(ours):
        closed(ours.port, requests, 1, WARM_UP_S, ours.health)
        for _ in range(args.rounds):
            alone = bout()
            with half_open(ours.port):
                beside = bout()
            for name, load in (("alone", alone), ("beside 200 half-open", beside)):
                print(f"{name}: {len(load.answers)} photos, {load.ms(50):.1f} ms p50, {load.ms(99):.1f} ms p99")
            print(f"p99 {beside.ms(99) / alone.ms(99):.2f} times as long (bar {BAR:g})")


if __name__ == "__main__":
    main()
