"""The API's document, OpenAPI 3.1: what this very service takes and answers, as plain values.

Built from its settings, the bundle at work and the table of errors, so that it can say nothing else than they do.
"""

from __future__ import annotations

from app import openapi_dialects
from app.answer import OUTSIDE
from app.bundle import Bundle
from app.forms import MAX_FILES
from app.openapi_parts import (
    PHOTO,
    header_objects,
    json_operation,
    megapixels,
    ok,
    page,
    parameter,
    refusal,
    refusals,
)
from app.respond import is_dialect
from app.schemas import TEXT, Json, examples, ref, schemas
from app.settings import Settings
from app.web import OPEN_PATHS, TRACING_HEADERS

API_VERSION = "1"  # names are added to it, never taken away; see docs/api.md

FIGURES = {kind: {"schema": TEXT} for kind in ("text/plain", "application/openmetrics-text")}
FETCH = ("bad_url", "blocked_url", "url_route_off", "fetch_failed", "fetch_slow", "draining")
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
            _finish(operation, guarded=guarded and path not in OPEN_PATHS, terse=is_dialect(path))
    own = schemas(bundle.classes if bundle else None, MAX_FILES)
    components: Json = {"schemas": own | openapi_dialects.schemas()}
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
            "Every refusal has one shape: a code for programs, a message and a hint for people; under /v2 and /hf, "
            "where other APIs are spoken, it has theirs. "
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
                "responses": {"200": ok("The card and the plan.", "Card", ("Vary",)), **refusals("starting")},
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Figures for Prometheus",
                "description": "Requests, refusals, answers, times and the line. OpenMetrics where Accept asks for it.",
                "responses": {"200": {"description": "The figures.", "content": FIGURES}, **refusals()},
            }
        },
        "/livez": {"get": json_operation("livez", "Whether the process answers", "It answers.", "Alive")},
        "/readyz": {
            "get": json_operation(
                "readyz", "Whether photos would be answered", "They would.", "Ready", "starting", "draining"
            )
        },
        **openapi_dialects.paths(settings, bundle),
        "/": {"get": page("home", "The page for people", "Takes photos, with JavaScript and without.")},
        "/openapi.json": {"get": json_operation("openapi", "This document", "OpenAPI 3.1.", "Document")},
        "/docs": {"get": page("docs", "This document as a page", "Nothing on it comes from elsewhere.")},
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
            "200": ok("What was seen.", result, ("Vary", "Server-Timing"), examples(bundle)),
            **refusals("no_file", *PHOTO),
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
            "200": ok("What became of it.", "Feedback", ("Vary",)),
            **refusals("no_file", "cross_site", "feedback_off", "not_kept", *PHOTO),
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
            parameter("url", "Where the photo is.", ref("Url"), required=True, example="https://example.org/bear.jpg"),
            *_options(bundle),
            parameter(
                "If-None-Match",
                "An ETag that you have: if it still names the answer, 304 comes instead of it.",
                TEXT,
                where="header",
            ),
        ],
        "responses": {
            "200": ok("What was seen.", "Answer", (*headers, "Server-Timing"), one),
            "304": {"description": "What you have is still the answer.", "headers": header_objects(headers)},
            **refusals(*PHOTO, *FETCH),
        },
    }


def _options(bundle: Bundle | None) -> list[Json]:
    named: Json = {"enum": list(dict.fromkeys(("0", "1", *bundle.classes)))} if bundle else {}
    top_k = {"type": "integer", "minimum": 1}
    switch = {"type": "string", "enum": ["0", "1"], "default": "0"}
    return [
        parameter("top_k", "How many classes to list, most probable first. All by default.", top_k, example=3),
        parameter(
            "explain",
            "1 adds a heat map of where the first class was seen, a class's name one of that class.",
            {"type": "string", "default": "0", **named},
            example="1",
        ),
        parameter("thumbnail", "1 adds a small upright preview of the photo.", switch, example="1"),
    ]


def _finish(operation: Json, *, guarded: bool, terse: bool) -> None:
    """Say of an operation whether it needs the key, put its responses in order, and add what each of them has."""
    if guarded:
        operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
        operation["responses"] |= {"401": refusal(401, ["unauthorized"], terse=terse)}
    operation["responses"] = dict(sorted(operation["responses"].items()))
    for response in operation["responses"].values():
        response["headers"] = {**response.get("headers", {}), **header_objects(TRACING_HEADERS)}
