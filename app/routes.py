"""The way of a photo: bytes (from a form or a URL) → admission → decode → engine → answer; both end in `classify`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import respond
from app.admission import Wanted
from app.bundle import Bundle
from app.classifier import Answer, Classifier
from app.errors import Refusal
from app.forms import FormParser
from app.outcome import outcome_of
from app.result import Options, as_json
from app.service import Service

MAX_FILES = 64
MAX_FIELD_BYTES = 4096  # of what is no file
URL_MAX_AGE_S = 300

T = TypeVar("T")


async def upload(request: Request) -> Response:
    """POST /upload: one or many photos in the form field `file`."""
    service: Service = request.state.service
    service.admission.check()  # before the body is read: what would be refused is not worth receiving
    classifier = take_classifier(request)
    options = read_options(request, classifier.bundle)
    photos = await read_photos(request)
    one = len(photos) == 1
    work = (
        classify(request, classifier, photos[0], options) if one else classify_all(request, classifier, photos, options)
    )
    return respond_with(request, await in_time(request, work))


async def classify_url(request: Request) -> Response:
    """GET /classify-url?url=…: fetch a photo and classify it."""
    service: Service = request.state.service
    service.admission.check()
    classifier = take_classifier(request)
    options = read_options(request, classifier.bundle)
    return await in_time(request, fetch_and_classify(request, classifier, read_url(request), options))


async def fetch_and_classify(request: Request, classifier: Classifier, url: str, options: Options) -> Response:
    """The photo's answer with an ETag over all that it depends on, or 304 if the client has it already."""
    service: Service = request.state.service
    with outcome_of(request.scope).timed("fetch"):
        photo = await service.fetcher.fetch(url)
    digest = await asyncio.to_thread(sha256, photo)  # of 20 MB it would hold the event loop for tens of milliseconds
    headers = {"ETag": etag(request, classifier.bundle, digest, options), "Cache-Control": f"max-age={URL_MAX_AGE_S}"}
    known = ", ".join(request.headers.getlist("if-none-match"))  # a list may come in several lines
    if headers["ETag"] in known or known == "*":
        return Response(status_code=304, headers={**headers, "Vary": "Accept"})
    response = respond_with(request, await classify(request, classifier, photo, options))
    response.headers.update(headers)
    return response


async def classify(
    request: Request, classifier: Classifier, photo: bytes, options: Options, *, admitted: bool = False
) -> dict[str, Any]:
    """One photo's way through admission, decoder, engine and answer; all but the waiting in a worker thread."""
    service: Service = request.state.service

    def work(wanted: Wanted) -> tuple[Answer, dict[str, Any]]:
        answer = classifier.classify(photo, wanted)
        return answer, as_json(answer, classifier.bundle, options)

    (answer, result), waited = await service.admission.run(work, admitted=admitted)
    outcome_of(request.scope).answered(answer, classifier.bundle.version, waited)
    return result


async def classify_all(
    request: Request, classifier: Classifier, photos: list[bytes], options: Options
) -> dict[str, Any]:
    """Several photos, one after another so that a large request takes only its share; one object or error each.

    The request as a whole is admitted or refused, so that no photo of it is refused for want of room.
    """
    results = []
    request.state.service.admission.check()
    for photo in photos:
        try:
            results.append(await classify(request, classifier, photo, options, admitted=True))
        except Refusal as refusal:
            outcome_of(request.scope).refused(refusal)
            results.append(refusal.as_json())
    return {"results": results}


