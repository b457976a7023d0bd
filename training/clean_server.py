"""The clean page's web side: one page, its lists and pictures, and the few things it may ask for, as JSON."""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from app import respond
from app.assets import Assets
from app.errors import Refusal
from app.web import PageHeaders
from training.clean_guard import Guard
from training.clean_session import Refused, Session
from training.errors import TrainingError

LARGE, THUMBNAIL = 1200, 240  # pixels, longest side
MAX_BODY = 10_000  # bytes; the largest request names a class
NOT_KEPT = {"Cache-Control": "no-store"}  # neither on the browser's disk, nor shown after it has changed here


def create_app(session: Session, token: str, port: int) -> Starlette:
    """The ASGI app for one session, served at 127.0.0.1:`port` to whoever knows `token`."""
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/list", listing),
            Route("/near/{row:int}", near),
            Route("/photo/{row:int}", large),
            Route("/thumb/{row:int}", thumbnail),
            Route("/changes", changes),
            Route("/decide", decide, methods=["POST"]),
            Route("/undo", undo, methods=["POST"]),
            Route("/apply", apply, methods=["POST"]),
            Mount("/static", Assets()),
        ],
        middleware=[Middleware(PageHeaders), Middleware(Guard, token=token, port=port)],
        exception_handlers=dict.fromkeys((Refused, Refusal, TrainingError, OSError), on_refusal),
    )
    app.state.session = session
    return app


# Functions that are not async run in threads, so that a slow decode holds nothing up.


def page(request: Request) -> Response:
    """The empty page; clean.js fills it."""
    return respond.page("clean.html", {})


def listing(request: Request) -> Response:
    """What there is to look at."""
    return as_json(_session(request).listing())


def near(request: Request) -> Response:
    """The photos most like one."""
    return as_json(_session(request).near(request.path_params["row"]))


def large(request: Request) -> Response:
    """A photo to look at."""
    return _picture(request, LARGE)


def thumbnail(request: Request) -> Response:
    """A photo to compare with."""
    return _picture(request, THUMBNAIL)


def changes(request: Request) -> Response:
    """What apply would do."""
    return as_json(_session(request).changes())


async def decide(request: Request) -> Response:
    """{"row", "decision", "to"}: write a decision down."""
    asked = await _body(request)
    row, decision, to = asked.get("row"), asked.get("decision"), asked.get("to", "")
    if type(row) is not int or not isinstance(decision, str) or not isinstance(to, str):
        raise Refused(400, "A decision needs a row and a word.")
    return as_json(await run_in_threadpool(_session(request).decide, row, decision, to))


def undo(request: Request) -> Response:
    """Take the last decision back."""
    return as_json(_session(request).undo())


async def apply(request: Request) -> Response:
    """{"check"}: move the photos, if the decisions are still those that /changes listed under this checksum."""
    asked = await _body(request)
    return as_json(await run_in_threadpool(_session(request).apply, str(asked.get("check"))))


def on_refusal(request: Request, error: Exception) -> Response:
    """One sentence for the page to show."""
    status = getattr(error, "status", 500)
    message = (
        f"{error.filename or 'The disk'}: {error.strerror or error}." if isinstance(error, OSError) else str(error)
    )
    return as_json({"error": message}, status)


def as_json(value: Any, status: int = 200) -> Response:
    """ASCII JSON, because file names that are not UTF-8 cannot be written otherwise."""
    return Response(json.dumps(value), status, NOT_KEPT, "application/json")


def _session(request: Request) -> Session:
    session: Session = request.app.state.session
    return session


def _picture(request: Request, longest: int) -> Response:
    content = _session(request).picture(request.path_params["row"], longest)
    return Response(content, 200, NOT_KEPT, "image/jpeg")


async def _body(request: Request) -> dict[str, Any]:
    """The request's JSON object."""
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BODY:
            raise Refused(413, "That is too long.")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(400, "A JSON object is wanted.")
    return value
