"""Photos from URLs that a stranger names: checked, bounded in time and size, and never from inside the network.

A name is resolved once, every answer is checked, and the checked address is what gets connected to; URL, Host header,
SNI and certificate stay on the name. Knows no web framework, so that `training download` can use it too.
"""
# ruff: noqa: ASYNC109 - the `timeout` arguments are httpcore2's; here one deadline is around everything

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import httpcore2
import httpx2

from app.addresses import HostPolicy, blocked, is_literal, same_address
from app.errors import OriginRefusal, Refusal

__all__ = ["Fetcher", "HostPolicy", "system_dial", "system_resolve"]

T = TypeVar("T")
Resolve = Callable[[str, int], Coroutine[Any, Any, list[str]]]
Dial = Callable[[str, int], Coroutine[Any, Any, httpcore2.AsyncNetworkStream]]
system_dial: Dial = httpcore2.AnyIOBackend().connect_tcp  # raises httpcore2.ConnectError

MAX_REDIRECTS = 3
MAX_DIALS = 6  # addresses of one name that are tried in turn
MAX_HEAD_BYTES = 32 * 1024  # all that may come before the body, 1xx responses included
HEADERS = {"User-Agent": "tellapart", "Accept-Encoding": "identity", "Connection": "close"}
REDIRECTS = (301, 302, 303, 307, 308)
NETWORK_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError)


async def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver for every address of a name; raises OSError.

    In a daemon thread of its own: getaddrinfo cannot be cancelled, and one that hangs must not hold up the exit.
    """
    answer: Future[list[str]] = Future()
    answer.set_running_or_notify_cancel()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.set_result([str(socket_address[0]) for *_, socket_address in found])
        except (OSError, UnicodeError) as error:
            answer.set_exception(error)

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    return await asyncio.wrap_future(answer)


class Tasks:
    """At most `limit` tasks at once, which run on whether or not somebody waits for them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start one more; raises Refusal `busy` where `limit` are running."""
        if len(self._running) >= self._limit:
            raise Refusal("busy", "Too many photos are being fetched from URLs just now.", retry_after_s=1)
        task = asyncio.create_task(work())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # seen, or asyncio logs it
        return task

    async def aclose(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@dataclass
class MeteredStream(httpcore2.AsyncNetworkStream):
    """A connection whose other side may send so many bytes and no more, and before the body only in small pieces.

    The parser holds the event loop for as long as a piece lasts: 64 KB of 1xx responses are 180 ms.
    """

    stream: httpcore2.AsyncNetworkStream
    bytes_left: int = MAX_HEAD_BYTES
    piece_bytes: int = 4 * 1024

    def expect_body(self, max_bytes: int) -> None:
        """From now on take `max_bytes` more, in large pieces."""
        self.bytes_left += max_bytes
        self.piece_bytes = 64 * 1024

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        received = await self.stream.read(min(max_bytes, self.piece_bytes), timeout)
        self.bytes_left -= len(received)
        if self.bytes_left < 0:
            raise httpcore2.RemoteProtocolError("more bytes than a response may have")
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self.stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return MeteredStream(await self.stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:  # httpcore2 closes it after an error, but not when the deadline cancels a handshake
            await self.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


@dataclass
class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves, checks and dials in one step: nothing can change between the check and the connection."""

    policy: HostPolicy
    resolve: Resolve
    dial: Dial
    look_ups: Tasks

    async def connect_tcp(self, host: str, port: int, *_unused: Any, **_options: Any) -> httpcore2.AsyncNetworkStream:
        addresses = [host] if is_literal(host) else await self._look_up(host, port)
        self.policy.check_addresses(host, port, addresses)
        for address in addresses[:MAX_DIALS]:
            with suppress(httpcore2.ConnectError):
                return await self._connect(address, port)
        raise httpcore2.ConnectError("no address of the host accepts connections")

    async def _look_up(self, host: str, port: int) -> list[str]:
        task = self.look_ups.start(lambda: self.resolve(host, port))
        await asyncio.wait([task])  # a look-up that outlives its fetch runs on, and keeps its place until it ends
        try:
            return list(dict.fromkeys(task.result()))
        except (OSError, UnicodeError):
            raise Refusal("fetch_failed", "The host of this URL was not found.") from None

    async def _connect(self, address: str, port: int) -> MeteredStream:
        stream = await self.dial(address, port)
        peer = stream.get_extra_info("server_addr")  # None where the other side has hung up already
        if peer and same_address(peer[0], address):
            return MeteredStream(stream)
        await stream.aclose()
        raise blocked("connected elsewhere") if peer else httpcore2.ConnectError("hung up")


