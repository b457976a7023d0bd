"""create_app: routes, error handlers, middleware and the lifespan that owns what requests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app import assets, dialects, docs, examples, respond
from app.errors import Refusal, SettingError
from app.feedback import FeedbackFolder
from app.fetch import Fetcher, HostPolicy
from app.logs import log
from app.outcome import NOBODY_LISTENED
from app.routes import ROUTES
from app.service import Service
from app.settings import Settings
from app.tensors import JSON_LENGTH
from app.web import TRACING_HEADERS, BodyLimits, KeyGuard, PageHeaders, Recorder

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from app.traces import Tracing

# Told None when the bundle is at work, or what went wrong.
Loaded = Callable[[BaseException | None], None]

HTTP_CODES = {
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address takes other methods."),
}


def create_app(
    settings: Settings,
    *,
    fetcher: Fetcher | None = None,
    exporter: SpanExporter | None = None,
    loaded: Loaded = lambda _: None,
) -> Starlette:
    """The ASGI app. It answers at once while the bundle loads beside it; `loaded` is called when that has ended.

    `fetcher` replaces the one for the real network, `exporter` the one for spans. Raises SettingError.
    """
    feedback, tracing = create_feedback(settings), create_tracing(settings, exporter)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with fetcher or create_fetcher(settings) as fetching:
            service = app.state.service = Service(settings, fetching, feedback)
            loading = asyncio.create_task(service.load(loaded))
            loading.add_done_callback(tell_why)
            yield {"service": service}
            loading.cancel()
            service.close()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    return Starlette(
        routes=[*ROUTES, *dialects.ROUTES, *docs.ROUTES, *assets.ROUTES, *examples.ROUTES],
        middleware=create_middleware(settings, tracing),
        exception_handlers={
            Refusal: on_refusal,
            HTTPException: on_http_exception,
            ClientDisconnect: on_client_gone,
        },
        lifespan=lifespan,
    )


def tell_why(loading: asyncio.Task[None]) -> None:
    """Say so if loading bundles has ended by a fault: no reload would be answered any more."""
    if not loading.cancelled() and (error := loading.exception()):
        log.error("Bundles can no longer be reloaded.", exc_info=error)


def create_fetcher(settings: Settings) -> Fetcher:
    """The fetcher for the real network."""
    return Fetcher(
        HostPolicy.parse(settings.url_hosts),
        timeout_s=settings.url_timeout_s,
        max_bytes=int(settings.max_upload_mb * 1e6),
    )


def create_feedback(settings: Settings) -> FeedbackFolder | None:
    """The folder for feedback, if one is set. Raises SettingError."""
    if settings.feedback_dir is None:
        return None
    return FeedbackFolder(settings.feedback_dir, int(settings.feedback_max_mb * 1e6))


def create_tracing(settings: Settings, exporter: SpanExporter | None) -> Tracing | None:
    """What makes spans and sends them, if they are wanted. Raises SettingError, also without the traces extra."""
    if settings.traces == "none":
        return None
    try:  # only now, as it takes a quarter of a second to import
        from app.traces import Tracing

        return Tracing(exporter)
    except ImportError as error:
        raise SettingError(f"--traces otlp needs the traces extra of pyproject.toml: {error}.") from error
    except (ValueError, RuntimeError) as error:  # from the import too, which reads some of them
        raise SettingError(f"An OTEL_* variable cannot be used: {str(error).rstrip('.')}.") from error


def create_middleware(settings: Settings, tracing: Tracing | None) -> list[Middleware]:
    """From the outside in: traces where set, page headers, the record of all, CORS where set, limits of the body, the
    key where set."""
    middleware = [Middleware(tracing.around)] if tracing else []
    middleware += [Middleware(PageHeaders), Middleware(Recorder)]
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", JSON_LENGTH, *TRACING_HEADERS],
                expose_headers=[*TRACING_HEADERS, "ETag", "Retry-After", "Server-Timing", JSON_LENGTH],
            )
        )
    max_bytes = int(settings.max_upload_mb * 1e6)
    middleware.append(Middleware(BodyLimits, max_bytes=max_bytes, timeout_s=settings.body_timeout_s))
    if settings.api_key:
        middleware.append(Middleware(KeyGuard, key=settings.api_key))
    return middleware


async def on_refusal(request: Request, error: Exception) -> Response:
    """A refusal, in the one error shape."""
    return respond.refusal_response(request.scope, cast(Refusal, error))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: unknown paths, other methods, forms that cannot be parsed."""
    refused = cast(HTTPException, error)
    code, message = HTTP_CODES.get(refused.status_code, ("bad_request", refused.detail))
    response = respond.refusal_response(request.scope, Refusal(code, message))
    response.headers.update(refused.headers or {})
    if refused.status_code == 405:
        response.headers.setdefault("Allow", "GET, HEAD")  # static files refuse without it
    return response


async def on_client_gone(request: Request, error: Exception) -> Response:
    """Nobody reads this."""
    return Response(status_code=NOBODY_LISTENED)
