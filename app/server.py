"""The process around the app: its socket, the clock on request heads, signals and the exit code."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from types import FrameType

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.errors import SettingError
from app.logs import log
from app.main import create_app
from app.outcome import Outcome
from app.settings import Settings

HEAD_TIMEOUT_S = 5.0
MAX_HEAD_BYTES = 32 * 1024
READ_BYTES = 64 * 1024  # at once from a connection; asyncio's own 256 KB can hold a second's worth of tiny chunks
BYTES_PER_LINE = 64  # on average, in a chunked body: each chunk has two lines and costs the event loop 35 µs
HEAD_PIECE_BYTES = 4 * 1024  # h11 measures a head only while it is incomplete: one that came whole could be any size
# After SIGTERM the socket stays open this long, while /readyz already says 503: load balancers need time to notice.
LISTEN_ON_S = 1.0


class HeadClock(H11Protocol):
    """uvicorn's h11 protocol, which by itself waits for ever for a request head: closes a connection that has not sent
    a whole one HEAD_TIMEOUT_S after it was opened, or after the head's first byte on a kept-alive one.

    Also closes one that still sends its body when it has been answered: nothing would bound that any more.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        while self.conn.their_state is h11.IDLE and len(data) > HEAD_PIECE_BYTES:
            super().data_received(data[:HEAD_PIECE_BYTES])
            if self.transport.is_closing():
                return
            data = data[HEAD_PIECE_BYTES:]
        if self._is_dust(data):
            self.transport.close()
            return
        super().data_received(data)
        self._watch_head()

    def _is_dust(self, data: bytes) -> bool:
        """Whether this is part of a body in tiny chunks, which no client sends but to keep us busy."""
        if self.conn.their_state is not h11.SEND_BODY or not any(n == b"transfer-encoding" for n, _ in self.headers):
            return False
        return data.count(b"\r\n") > 256 + len(data) // BYTES_PER_LINE

    def on_response_complete(self) -> None:
        still_sends = self.conn.their_state is h11.SEND_BODY  # asked before the next request's head is looked at
        super().on_response_complete()
        if still_sends:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP never gets to the app; it is recorded like any other refusal.

        Where it is the body of a request that is being answered, there is no second answer.
        """
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
            self.app_state["service"].record(Outcome(status=400, refusals=["bad_request"], detail="no HTTP"))
        else:
            self.transport.close()
        if self.cycle is not None:
            self.cycle.disconnected = True  # as connection_lost will say in a moment: the app may not answer any more

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: the request is answered without the upgrade."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """uvicorn's server with our signals: SIGTERM drains, SIGINT stops; a second one of either stops at once.

    SIGHUP reloads the bundle.
    """

    failure: BaseException | None = None

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings, loaded=self._loaded)
        self._settings = settings
        self._signals = 0
        super().__init__(
            uvicorn.Config(
                self.app,
                host=settings.host,
                port=settings.port,
                loop="asyncio",
                http=HeadClock,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_graceful_shutdown=max(1, round(settings.drain_s - LISTEN_ON_S)),
            )
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        before = signal.signal(signal.SIGHUP, self.handle_hangup)
        try:
            await super().serve(sockets)
        finally:
            signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signals += 1
        when = "at once" if self._signals > 1 else f"within {self._settings.drain_s:g} s"
        log.info("tellapart stops %s, on %s.", when, signal.Signals(sig).name)
        if self._signals > 1:
            self.force_exit = self.should_exit = True
        elif sig == signal.SIGTERM:
            service = getattr(self.app.state, "service", None)  # none yet, if the signal comes this early
            if service is not None:
                service.draining = True
            self._loop.call_soon_threadsafe(self._loop.call_later, LISTEN_ON_S, self._leave)
        else:
            self.should_exit = True

    def handle_hangup(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._reload)

    def _reload(self) -> None:
        service = getattr(self.app.state, "service", None)
        if service is not None and not self.should_exit:  # without a service the first bundle is still to be read
            service.reload()

    def _leave(self) -> None:
        self.should_exit = True

    def _loaded(self, error: BaseException | None) -> None:
        if error is not None:
            self.failure = error
            self.should_exit = True
            return
        # What has been loaded stays. Collections of garbage that look at it too hold the event loop for 10 to 34 ms.
        gc.collect()
        gc.freeze()
        bundle = self.app.state.service.classifier.bundle
        classes, address = ", ".join(bundle.classes), f"http://{_authority(self._settings)}/"
        log.info("tellapart serves %s %s (%s) at %s", bundle.name, bundle.version, classes, address)


def serve(settings: Settings) -> None:
    """Serve until a signal. Raises SettingError if it cannot listen, BundleError if the bundle is refused."""
    listening = listen(settings)
    server = Server(settings)
    with listening:
        asyncio.run(server.serve(sockets=[listening]))
    if server.failure is not None:
        raise server.failure
    log.info("tellapart has stopped.")


def listen(settings: Settings) -> socket.socket:
    """A bound socket, before the bundle is loaded: a port in use should be known at once. Raises SettingError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    both = settings.host == "::" and socket.has_dualstack_ipv6()
    try:
        address = (settings.host, settings.port)
        listening = socket.create_server(address, family=family, backlog=2048, dualstack_ipv6=both)
        # Connections inherit it. asyncio would set it itself, were the socket made with an explicit protocol; without
        # it an answer's second packet waits 40 ms for the client's delayed acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, TypeError, UnicodeError) as error:  # the latter two: a host with a NUL, or a label too long
        reasons = {
            errno.EADDRINUSE: "the port is in use: stop the other program, or choose another --port",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "that port needs more rights: choose a --port from 1024",
        }
        reason = reasons.get(getattr(error, "errno", None) or 0) or getattr(error, "strerror", None) or str(error)
        raise SettingError(f"Cannot listen on {_authority(settings)}: {reason}.") from error


def _authority(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"