class CheckedTransport(httpx2.AsyncBaseTransport):
    """httpx2's way to the network through a backend of ours: HTTP/1.1, one connection per request."""

    def __init__(self, backend: CheckedBackend) -> None:
        self._connections = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=None,  # Fetcher's slots bound them
            max_keepalive_connections=0,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        ours = request.url
        url = httpcore2.URL(scheme=ours.raw_scheme, host=ours.raw_host, port=ours.port, target=ours.raw_path)
        asked = httpcore2.Request(request.method, url, headers=request.headers.raw, extensions=request.extensions)
        response = await self._connections.handle_async_request(asked)
        # Renamed, or httpx2 would act on them: keep cookies, and trip over some redirects that it is not to follow.
        headers = [(b"origin-" + name, value) for name, value in response.headers]
        return httpx2.Response(response.status, headers=headers, stream=Body(response), extensions=response.extensions)

    async def aclose(self) -> None:
        await self._connections.aclose()


@dataclass
class Body(httpx2.AsyncByteStream):
    """httpcore2's response body as httpx2 wants it."""

    response: httpcore2.Response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.response.aiter_stream()

    async def aclose(self) -> None:
        await self.response.aclose()


@dataclass
class Flight:
    """One URL being fetched, and how many callers wait for it."""

    task: asyncio.Task[bytes]
    waiting: int = 0


class Fetcher:
    """Fetches photos from URLs within `policy`; an async context manager.

    `timeout_s` bounds a fetch from the look-up to the last byte, `max_bytes` its body, `slots` the fetches at once.
    `resolve(host, port)` gives a name's addresses, `dial(address, port)` a stream; there is no other way out.
    """

    def __init__(
        self,
        policy: HostPolicy,
        *,
        timeout_s: float,
        max_bytes: int,
        slots: int = 8,
        resolve: Resolve = system_resolve,
        dial: Dial = system_dial,
    ) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._fetches = Tasks(slots)
        self._look_ups = Tasks(slots)
        self._flights: dict[str, Flight] = {}
        transport = CheckedTransport(CheckedBackend(policy, resolve, dial, self._look_ups))
        self._client = httpx2.AsyncClient(transport=transport, headers=HEADERS, timeout=None, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._fetches.aclose()
        await self._look_ups.aclose()
        await self._client.aclose()

    async def fetch(self, url: str) -> bytes:
        """Fetch what a URL leads to; raises Refusal.

        A URL that is being fetched already is not fetched again: its callers get the same bytes, and the last of them
        to leave ends the fetch.
        """
        target = self._policy.target(url)
        key = str(target)
        if key not in self._flights:
            self._flights[key] = Flight(self._fetches.start(lambda: self._fetch(target)))
        flight = self._flights[key]
        flight.waiting += 1
        try:
            await asyncio.wait([flight.task])
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                del self._flights[key]
                flight.task.cancel()
        if flight.task.cancelled():
            raise Refusal("draining", "The service is stopping.", retry_after_s=5)
        return flight.task.result()

    async def _fetch(self, url: httpx2.URL) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(url)
        except TimeoutError:
            raise Refusal("fetch_slow", f"The photo did not arrive within {self._timeout_s:g} seconds.") from None
        except NETWORK_ERRORS as error:  # only its type goes to the log: its text may quote the other side
            raise Refusal(
                "fetch_failed", "The site could not be reached, or broke off.", detail=type(error).__name__
            ) from None

    async def _follow(self, url: httpx2.URL) -> bytes:
        for _ in range(1 + MAX_REDIRECTS):
            async with self._client.stream("GET", url) as response:
                location = response.headers.get("origin-location")
                if response.status_code not in REDIRECTS or location is None:
                    return await self._read(response)
                url = self._policy.redirected(url, location)
        raise Refusal("fetch_failed", f"This URL redirects more than {MAX_REDIRECTS} times.")

    async def _read(self, response: httpx2.Response) -> bytes:
        if response.status_code != 200:
            raise OriginRefusal(response.status_code, response.headers.get("origin-retry-after", ""))
        if response.headers.get("origin-content-encoding", "identity").lower() != "identity":
            raise Refusal("fetch_failed", "The site sent the photo compressed, though asked not to.")
        too_large = Refusal("too_large", f"The photo is larger than {self._max_bytes / 1e6:g} MB.")
        if int(response.headers.get("origin-content-length", 0)) > self._max_bytes:
            raise too_large
        response.extensions["network_stream"].expect_body(2 * self._max_bytes)  # twice: chunks have heads
        body, parts = bytearray(), 0
        async with aclosing(response.aiter_raw()) as stream:
            async for part in stream:
                body += part
                parts += 1
                if len(body) > self._max_bytes:
                    raise too_large
                if parts > 256 + len(body) // 128:  # each costs the event loop 50 µs, however small
                    raise Refusal("fetch_failed", "The site sends the photo in tiny pieces.")
        return bytes(body)
