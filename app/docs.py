"""GET /openapi.json and /docs: the API's document, for programs and for people."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import respond
from app.errors import CODES, Refusal
from app.preview import base_of
from app.service import Service
from app.web import TRACING_HEADERS


async def openapi(request: Request) -> Response:
    """GET /openapi.json: the document."""
    return JSONResponse(document_of(request))


async def docs(request: Request) -> Response:
    """GET /docs: the document as a page."""
    from app.schemas import MEANINGS  # only now, as no answer about a photo needs it

    service: Service = request.state.service
    shown = {
        "document": document_of(request),
        "errors": [(code, status, MEANINGS[code], hint) for code, (status, hint) in CODES.items()],
        "everywhere": TRACING_HEADERS,
        "base": base_of(request, service.settings.port),
    }
    return respond.page("docs.html", {**shown, **respond.about(request.scope)})


def document_of(request: Request) -> dict[str, Any]:
    """The document of the service, which may still be starting."""
    from app.openapi import document

    service: Service = request.state.service
    try:
        bundle = request.state.bundle = service.classifier.bundle  # which the page around it names too
    except Refusal:
        bundle = None
    return document(service.settings, bundle)


ROUTES = [Route("/openapi.json", openapi), Route("/docs", docs)]
