"""What stands around the routes, as small ASGI middlewares: page headers, the record of each request, the API key,
limits and clocks of bodies."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Refusal
from app.outcome import METHODS, OTHER, PROBES, UNMATCHED, Outcome, continue_trace, outcome_of, request_id
from app.respond import refusal_response

IDLE_BODY_S = 5.0
BODIES = 25
# A refused upload is read on for so long and thrown away: closing on a client that still sends would reset the
# connection, and it would never read the refusal.
LINGER_S = 2.0

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without any a form would be sent as if from nowhere: see check_same_site
}
TRACING_HEADERS = ("X-Request-ID", "traceparent")
OPEN_PATHS = ("/", "/offline", "/manifest.webmanifest", "/sw.js", "/openapi.json", "/docs", *PROBES)


class PageHeaders:
    """Adds the security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class Recorder:
    """Gives each request its id, measures it, and has the service record its outcome. A fault of ours becomes a 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, outcome = time.perf_counter(), begin(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome.status, outcome.total_s = message["status"], time.perf_counter() - started
                headers = MutableHeaders(scope=message)
                for name, value in zip(TRACING_HEADERS, (outcome.id, outcome.traceparent), strict=True):
                    if value:
                        headers[name] = value
            await send(message)

        try:
            await self._run(scope, receive, send_with_id, outcome)
        finally:
            outcome.total_s = outcome.total_s or time.perf_counter() - started
            if "service" in scope["state"]:
                scope["state"]["service"].record(outcome)

    async def _run(self, scope: Scope, receive: Receive, send: Send, outcome: Outcome) -> None:
        try:
            await self.app(scope, receive, send)
            return
        except asyncio.CancelledError:  # by uvicorn, whose time to drain is over; by Ray Serve, whose client has left
            if not scope["state"]["service"].draining:
                return
            refusal = Refusal("draining", "The service is shutting down.", retry_after_s=5)
        except Exception as error:  # noqa: BLE001 (what it is stands in the log, and is not told to the client)
            outcome.fault = error
            refusal = Refusal("internal", "Something went wrong here.")
        if not outcome.total_s:
            await refusal_response(scope, refusal)(scope, receive, send)


def begin(scope: Scope) -> Outcome:
    """The outcome of a request that begins, with what is known by its head; traces, where on, begin it first."""
    outcome, headers = outcome_of(scope), Headers(scope=scope)
    if outcome.id:
        return outcome
    outcome.method = scope["method"] if scope["method"] in METHODS else OTHER
    matching = (route.path for route in scope["app"].routes if route.matches(scope)[0] is not Match.NONE)
    outcome.route = next(matching, UNMATCHED)
    given_id, traceparent = (only(headers, name) for name in TRACING_HEADERS)
    outcome.id, outcome.traceparent = request_id(given_id), continue_trace(traceparent)
    return outcome


def only(headers: Headers, name: str) -> str:
    """A header's value; empty if it is not there, or there twice."""
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else ""


class KeyGuard:
    """Asks for the API key everywhere but on the page, what it is made of, the API's document and the probes: as a
    Bearer token, or as the password of HTTP Basic, so that a browser asks for it by itself."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self.key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._open(scope["path"]) or self._holds_key(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        response = refusal_response(scope, Refusal("unauthorized", "This needs the service's key."))
        response.headers["WWW-Authenticate"] = 'Basic realm="tellapart", charset="UTF-8"'
        await response(scope, receive, send)

    @staticmethod
    def _open(path: str) -> bool:
        return path in OPEN_PATHS or path.startswith(("/static/", "/examples/"))

    def _holds_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        key = given.strip().encode("latin-1", "replace")
        if scheme.lower() == "basic":
            try:
                key = base64.b64decode(key, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        return scheme.lower() in ("basic", "bearer") and hmac.compare_digest(key, self.key)


class BodyLimits:
    """Bounds a request body in bytes and time; past a bound, reading it raises Refusal: 413, or 408.

    Bodies are held in memory, so all of them together are bounded too: past BODIES of the largest, 503.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, idle_s: float = IDLE_BODY_S) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s
        self.idle_s = idle_s
        self.held = 0  # bytes of bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            body = _Body(self, headers, receive, send)
            two_lengths = "content-length" in headers and "transfer-encoding" in headers
            try:
                await (_refuse_two_lengths if two_lengths else self.app)(scope, body.receive, body.send)
            finally:
                body.release()
        else:
            await self.app(scope, receive, send)


async def _refuse_two_lengths(scope: Scope, receive: Receive, send: Send) -> None:
    """A proxy before us may have seen another end of the body, and a second request where we see none."""
    response = refusal_response(scope, Refusal("bad_request", "This request tells the length of its body twice."))
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


class _Body:
    """One request's body on its way in."""

    def __init__(self, limits: BodyLimits, headers: Headers, receive: Receive, send: Send) -> None:
        self.limits = limits
        declared = headers.get("content-length", "")
        self.declared = int(declared) if declared.isdigit() else 0
        self.ended = not (declared or "transfer-encoding" in headers)
        self._receive, self._send = receive, send
        self.read = self.held = 0  # bytes that came, and those of them in memory
        self.deadline = time.monotonic() + limits.timeout_s

    async def receive(self) -> Message:
        if self.ended:
            return await self._receive()
        if self.declared > self.limits.max_bytes:
            raise self._too_large()
        wait_s = min(self.limits.idle_s, self.deadline - time.monotonic())
        try:
            async with asyncio.timeout(max(wait_s, 0)):
                message = await self._receive()
        except TimeoutError:
            raise Refusal("slow_body", "The upload took too long.") from None
        size = self._count(message)
        self.held += size
        self.limits.held += size
        if self.read > self.limits.max_bytes:
            raise self._too_large()
        if self.limits.held > BODIES * self.limits.max_bytes:
            raise Refusal("busy", "Too many uploads are under way.", retry_after_s=1)
        return message

    async def send(self, message: Message) -> None:
        final = message["type"] == "http.response.body" and not message.get("more_body", False)
        if final and not self.ended:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        """Read on and throw away, until LINGER_S without a byte, for as long as any upload may take; and no longer than
        LINGER_S once there is more than any upload may have."""
        self.release()
        deadline = self.deadline
        while not self.ended:
            if max(self.declared, self.read) > self.limits.max_bytes:
                deadline = min(deadline, time.monotonic() + LINGER_S)
            try:
                async with asyncio.timeout(min(LINGER_S, deadline - time.monotonic())):
                    message = await self._receive()
            except (TimeoutError, asyncio.CancelledError):  # the latter where the server's time to drain is over
                return
            self._count(message)

    def _count(self, message: Message) -> int:
        size = len(message.get("body", b""))
        self.read += size
        self.ended = not message.get("more_body", False)
        return size

    def release(self) -> None:
        self.limits.held -= self.held
        self.held = 0

    def _too_large(self) -> Refusal:
        return Refusal("too_large", f"This upload is larger than {self.limits.max_bytes / 1e6:g} MB.")
