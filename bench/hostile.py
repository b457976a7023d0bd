"""What a service on the open net gets beside honest requests: each act on a connection of its own, over a plain socket.

Loopback only. What must come of each is told with it; how soon and how exactly is for tests/ to say.
"""

from __future__ import annotations

import socket
import struct
import time
import zlib
from dataclasses import dataclass
from typing import Literal

from bench.load import get, upload

CLOSED = 0  # in place of a status: the service closed the connection without a word
LONGEST_S = 15.0  # for an answer or the end of the connection: three times the service's own clocks
SLOW_S = 10.0  # what a slow act takes, at most, where the service keeps its clocks
AS_EXPECTED = "as expected"


@dataclass(frozen=True)
class Act:
    """Sends its pieces, `pause_s` apart, then reads the answer, leaves, or leaves with a reset."""

    name: str
    pieces: tuple[bytes, ...]
    expected: tuple[int, ...] = (400, CLOSED)
    pause_s: float = 0.0
    then: Literal["read", "leave", "reset"] = "read"

    @property
    def slow(self) -> bool:
        """Whether it takes seconds."""
        return self.name.startswith("slow")


def play(port: int, act: Act) -> str:
    """Do it to 127.0.0.1:`port`; AS_EXPECTED, or what came instead."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S) as sock:
            for piece in act.pieces:
                sock.sendall(piece)
                time.sleep(act.pause_s)
            if act.then == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if act.then != "read":
                return AS_EXPECTED
            while b"\r\n" not in answer and (data := sock.recv(65536)):
                answer += data
    except TimeoutError:
        return f"{act.name}: neither answered nor closed"
    except OSError:
        pass  # closed by the service, perhaps before all was sent
    status = int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else CLOSED
    return AS_EXPECTED if status in act.expected else f"{act.name}: {status}"


def acts(photo: bytes) -> list[Act]:
    """All of them, from silence to bombs; `photo` is an honest one."""
    whole = upload(photo)
    head = whole[: whole.index(b"\r\n\r\n") + 4]
    half = whole[: len(whole) // 2]
    return [
        *(Act(name, (data,)) for name, data in MALFORMED.items()),
        Act("HTTP/9.9", (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",), (200, 505)),  # to h11 any version is 1.1
        Act("HTTP/2", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), (404, 505)),
        *(Act(f"URL {url}", (get(f"/classify-url?url={url}"),), (400,)) for url in FORBIDDEN),
        *(Act(name, (upload(data),), (status,)) for name, (data, status) in bombs().items()),
        Act("70 photos", (upload(*[b"x"] * 70),), (400,)),
        Act("another method", (b"DELETE /upload HTTP/1.1\r\nHost: a\r\n\r\n",), (405,)),
        Act("10 GB announced", (head.replace(b"Content-Length: ", b"Content-Length: 1000000000"),), (413,)),
        Act("leaves at once", (), then="leave"),
        Act("leaves in the head", (head[:20],), then="leave"),
        Act("leaves before the body", (head,), then="leave"),
        Act("leaves in the body", (half,), then="reset"),
        Act("leaves before the answer", (whole,), then="reset"),
        Act("leaves while it is worked on", (whole,), pause_s=0.01, then="reset"),
        Act("slow: says nothing", (), (CLOSED,)),
        Act("slow: stops in the head", (head[:20],), (CLOSED, 408)),
        Act("slow: drips the head", drops(head, 16), (CLOSED, 408), pause_s=0.5),
        Act("slow: stops in the body", (half,), (408,)),
        Act("slow: drips the body, then leaves", (half, *drops(whole[len(half) :], 12)), pause_s=0.5, then="leave"),
    ]


def drops(data: bytes, count: int) -> tuple[bytes, ...]:
    """The first bytes, one by one."""
    return tuple(data[number : number + 1] for number in range(count))


def bombs() -> dict[str, tuple[bytes, int]]:
    """Small photos that would take gigabytes or minutes, and the status that they must get."""
    frame = b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", 4000, 4000) + b"\x01\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    return {
        "4,295 megapixels": (png(65_535, 65_535, (b"IDAT", zlib.compress(bytes(100_000)))), 413),
        "128 MB of text": (png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 27)))), 422),
        "10,000 scans": (b"\xff\xd8" + frame + scan * 10_000 + b"\xff\xd9", 422),
    }


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 8-bit RGB that says it is so large, with these chunks."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *chunks, (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two lengths": b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "length and chunks": b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length below 0": b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a chunk of nonsense": b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "no boundary": b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data\r\n"
    b"Content-Length: 1\r\n\r\nx",
    "JSON for a form": b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n{}",
}
FORBIDDEN = (
    "http://127.0.0.1:8000/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://2130706433/",
    "http://user:pw@127.0.0.1/",
    "gopher://127.0.0.1/",
    "//10.0.0.1/",
)
