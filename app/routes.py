"""The way of a photo: bytes (from a form or a URL) → admission → decode → engine → answer; both end in `classify`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import respond
from app.admission import Wanted
from app.bundle import Bundle
from app.classifier import Answer, Classifier, Judgement
from app.errors import Refusal
from app.feedback import FeedbackFolder, check_label, check_same_site
from app.forms import read_form
from app.outcome import now_ns, outcome_of
from app.preview import link
from app.result import Options, as_json
from app.service import Service

URL_MAX_AGE_S = 300

T = TypeVar("T")


async def upload(request: Request) -> Response:
    """POST /upload, and /share from a share sheet: one or many photos in the form field `file`."""
    service: Service = request.state.service
    service.admission.check()  # before the body is read: what would be refused is not worth receiving
    classifier = take_classifier(request)
    options = read_options(request, classifier.bundle)
    photos, _ = await read_form(request)
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
    url = read_url(request)
    request.state.link = link(request, service.settings.port, url)
    return await in_time(request, fetch_and_classify(request, classifier, url, options))


async def feedback(request: Request) -> Response:
    """POST /feedback: keep one photo of the form, with the class that a person says is right."""
    service: Service = request.state.service
    folder = service.feedback
    if folder is None:
        raise Refusal("feedback_off", "This service keeps no photos.")
    check_same_site(request.headers, service.settings.cors_origins)
    service.admission.check()
    classifier = take_classifier(request)
    photos, labels = await read_form(request)
    if len(photos) != 1 or len(labels) != 1:
        raise Refusal("bad_request", "Send one photo and one label at a time.")
    check_label(labels[0], classifier.bundle.classes)
    return respond_with(request, await in_time(request, keep(request, classifier, folder, photos[0], labels[0])))


async def keep(
    request: Request, classifier: Classifier, folder: FeedbackFolder, photo: bytes, label: str
) -> dict[str, Any]:
    """Classify a photo, which shows that it is one, and keep it."""

    def work(wanted: Wanted) -> tuple[str, bool]:
        answer = classifier.classify(photo, wanted)
        return answer.verdict, folder.keep(photo, answer.photo.format, label)

    (verdict, kept), _ = await request.state.service.admission.run(work)
    bundle, outcome = classifier.bundle, outcome_of(request.scope)
    outcome.agreed, outcome.bundle = verdict == label, bundle.version
    model = {"name": bundle.name, "version": bundle.version}
    return {"label": label, "kept": kept, "verdict": verdict, "agrees": verdict == label, "model": model}


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

    def work(wanted: Wanted) -> tuple[Answer, dict[str, Any]]:
        answer = classifier.classify(photo, wanted)
        return answer, as_json(answer, classifier.bundle, options)

    return await run_one(request, classifier, work, admitted=admitted)


async def run_one(
    request: Request, classifier: Classifier, work: Callable[[Wanted], tuple[Judgement, T]], *, admitted: bool
) -> T:
    """What is made of one photo once its turn in the line has come; the request's outcome learns of the answer."""
    service: Service = request.state.service
    arrived_ns = now_ns()
    (answer, result), waited = await service.admission.run(work, admitted=admitted)
    outcome_of(request.scope).answered(answer, classifier.bundle.version, arrived_ns, waited)
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
    """The result in the face that the client prefers."""
    return with_timing(request, respond.answer(request.scope, "index.html", result))


def with_timing(request: Request, response: Response) -> Response:
    """The response with Server-Timing, in milliseconds, if any photo was answered."""
    if seconds := outcome_of(request.scope).seconds():
        response.headers["Server-Timing"] = ", ".join(f"{step};dur={1000 * s:.1f}" for step, s in seconds.items())
    return response


async def home(request: Request) -> Response:
    """GET /: the page."""
    return respond.page("index.html", {"content": {}, **respond.about(request.scope)})


async def offline(request: Request) -> Response:
    """GET /offline: what the service worker shows without a connection."""
    return respond.page("offline.html", {})


async def model(request: Request) -> Response:
    """GET /model: the bundle's card and the CPU plan."""
    service: Service = request.state.service
    content = {**take_classifier(request).bundle.card, "plan": service.plan()}
    # a card of thousands of classes is a page of megabytes, and takes seconds
    return await asyncio.to_thread(respond.answer, request.scope, "model.html", content)


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
    Route("/offline", offline, include_in_schema=False),
    Route("/upload", upload, methods=["POST"]),
    # where the browser runs no worker (static/sw.js); not for programs
    Route("/share", upload, methods=["POST"], include_in_schema=False),
    Route("/classify-url", classify_url),
    Route("/feedback", feedback, methods=["POST"]),
    Route("/model", model),
    Route("/metrics", metrics),
    Route("/livez", livez),
    Route("/readyz", readyz),
]
