"""The load generator's connections: HTTP/1.1 over non-blocking sockets in one thread.

Requests are encoded beforehand and answers hardly parsed, so that it takes little of the CPU that it shares with the
service.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import math
import resource
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

FAILED = 0  # the connection was lost, or no whole answer came
NOT_SENT = -1  # the most connections were open already
MOST_CONNECTIONS = 2000
SPARE_DESCRIPTORS = 64  # what the process needs beside connections
READ_BYTES = 65536
LONG_IDLE_S = 1.0


class Answer(NamedTuple):
    """What came of a request: its HTTP status, or one of the two above."""

    status: int
    seconds: float  # from when it was to be sent
    came: float  # on time.perf_counter
    retry_after: str  # the header; empty without one
    server_timing: str = ""  # likewise


Done = Callable[[Answer], None]


@dataclass(eq=False, slots=True)
class Connection:
    """A connection, and the one request that is under way on it."""

    socket: socket.socket
    request: bytes = b""
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytes = b""
    began: float = 0.0
    done: Done | None = None  # None: answered, or idle
    freed: float = math.inf  # when the answer before this request had come
    last: bool = False  # the other side has said that it closes after this answer


class Client:
    """Asks 127.0.0.1:`port`, each request on a free connection, or a new one where none is free.

    An answer that comes while the body is still being sent counts when it has come; the rest of the body is then sent,
    as most clients do, before the connection is used again. One that had been idle for long, and is closed before a
    word of an answer, was closed for that: the request is sent again on another (RFC 9112 §9.3.1).
    """

    def __init__(self, port: int, most: int = MOST_CONNECTIONS) -> None:
        self.address = ("127.0.0.1", port)
        self.most = min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)
        self.pending = 0
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._free: list[Connection] = []
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = itertools.count()
        self._until = math.inf

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        for connection in self._open.values():
            connection.socket.close()
        self._epoll.close()

    def at(self, moment: float, act: Callable[[float], None]) -> None:
        """Have `run` call `act(moment)` at that moment of time.perf_counter, or as soon after it as it can."""
        heapq.heappush(self._due, (moment, next(self._number), act))

    def ask(self, request: bytes, began: float, done: Done) -> None:
        """Send a request and call `done` with its answer; the time it took counts from `began`."""
        if not self._free and len(self._open) >= self.most:
            done(Answer(NOT_SENT, 0.0, began, ""))
            return
        self.pending += 1
        connection = self._free.pop() if self._free else self._connect()
        connection.request, connection.unsent = request, memoryview(request)
        connection.began, connection.done = began, done
        self._write(connection)
        if connection.unsent:
            self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def run(self, until: float) -> None:
        """Return when nothing is due and all is answered, or at `until`: what is unanswered then has failed."""
        self._until = until
        while (self._due or self.pending) and (now := time.perf_counter()) < until:
            while self._due and self._due[0][0] <= now:
                moment, _, act = heapq.heappop(self._due)
                act(moment)
            wait = min(self._due[0][0] if self._due else until, until) - time.perf_counter()
            select.select([self._epoll], [], [], max(0, wait))  # epoll's own timeout knows whole milliseconds only
            for number, events in self._epoll.poll(0):
                self._handle(self._open[number], events)
        for connection in list(self._open.values()):
            if connection.done is not None:
                self._lose(connection)

    def _connect(self) -> Connection:
        connection = Connection(socket.socket())
        connection.socket.setblocking(False)
        error = connection.socket.connect_ex(self.address)
        if error not in (0, errno.EINPROGRESS):
            raise OSError(error, "no connection to the service")
        self._open[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)
        return connection

    def _handle(self, connection: Connection, events: int) -> None:
        if events & ~select.EPOLLOUT:
            self._read(connection)
        elif connection.unsent:
            self._write(connection)
            if not connection.unsent:
                self._epoll.modify(connection.socket, select.EPOLLIN)
                self._rest(connection)

    def _write(self, connection: Connection) -> None:
        try:
            connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
        except BlockingIOError:
            pass  # not connected yet, or its buffer is full
        except OSError:
            connection.unsent = memoryview(b"")  # closed by the other side: what it had to say can still be read

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or connection.done is None:
            self._lose(connection)
            return
        connection.received += data
        head, separator, body = connection.received.partition(b"\r\n\r\n")
        if separator and is_whole(head.lower(), body):
            self._answered(connection, head.lower())

    def _answered(self, connection: Connection, head: bytes) -> None:
        done, came = connection.done, time.perf_counter()
        assert done is not None
        retry_after, server_timing = header(head, b"retry-after"), header(head, b"server-timing")
        answer = Answer(int(head[9:12]), came - connection.began, came, retry_after, server_timing)
        connection.done, connection.received, connection.freed = None, b"", came
        connection.last = header(head, b"connection") == "close"
        self.pending -= 1
        self._rest(connection)
        done(answer)

    def _rest(self, connection: Connection) -> None:
        """Free a connection that is through with its request."""
        if connection.done is None and not connection.unsent:
            if connection.last:
                self._close(connection)
            else:
                self._free.append(connection)

    def _lose(self, connection: Connection) -> None:
        done, now = connection.done, time.perf_counter()
        self._close(connection)
        if done is None:
            return
        self.pending -= 1
        if connection.began - connection.freed > LONG_IDLE_S and not connection.received and now < self._until:
            self.ask(connection.request, connection.began, done)
        else:
            done(Answer(FAILED, now - connection.began, now, ""))

    def _close(self, connection: Connection) -> None:
        if connection in self._free:
            self._free.remove(connection)
        del self._open[connection.socket.fileno()]
        connection.socket.close()


def is_whole(head: bytes, body: bytes) -> bool:
    """Whether an answer's body has come to its end. Raises ValueError if its head does not tell how long it is."""
    if length := header(head, b"content-length"):
        return len(body) >= int(length)
    if header(head, b"transfer-encoding") == "chunked":
        return body.endswith(b"0\r\n\r\n")
    raise ValueError(f"an answer without a length: {head!r}")


def header(head: bytes, name: bytes) -> str:
    """The value of a header in a head of lower case; empty if it is not there."""
    return head.partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip().decode("latin-1")