async def in_time(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, unless it takes too long (Refusal) or the client leaves meanwhile: then it is cancelled."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(client_gone(request))
    timeout_s = request.state.service.settings.request_timeout_s
    try:
        await asyncio.wait({task, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            gone.result()
            raise ClientDisconnect
        raise Refusal("busy", f"No answer within {timeout_s:g} seconds.", retry_after_s=1)
    finally:
        gone.cancel()
        task.cancel()


async def client_gone(request: Request) -> None:
    """Return once the client has closed the connection. Raises Refusal if it sends a body past its limits."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def read_photos(request: Request) -> list[bytes]:
    """The bytes of every file in the form field `file`. Raises Refusal."""
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary or b'"' in boundary or b"\\" in boundary:
        raise Refusal("no_file", "This is not a multipart/form-data request with a boundary.")
    # the boundary alone: a charset of the client's choosing could be one that takes quadratic time
    headers = Headers({"content-type": f'multipart/form-data; boundary="{boundary.decode("latin-1")}"'})
    limits = {"max_files": MAX_FILES, "max_fields": MAX_FILES, "max_part_size": MAX_FIELD_BYTES}
    parser = FormParser(headers, request.stream(), **limits)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal("bad_request", f"The form cannot be read: {error.message.rstrip('.')}.") from error
    try:
        files = [item for item in form.getlist("file") if isinstance(item, UploadFile) and (item.filename or item.size)]
        if not files:
            raise Refusal("no_file", "There is no file in the field 'file'.")
        return [await item.read() for item in files]
    finally:
        await form.close()


def take_classifier(request: Request) -> Classifier:
    """The bundle at work, for the whole of this request: one that a reload puts to work meanwhile is for the next.

    Raises Refusal("starting").
    """
    classifier: Classifier = request.state.service.classifier
    request.state.bundle = classifier.bundle  # which the page around the answer names too
    return classifier


def read_options(request: Request, bundle: Bundle) -> Options:
    """What the query asks for; a page always shows a thumbnail."""
    options = Options.parse(request.query_params, bundle.classes)
    return replace(options, thumbnail=True) if respond.wants_page(request.headers) else options


def read_url(request: Request) -> str:
    """The one `url` of the query. Raises Refusal."""
    urls = request.query_params.getlist("url")
    if len(urls) != 1 or not urls[0]:
        raise Refusal("bad_url", "Give exactly one url: /classify-url?url=https://example.org/photo.jpg.")
    return urls[0]


def etag(request: Request, bundle: Bundle, digest: str, options: Options) -> str:
    """A strong tag over the bundle, the photo's digest, the options and the representation."""
    face = "page" if respond.wants_page(request.headers) else "json"
    content = f"{bundle.version} {digest} {options} {face}"
    return f'"{sha256(content.encode())[:32]}"'


def sha256(data: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def respond_with(request: Request, result: dict[str, Any]) -> Response:
    """The result in the face that the client prefers, with Server-Timing in milliseconds."""
    response = respond.answer(request.scope, "index.html", result)
    if seconds := outcome_of(request.scope).seconds():
        response.headers["Server-Timing"] = ", ".join(f"{step};dur={1000 * s:.1f}" for step, s in seconds.items())
    return response


async def home(request: Request) -> Response:
    """GET /: the page."""
    return respond.page("index.html", {"content": {}, **respond.about(request.scope)})


async def model(request: Request) -> Response:
    """GET /model: the bundle's card and the CPU plan."""
    service: Service = request.state.service
    content = {**take_classifier(request).bundle.card, "plan": service.plan()}
    return respond.answer(request.scope, "model.html", content)


async def metrics(request: Request) -> Response:
    """GET /metrics: what a Prometheus server reads."""
    service: Service = request.state.service
    content, content_type = service.metrics.page(request.headers.get("accept", ""))
    return Response(content, media_type=content_type)


async def livez(request: Request) -> Response:
    """GET /livez: the process answers."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """GET /readyz: the golden photos agree and the service is not draining."""
    request.state.service.check_ready()
    return JSONResponse({"status": "ready"})


ROUTES = [
    Route("/", home),
    Route("/upload", upload, methods=["POST"]),
    Route("/classify-url", classify_url),
    Route("/model", model),
    Route("/metrics", metrics),
    Route("/livez", livez),
    Route("/readyz", readyz),
]
