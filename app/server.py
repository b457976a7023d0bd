"""The process around the app: its socket, signals and the exit code."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from types import FrameType

import uvicorn

from app.errors import SettingError
from app.logs import log
from app.main import create_app
from app.protocol import Connection
from app.settings import Settings

# After SIGTERM the socket stays open this long, while /readyz already says 503: load balancers need time to notice.
LISTEN_ON_S = 1.0
BACKLOG = 2048  # connections that the kernel holds for us
# asyncio accepts so many before it looks at anything else. Each is 0.5 ms of work; and where no more files may be open,
# CPython 3.11 tells the log of it so many times a second.
ACCEPTED_AT_ONCE = 8


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
                http=Connection,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=ACCEPTED_AT_ONCE,
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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(BACKLOG)  # asyncio has told the kernel ACCEPTED_AT_ONCE

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # then uvicorn leaves these to be cancelled with the loop, with a traceback in the log
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signals += 1
        when = "at once" if self._signals > 1 else f"within {self._settings.drain_s:g} s"
        log.info("tellapart stops %s, on %s.", when, signal.Signals(sig).name)
        service = getattr(self.app.state, "service", None)  # none yet, if the signal comes this early
        if service is not None:
            service.draining = True
        if self._signals > 1:
            self.force_exit = self.should_exit = True
        elif sig == signal.SIGTERM:
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
        listening = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
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
