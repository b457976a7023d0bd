"""The API's document, OpenAPI 3.1: what this very service takes and answers, as plain values.

Built from its settings, the bundle at work and the table of errors, so that it can say nothing else than they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from app.answer import OUTSIDE
from app.bundle import Bundle
from app.errors import CODES
from app.forms import MAX_FILES
from app.schemas import MEANINGS, TEXT, Json, error_example, examples, ref, schemas
from app.settings import Settings
from app.web import OPEN_PATHS, TRACING_HEADERS

API_VERSION = "1"  # names are added to it, never taken away; see docs/api.md

PAGE = {"text/html": {"schema": TEXT}}
FIGURES = {kind: {"schema": TEXT} for kind in ("text/plain", "application/openmetrics-text")}
ANYWHERE = ("bad_request", "internal")
PHOTO = ("too_large", "too_many_pixels", "not_an_image", "broken_image", "slow_body", "busy", "starting")
FETCH = ("bad_url", "blocked_url", "url_route_off", "fetch_failed", "fetch_slow", "draining")

# name → (what it says, its schema)
HEADERS: dict[str, tuple[str, Json]] = {
    "Retry-After": ("Seconds to wait before sending it again.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("Makes a browser ask for the key.", TEXT),
    "Server-Timing": (
        "Milliseconds that fetching, waiting in line, decoding and inference took.",
        {**TEXT, "pattern": r"^(\w+;dur=\d+\.\d(, )?)+$"},
    ),
    "ETag": ("Names this answer: model, photo, parameters and whether it is a page.", TEXT),
    "Cache-Control": ("How long a cache may keep the answer.", TEXT),
    "Vary": ("Accept decides between JSON and a page.", TEXT),
    "X-Request-ID": ("Names this request in the service's log.", {**TEXT, "pattern": "^[A-Za-z0-9._-]{1,64}$"}),
    "traceparent": ("Your trace, with this request as a span of it.", TEXT),
}
SOMETIMES = ("Server-Timing", "traceparent")  # if any photo was answered, and if the request was part of a trace
SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Programs send the service's key as a token."},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "A browser asks for it: any user name, the key as password.",
    },
}


def document(settings: Settings, bundle: Bundle | None) -> Json:
    """The whole document. While `bundle` is None, as the service is starting, it lists no classes."""
    guarded = bool(settings.api_key)
    paths = _paths(settings, bundle)
    for path, methods in paths.items():
        for operation in methods.values():
            _finish(operation, guarded=guarded and path not in OPEN_PATHS)
    components: Json = {"schemas": schemas(bundle.classes if bundle else None, MAX_FILES)}
    if guarded:
        components["securitySchemes"] = SECURITY_SCHEMES
    return {"openapi": "3.1.0", "info": _info(), "paths": paths, "components": components}


def _info() -> Json:
    return {
        "title": "tellapart",
        "version": API_VERSION,
        "summary": "Tells photos apart: a photo in, the probability of each class out.",
        "description": (
            "Programs get JSON. Where the Accept header prefers text/html, a page says the same. "
            "HEAD is answered wherever GET is.\n\n"
            "Every answer has an X-Request-ID, yours if you sent one, and continues the trace of a traceparent "
            "that you sent.\n\n"
            "Every refusal has one shape: a code for programs, a message and a hint for people. "
            "Worth another try are 503, once the seconds in Retry-After are over, and 408, 502 and 504.\n\n"
            "Keys, codes, headers and addresses may be added; predictions stay pairs of a class and its probability, "
            "most probable first."
        ),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def _paths(settings: Settings, bundle: Bundle | None) -> dict[str, dict[str, Json]]:
    return {
        "/upload": {"post": _upload(settings, bundle)},
        "/classify-url": {"get": _classify_url(settings, bundle)},
        "/feedback": {"post": _feedback(settings)},
        "/model": {
            "get": {
                "operationId": "model",
                "summary": "The model and how the cores are used",
                "description": "The bundle's card: classes, figures, training; and the plan of the CPU.",
                "responses": {"200": _ok("The card and the plan.", "Card", ("Vary",)), **_refusals("starting")},
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Figures for Prometheus",
                "description": "Requests, refusals, answers, times and the line. OpenMetrics where Accept asks for it.",
                "responses": {"200": {"description": "The figures.", "content": FIGURES}, **_refusals()},
            }
        },
        "/livez": {"get": _probe("livez", "Whether the process answers", "It answers.", "Alive")},
        "/readyz": {
            "get": _probe("readyz", "Whether photos would be answered", "They would.", "Ready", "starting", "draining")
        },
        "/": {"get": _page("home", "The page for people", "Takes photos, with JavaScript and without.")},
        "/openapi.json": {"get": _probe("openapi", "This document", "OpenAPI 3.1.", "Document")},
        "/docs": {"get": _page("docs", "This document as a page", "Nothing on it comes from elsewhere.")},
    }


def _upload(settings: Settings, bundle: Bundle | None) -> Json:
    photos = {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_FILES,
        "items": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
        "description": "A photo; repeat the field for several. File names and content types do not matter.",
    }
    form = {"type": "object", "required": ["file"], "properties": {"file": photos}}
    result = {"oneOf": [ref("Answer"), ref("Answers")]}
    return {
        "operationId": "upload",
        "summary": "Classify photos that you send",
        "description": (
            f"Takes a form with one photo, or up to {MAX_FILES}, {settings.max_upload_mb:g} MB in all and "
            f"{megapixels(settings)} each. One is answered with an object; several with a list of "
            "objects, or errors where a photo was refused, in the order sent."
        ),
        "parameters": _options(bundle),
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {
            "200": _ok("What was seen.", result, ("Vary", "Server-Timing"), examples(bundle)),
            **_refusals("no_file", *PHOTO),
        },
    }


def _feedback(settings: Settings) -> Json:
    binary = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    photo = {**binary, "description": "The photo."}
    either = {"anyOf": [ref("Class"), {"const": OUTSIDE}]}
    label = {**either, "description": f"What it shows: a class, or {OUTSIDE}.", "example": OUTSIDE}
    form = {"type": "object", "required": ["file", "label"], "properties": {"file": photo, "label": label}}
    on = "" if settings.feedback_dir else " This service keeps none: every answer is 404."
    return {
        "operationId": "feedback",
        "summary": "Say what a photo really shows",
        "description": (
            "Takes a form with one photo and its label, and keeps both on the server, where the model may be trained "
            f"on them. Nothing is ever read back. Pages of other sites are refused.{on}"
        ),
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {
            "200": _ok("What became of it.", "Feedback", ("Vary",)),
            **_refusals("no_file", "cross_site", "feedback_off", "not_kept", *PHOTO),
        },
    }


def _classify_url(settings: Settings, bundle: Bundle | None) -> Json:
    sources = {
        "public": "Any public address is fetched from, on ports 80 and 443.",
        "none": "This service fetches from none: every answer is 404.",
    }
    headers = ("Vary", "ETag", "Cache-Control")
    one = {"one": examples(bundle)["one"]}
    return {
        "operationId": "classify_url",
        "summary": "Classify a photo at a URL",
        "description": (
            f"Fetches the photo, up to {settings.max_upload_mb:g} MB and {megapixels(settings)}. "
            + sources.get(settings.url_hosts, "Only hosts that the operator listed are fetched from.")
        ),
        "parameters": [
            _parameter("url", "Where the photo is.", ref("Url"), required=True, example="https://example.org/bear.jpg"),
            *_options(bundle),
            _parameter(
                "If-None-Match",
                "An ETag that you have: if it still names the answer, 304 comes instead of it.",
                TEXT,
                where="header",
            ),
        ],
        "responses": {
            "200": _ok("What was seen.", "Answer", (*headers, "Server-Timing"), one),
            "304": {"description": "What you have is still the answer.", "headers": _headers(headers)},
            **_refusals(*PHOTO, *FETCH),
        },
    }


def megapixels(settings: Settings) -> str:
    """How large a photo may be, in words."""
    return f"{settings.max_pixels_mp:g} megapixels (fewer as WebP, AVIF, GIF or HEIC, or as PNG with transparency)"


def _options(bundle: Bundle | None) -> list[Json]:
    named: Json = {"enum": list(dict.fromkeys(("0", "1", *bundle.classes)))} if bundle else {}
    top_k = {"type": "integer", "minimum": 1}
    switch = {"type": "string", "enum": ["0", "1"], "default": "0"}
    return [
        _parameter("top_k", "How many classes to list, most probable first. All by default.", top_k, example=3),
        _parameter(
            "explain",
            "1 adds a heat map of where the first class was seen, a class's name one of that class.",
            {"type": "string", "default": "0", **named},
            example="1",
        ),
        _parameter("thumbnail", "1 adds a small upright preview of the photo.", switch, example="1"),
    ]


def _parameter(name: str, description: str, schema: Json, *, where: str = "query", **more: Any) -> Json:
    return {"name": name, "in": where, "description": description, "schema": schema, **more}


def _probe(name: str, summary: str, description: str, schema: str, *codes: str) -> Json:
    """An operation that answers in JSON alone."""
    content = {"application/json": {"schema": ref(schema)}}
    responses = {"200": {"description": description, "content": content}, **_refusals(*codes)}
    return {"operationId": name, "summary": summary, "responses": responses}


def _page(name: str, summary: str, description: str) -> Json:
    """An operation that answers with a page alone."""
    responses = {"200": {"description": description, "content": PAGE}, **_refusals()}
    return {"operationId": name, "summary": summary, "responses": responses}


def _ok(description: str, schema: str | Json, headers: Sequence[str], shown: Json | None = None) -> Json:
    """An answer that is JSON or a page, as the client prefers."""
    body: Json = {"schema": ref(schema) if isinstance(schema, str) else schema}
    if shown:
        body["examples"] = shown
    return {
        "description": description,
        "headers": _headers(headers),
        "content": {"application/json": body, **PAGE},
    }


def _headers(names: Sequence[str]) -> Json:
    """Headers by name; required are those that such a response always has."""
    found = ((name, *HEADERS[name]) for name in names)
    return {
        name: {"description": what, "required": name not in SOMETIMES, "schema": schema} for name, what, schema in found
    }


def _refusals(*codes: str) -> Json:
    """A response for each status of these codes and of those that may come from anywhere."""

    def status(code: str) -> int:
        return CODES[code][0]

    ordered = sorted({*codes, *ANYWHERE}, key=lambda code: (status(code), list(CODES).index(code)))
    return {str(number): _refusal(number, list(group)) for number, group in groupby(ordered, status)}


def _refusal(status: int, codes: list[str]) -> Json:
    named = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    body = {
        "schema": {"allOf": [ref("Error"), named]},
        "examples": {code: {"value": error_example(code)} for code in codes},
    }
    headers = {401: ("Vary", "WWW-Authenticate"), 503: ("Vary", "Retry-After")}.get(status, ("Vary",))
    return {
        "description": " ".join(f"{code}: {MEANINGS[code]}" for code in codes),
        "headers": _headers(headers),
        "content": {"application/json": body, **PAGE},
    }


def _finish(operation: Json, *, guarded: bool) -> None:
    """Say of an operation whether it needs the key, put its responses in order, and add what each of them has."""
    if guarded:
        operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
        operation["responses"] |= {"401": _refusal(401, ["unauthorized"])}
    operation["responses"] = dict(sorted(operation["responses"].items()))
    for response in operation["responses"].values():
        response["headers"] = {**response.get("headers", {}), **_headers(TRACING_HEADERS)}
