"""What operations of the API's document are made of: parameters, headers, answers, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from app.errors import CODES
from app.schemas import COUNT, MEANINGS, TEXT, Json, error_example, ref, sentence_example
from app.settings import Settings
from app.tensors import JSON_LENGTH

PAGE = {"text/html": {"schema": TEXT}}
ANYWHERE = ("bad_request", "internal")
PHOTO = ("too_large", "too_many_pixels", "not_an_image", "broken_image", "slow_body", "busy", "starting")

# name → (what it says, its schema)
HEADERS: dict[str, tuple[str, Json]] = {
    "Retry-After": ("Seconds to wait before sending it again.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("Makes a browser ask for the key.", TEXT),
    "Server-Timing": (
        "Milliseconds that fetching, waiting in line, reading JSON, decoding and inference took.",
        {**TEXT, "pattern": r"^(\w+;dur=\d+\.\d(, )?)+$"},
    ),
    "ETag": ("Names this answer: model, photo, parameters and whether it is a page.", TEXT),
    "Cache-Control": ("How long a cache may keep the answer.", TEXT),
    JSON_LENGTH: ("Length of the JSON, behind which binary tensors follow.", COUNT),
    "Vary": ("Accept decides between JSON and a page.", TEXT),
    "X-Request-ID": ("Names this request in the service's log.", {**TEXT, "pattern": "^[A-Za-z0-9._-]{1,64}$"}),
    "traceparent": ("Your trace, with this request as a span of it.", TEXT),
}
# if any photo was answered, if the request was part of a trace, if an output is binary
SOMETIMES = ("Server-Timing", "traceparent", JSON_LENGTH)


def parameter(name: str, description: str, schema: Json, *, where: str = "query", **more: Any) -> Json:
    """A parameter in the query, a header or the path."""
    return {"name": name, "in": where, "description": description, "schema": schema, **more}


def json_operation(name: str, summary: str, description: str, schema: str, *codes: str, terse: bool = False) -> Json:
    """An operation that answers in JSON alone."""
    content = {"application/json": {"schema": ref(schema)}}
    responses = {"200": {"description": description, "content": content}, **refusals(*codes, terse=terse)}
    return {"operationId": name, "summary": summary, "responses": responses}


def page(name: str, summary: str, description: str) -> Json:
    """An operation that answers with a page alone."""
    responses = {"200": {"description": description, "content": PAGE}, **refusals()}
    return {"operationId": name, "summary": summary, "responses": responses}


def ok(description: str, schema: str | Json, headers: Sequence[str], shown: Json | None = None) -> Json:
    """An answer that is JSON or a page, as the client prefers."""
    body: Json = {"schema": ref(schema) if isinstance(schema, str) else schema}
    if shown:
        body["examples"] = shown
    return {
        "description": description,
        "headers": header_objects(headers),
        "content": {"application/json": body, **PAGE},
    }


def header_objects(names: Sequence[str]) -> Json:
    """Headers by name; required are those that such a response always has."""
    found = ((name, *HEADERS[name]) for name in names)
    return {
        name: {"description": what, "required": name not in SOMETIMES, "schema": schema} for name, what, schema in found
    }


def refusals(*codes: str, terse: bool = False) -> Json:
    """A response for each status of these codes and of those from anywhere; `terse` as other APIs have it."""

    def status(code: str) -> int:
        return CODES[code][0]

    ordered = sorted({*codes, *ANYWHERE}, key=lambda code: (status(code), list(CODES).index(code)))
    return {str(number): refusal(number, list(group), terse=terse) for number, group in groupby(ordered, status)}


def refusal(status: int, codes: list[str], *, terse: bool = False) -> Json:
    """The response with that status, for these codes."""
    headers = {401: ("WWW-Authenticate",), 503: ("Retry-After",)}.get(status, ())
    named = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    example = sentence_example if terse else error_example
    body = {
        "schema": ref("Sentence") if terse else {"allOf": [ref("Error"), named]},
        "examples": {code: {"value": example(code)} for code in codes},
    }
    return {
        "description": " ".join(f"{code}: {MEANINGS[code]}" for code in codes),
        "headers": header_objects(headers if terse else ("Vary", *headers)),
        "content": {"application/json": body, **({} if terse else PAGE)},
    }


def megapixels(settings: Settings) -> str:
    """How large a photo may be, in words."""
    return f"{settings.max_pixels_mp:g} megapixels (fewer as WebP, AVIF, GIF or HEIC, or as PNG with transparency)"
