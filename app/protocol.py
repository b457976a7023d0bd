"""One client's connection: uvicorn's h11 protocol, and what it lacks against those who dawdle, flood or leave."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.errors import Refusal
from app.logs import log
from app.outcome import Outcome, request_id
from app.web import HEADERS

HEAD_TIMEOUT_S = 5.0
MAX_HEAD_BYTES = 32 * 1024
ANSWER_TIMEOUT_S = 10.0  # for the client to take what the kernel had no room for
READ_BYTES = 64 * 1024  # at once from a connection; asyncio's own 256 KB can hold a second's worth of tiny chunks
FREE_CHUNKS = 256
BYTES_PER_CHUNK = 128  # on average, past the first ones: each costs the event loop 35 µs, however small
# A client of HTTP/1.1 must pass over it, whether or not it asked (RFC 9110 §15.2); the kernel of one that has left
# answers it with a reset.
PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROBE_LOOK_S = 0.05
# Kept for what is no client's connection: the bundle and the log, 8 fetches with a look-up each, those being accepted.
RESERVED_FILES = 40
FEWEST_CONNECTIONS = 8
CROWDED_LOG_S = 60.0


def most_connections(open_files: int) -> int:
    """How many clients may be connected at once where a process may have so many files open."""
    unlimited = open_files == resource.RLIM_INFINITY
    return 2**31 if unlimited else max(FEWEST_CONNECTIONS, open_files - RESERVED_FILES)


MOST_CONNECTIONS = most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class Parser(h11.Connection):
    """A server's h11, to which a body in tiny chunks is no HTTP, as no client sends one but to keep us busy; and which
    measures each head, not only those that come in pieces."""

    too_long = False  # a head, or what follows the last chunk
    asked_for_head = False

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self._chunks = self._bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._count(event)
        except h11.RemoteProtocolError as error:
            self.too_long = error.error_status_hint == 431
            raise
        return event

    def _begin(self, request: h11.Request) -> None:
        self._chunks = self._bytes = 0
        self.asked_for_head = request.method == b"HEAD"
        lines = (len(name) + len(value) + len(": \r\n") for name, value in request.headers)
        if len(request.target) + sum(lines) > MAX_HEAD_BYTES:
            raise h11.RemoteProtocolError("a large head", error_status_hint=431)

    def _count(self, data: h11.Data) -> None:
        self._chunks += data.chunk_start
        self._bytes += len(data.data)
        if self._chunks > FREE_CHUNKS + self._bytes // BYTES_PER_CHUNK:
            raise h11.RemoteProtocolError("a body in tiny chunks")


class Connection(H11Protocol):
    """uvicorn's h11 protocol, which by itself waits for ever for a request head, and for an answer to be taken.

    Closes a connection that has not sent a whole head HEAD_TIMEOUT_S after it was opened, or after the head's first
    byte on a kept-alive one; one that does not take its answer; one that still sends its body when it has been
    answered; and new ones where no more files may be open. A client that has closed its own side alone is answered.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None
    _probe_timer: asyncio.TimerHandle | None = None
    _crowded_again = 0.0  # when the log may be told next

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.conn: Parser = Parser()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        transport.set_write_buffer_limits(0)  # so that pause_writing is called as soon as anything has to wait
        if len(self.connections) > MOST_CONNECTIONS:
            self._tell_crowded()
            transport.abort()
        else:
            self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open: a client that has sent all may have left, or have closed its own side
        alone, as `nc -N` does, and TCP tells both the same way. So it is sent a PROBE.

        One of HTTP/1.0 may not be sent any, and counts as gone.
        """
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete or self.conn.their_http_version != b"1.1":
            return False
        if self._probe_timer is None:  # asyncio tells it again where reading was paused meanwhile
            if not cycle.response_started:
                self.transport.write(PROBE)
            self._look_whether_gone()
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer_timer = self.loop.call_later(ANSWER_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answer_timer is not None:
            self._answer_timer.cancel()

    def on_response_complete(self) -> None:
        still_sends = self.conn.their_state is h11.SEND_BODY  # asked before the next request's head is looked at
        super().on_response_complete()
        if still_sends or (self._probe_timer is not None and self.cycle.response_complete):
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP never gets to the app; it is answered and recorded like any other refusal.

        Where it is the body of a request that is being answered, there is no second answer.
        """
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse()
        self.transport.close()
        if self.cycle is not None:
            self.cycle.disconnected = True  # as connection_lost will say in a moment: the app may not answer any more

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: the request is answered without the upgrade."""

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._answer_timer, self._probe_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _refuse(self) -> None:
        refusal = Refusal("bad_request", "This is no HTTP request.", detail="no HTTP")
        if self.conn.too_long:
            refusal = Refusal("large_head", f"The head of this request is larger than {MAX_HEAD_BYTES // 1024} KB.")
        outcome = Outcome(status=refusal.status, id=request_id(""))
        outcome.refused(refusal)
        body = json.dumps(refusal.as_json()).encode()
        only_head = self.conn.our_state is h11.SEND_RESPONSE and self.conn.asked_for_head
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        headers |= {"X-Request-ID": outcome.id, **HEADERS}
        for event in (
            h11.Response(status_code=refusal.status, headers=list(headers.items())),
            h11.Data(data=b"" if only_head else body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.app_state["service"].record(outcome)

    def _watch_head(self) -> None:
        waits = self.conn.their_state is h11.IDLE
        if waits and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)
        elif not waits and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _look_whether_gone(self) -> None:
        """Now and again: asyncio reads no more where there is nothing more to be read, and hears of no reset."""
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self._probe_timer = self.loop.call_later(PROBE_LOOK_S, self._look_whether_gone)

    @classmethod
    def _tell_crowded(cls) -> None:
        now = time.monotonic()
        if now >= cls._crowded_again:
            cls._crowded_again = now + CROWDED_LOG_S
            sentence = (
                "%d clients are connected, as many as the limit on open files leaves room for: others are closed."
            )
            log.warning(sentence, MOST_CONNECTIONS)
