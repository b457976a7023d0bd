"""Spans of requests for OpenTelemetry, through its standard ASGI instrumentation; off unless `--traces` is set.

The instrumentation is shown a request as our log knows it, and the caller's trace: no span can tell what it does not
see, such as a photo's URL or a key, and no header of a stranger can trip it.
"""

from __future__ import annotations

import threading

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.logs import QUIET_ROUTES
from app.outcome import OTHER, TRACE_FLAGS, UNMATCHED, Outcome, outcome_of
from app.web import begin, only

NOT_TRACED = (*QUIET_ROUTES, "/static", "/sw.js", "/manifest.webmanifest")
TRACEPARENT_LENGTH = 55  # what a later version of the header may add is not for us
FLUSH_S = 2.0  # what the collector gets on shutdown to take the last spans


class Tracing:
    """The source of spans, as the OTEL_* variables say; an `exporter` replaces the one for the real collector.

    A thread of its own sends them, and what it cannot keep up with is dropped: no request waits.

    Raises ValueError or RuntimeError for a variable that cannot be used.
    """

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        self._provider = TracerProvider(resource=create_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))

    def around(self, app: ASGIApp) -> Traces:
        """The app, with a span for each request."""
        return Traces(app, self._provider)

    def close(self) -> None:
        """Send what is left, for as long as FLUSH_S; the SDK would wait 30 s for a collector that does not answer."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(FLUSH_S)


def create_resource() -> Resource:
    """Who sends: what the variables say, under our own name unless they give one."""
    found = Resource.create()
    named = not str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found if named else found.merge(Resource({SERVICE_NAME: "tellapart"}))


class Traces:
    """Makes a span of each request but probes and static files, and one below it for each step that was measured.

    The span is the one that our answer's `traceparent` and our log name.
    """

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        self.app = app
        self._tracer = provider.get_tracer("tellapart")
        self._traced = OpenTelemetryMiddleware(
            self._answer,
            default_span_details=name_span,
            server_request_hook=adopt,
            tracer_provider=provider,
            meter_provider=NoOpMeterProvider(),  # /metrics has them
            exclude_spans=["receive", "send"],  # one for each piece of a body
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (outcome := begin(scope)).route in NOT_TRACED:
            await self.app(scope, receive, send)
        else:
            await self._traced(shown(scope, outcome), receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = outcome_of(scope["whole"])
        try:
            await self.app(scope["whole"], receive, send)
        finally:
            for step in outcome.steps:
                ended_ns = step.started_ns + round(step.seconds * 1e9)
                self._tracer.start_span(step.name, start_time=step.started_ns).end(ended_ns)


def shown(scope: Scope, outcome: Outcome) -> Scope:
    """All that the instrumentation gets to see of a request, and under `whole` what it does not look at."""
    known = {name: scope[name] for name in ("type", "scheme", "server", "http_version")}
    caller = only(Headers(scope=scope), "traceparent")[:TRACEPARENT_LENGTH] if outcome.traceparent else ""
    headers = [(b"traceparent", caller.encode())] if caller else []
    path = "" if outcome.route == UNMATCHED else outcome.route
    return {**known, "method": outcome.method, "path": path, "headers": headers, "whole": scope}


def name_span(scope: Scope) -> tuple[str, dict[str, str]]:
    """`POST /upload`, by the route; of an address that is none of ours, the method alone."""
    method, route = "HTTP" if scope["method"] == OTHER else scope["method"], scope["path"]
    return (f"{method} {route}", {"http.route": route}) if route else (method, {})


def adopt(span: Span, scope: Scope) -> None:
    """Have the request's outcome, and so its log line and its answer, name this span, unless OTEL_SDK_DISABLED has it
    that there is none."""
    context = span.get_span_context()
    if context.is_remote or not context.is_valid:
        return
    flags = context.trace_flags & TRACE_FLAGS
    outcome_of(scope["whole"]).traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
