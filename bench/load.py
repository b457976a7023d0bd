"""A closed-loop load generator: `clients` connections, each sending the next photo once it has its answer.

Requests are encoded beforehand and answers hardly parsed, so that it takes little of the CPU that it shares with the
service.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What a run measured: photos answered with 200, other answers, seconds, each answer's latency in seconds."""

    answered: int
    failed: int
    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Photos answered per second."""
        return self.answered / self.seconds

    def percentile(self, percent: float) -> float:
        """A latency percentile in milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def request(photo: bytes) -> bytes:
    """An upload as it goes over the wire."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head + photo + b"\r\n--b--\r\n"
    lines = [
        "POST /upload HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def run(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Offer load to 127.0.0.1:`port` for `seconds`."""
    latencies: list[float] = []
    failed = 0
    turn = iter(range(10**9))
    started = time.perf_counter()

    async def client() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - started < seconds:
            sent = time.perf_counter()
            writer.write(requests[next(turn) % len(requests)])
            status = await read_answer(reader)
            if status == 200:
                latencies.append(time.perf_counter() - sent)
            else:
                failed += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(len(latencies), failed, time.perf_counter() - started, latencies)


async def read_answer(reader: asyncio.StreamReader) -> int:
    """Read one response; its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length))
    return int(head.split(b" ", 2)[1])
