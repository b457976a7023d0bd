"""The two faces of every answer: JSON for programs, a page for people whose browser asks for one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from jinja2.utils import htmlsafe_json_dumps
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from app import examples, model_card, preview, words
from app.assets import asset
from app.errors import Refusal
from app.outcome import outcome_of
from app.settings import ROOT

MOST_OF_ACCEPT = 500  # characters; of 30 KB of commas it would take 30 ms each time to tell what is preferred
DIALECTS = ("/v2/", "/hf/")  # addresses of other APIs, whose clients read their own errors and no pages
SHORT_SIDE = 512  # pixels: a browser scales photos down to this or, as the decoder does, to twice what is resized to

_templates = Environment(
    loader=FileSystemLoader(ROOT / "templates"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_for_scripts = htmlsafe_json_dumps(words.FOR_SCRIPTS, ensure_ascii=False, separators=(",", ":"))
_templates.globals.update(asset=asset, card_in_words=model_card.in_words, own_rate=model_card.own_rate)
_templates.globals.update(in_short=preview.in_short, likeliest=preview.likeliest, percent=words.percent)
_templates.globals.update(words=words.WORDS, words_for_scripts=_for_scripts)
_templates.globals.update(say=words.say, question=words.question, verdict=words.verdict)
_templates.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}


def wants_page(headers: Headers) -> bool:
    """Whether `Accept` prefers text/html to application/json; no preference means JSON."""
    accept = headers.get("accept", "*/*")[:MOST_OF_ACCEPT]
    # what most programs send; telling for each what the two lines below say takes 20 µs
    return accept != "*/*" and _quality(accept, "text/html") > _quality(accept, "application/json")


def page(template: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """A rendered template."""
    return HTMLResponse(_templates.get_template(template).render(context), status, {"Vary": "Accept"})


def answer(scope: Scope, template: str, content: Mapping[str, Any], status: int = 200) -> Response:
    """`content` as JSON, or as the page that `template` makes of it, whichever the client prefers."""
    if wants_page(Headers(scope=scope)):
        return page(template, {"content": content, **about(scope)}, status)
    return JSONResponse(content, status, {"Vary": "Accept"})


def refusal_response(scope: Scope, refusal: Refusal, beside: Mapping[str, Any] | None = None) -> Response:
    """A refusal in the one error shape, or as a page that says the same; the request's outcome learns of it.

    At an address of another API it has that one's shape, {"error": message and hint}, with what stands `beside` it.
    """
    outcome_of(scope).refused(refusal)
    if is_dialect(scope["path"]):
        response: Response = JSONResponse({**(beside or {}), "error": refusal.as_text()}, refusal.status)
    else:
        response = answer(scope, "index.html", refusal.as_json(), refusal.status)
    if refusal.retry_after_s is not None:
        response.headers["Retry-After"] = str(refusal.retry_after_s)
    return response


def is_dialect(path: str) -> bool:
    """Whether the address is one of another API."""
    return f"{path}/".startswith(DIALECTS)


def about(scope: Scope) -> dict[str, Any]:
    """What every page shows of the service, as plain values; `name`, `version`, `classes` are None while it starts.
    And `link`, by which others may see the same answer, or None."""
    state = scope.get("state", {})
    service, link = state.get("service"), state.get("link")
    if service is None:
        return {"service": None, "link": link}
    bundle = state.get("bundle")  # of the classifier that answered, where one did
    if bundle is None:
        with contextlib.suppress(Refusal):
            bundle = service.classifier.bundle
    return {
        "service": {
            "name": bundle and bundle.name,
            "version": bundle and bundle.version,
            "classes": bundle and bundle.classes,
            "examples": bundle and examples.addresses(bundle),
            "short_side": max(SHORT_SIDE, 2 * bundle.preprocess.resize) if bundle else SHORT_SIDE,
            "max_upload_mb": service.settings.max_upload_mb,
            "urls": service.settings.url_hosts != "none",
            "key": bool(service.settings.api_key),
            "feedback": service.settings.feedback_dir is not None,
        },
        "link": link,
    }


def _quality(accept: str, media_type: str) -> float:
    """The q value that an Accept header gives a media type (RFC 9110 §12.5.1: the most specific range counts)."""
    found = {}
    for part in accept.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            found[media_range] = float(quality)
        except ValueError:
            continue
    for media_range in (media_type, media_type.split("/")[0] + "/*", "*/*"):
        if media_range in found:
            return found[media_range]
    return 0.0
