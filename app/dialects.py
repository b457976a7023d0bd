"""Two APIs that other programs speak already: the Open Inference Protocol v2, and Hugging Face's image classification.

Each photo goes the way of all photos (app/routes.py); only what is around it is said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import __version__, respond, tensors
from app.admission import Admission, Wanted
from app.bundle import Bundle
from app.classifier import Classifier, Judgement
from app.errors import Refusal
from app.forms import MAX_FILES
from app.image import Pixels
from app.outcome import Step, now_ns, outcome_of
from app.payload import photo_of, read_object
from app.result import Options
from app.routes import classify, in_time, run_one, take_classifier, with_timing
from app.service import Service

Result = dict[str, Any]
T = TypeVar("T")


async def infer(request: Request) -> Response:
    """POST /v2/models/{name}[/versions/{version}]/infer: photos, or the network's input, as a tensor."""
    service: Service = request.state.service
    service.admission.check()
    classifier = take_model(request)
    return await in_time(request, infer_all(request, classifier, await read_body(request)))


async def infer_all(request: Request, classifier: Classifier, body: bytes) -> Response:
    """Admitted or refused as a whole, like an upload of several photos; if one is refused, so is the request."""
    bundle = classifier.bundle
    given_length = ", ".join(request.headers.getlist(tensors.JSON_LENGTH)) or None
    reading = partial(tensors.read_request, body, given_length, bundle.preprocess.size, MAX_FILES)
    del body  # of 20 MB one copy is enough: photos are copied out of it, but for pixels in binary
    asked = await read_in_turn(request, reading)
    del reading
    results = []
    for number, photo in enumerate(asked.photos, 1):
        try:
            results.append(await classify_either(request, classifier, photo))
        except Refusal as refusal:
            if len(asked.photos) > 1:
                refusal.message = f"Photo {number} of {len(asked.photos)}: {refusal.message}"
            raise
    head = {"model_name": bundle.name, "model_version": bundle.version}
    if asked.id is not None:
        head["id"] = asked.id
    content, json_length = tensors.write_response(head, outputs_of(results, bundle.classes), asked.outputs)
    if json_length is None:
        return with_timing(request, Response(content, media_type="application/json"))
    response = Response(content, headers={tensors.JSON_LENGTH: str(json_length)}, media_type="application/octet-stream")
    return with_timing(request, response)


async def classify_either(request: Request, classifier: Classifier, photo: bytes | Pixels) -> Result:
    """Predictions and verdict for a photo's bytes or the network's input, of a request that was admitted."""
    if isinstance(photo, bytes):
        return await classify(request, classifier, photo, Options(), admitted=True)

    def work(_: Wanted) -> tuple[Judgement, Result]:
        judged = classifier.judge(photo)
        return judged, {"predictions": judged.predictions, "verdict": judged.verdict}

    return await run_one(request, classifier, work, admitted=True)


def outputs_of(results: Sequence[Result], classes: Sequence[str]) -> dict[str, tensors.Output]:
    """The output tensors; probabilities in the order of the classes."""
    rows = [dict(result["predictions"]) for result in results]
    return {
        "probabilities": np.array([[row[name] for name in classes] for row in rows], np.float32),
        "label": [result["predictions"][0][0] for result in results],
        "verdict": [result["verdict"] for result in results],
    }


async def hugging_face(request: Request) -> Response:
    """POST /hf: a photo as it is; or in JSON, which the client sends where it has parameters."""
    service: Service = request.state.service
    service.admission.check()
    classifier = take_classifier(request)
    return await in_time(request, answer_hugging_face(request, classifier, await read_body(request)))


async def answer_hugging_face(request: Request, classifier: Classifier, body: bytes) -> Response:
    """[{"label", "score"}], most probable first. No photo begins as a JSON object does."""
    in_json = body[:64].lstrip().startswith(b"{")
    asked: tuple[bytes, int | None] = (body, None)
    if in_json:
        asked = await read_in_turn(request, partial(read_hugging_face, body))
    del body
    photo, top_k = asked
    result = await classify(request, classifier, photo, Options(top_k=top_k), admitted=in_json)
    labels = [{"label": name, "score": p} for name, p in result["predictions"]]
    return with_timing(request, JSONResponse(labels))


def read_hugging_face(body: bytes) -> tuple[bytes, int | None]:
    """The photo and top_k of {"inputs": base64, "parameters": {…}}. Raises Refusal("bad_request")."""
    content = read_object(body)
    inputs, parameters = content.get("inputs"), content.get("parameters")
    parameters = {} if parameters is None else parameters
    if not isinstance(inputs, str) or not isinstance(parameters, dict):
        raise Refusal("bad_request", "inputs must be a photo in base64, parameters an object.")
    top_k = parameters.get("top_k")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise Refusal("bad_request", "top_k must be a whole number from 1.")
    if parameters.get("function_to_apply") not in (None, "softmax"):
        raise Refusal("bad_request", "function_to_apply must be softmax: scores are probabilities.")
    return photo_of(inputs.encode(errors="replace")), top_k


async def read_in_turn(request: Request, read: Callable[[], T]) -> T:
    """What `read` makes of JSON. That takes its time as photos do, so it has its turn in the line as they have."""
    outcome, arrived_ns = outcome_of(request.scope), now_ns()

    def work(_: Wanted) -> T:
        with outcome.timed("read"):
            return read()

    admission: Admission = request.state.service.admission
    found, waited = await admission.run(work)
    outcome.steps.insert(0, Step("wait", arrived_ns, waited))
    return found


async def read_body(request: Request) -> bytes:
    """The whole body. Raises Refusal, also if it is compressed."""
    encodings = ",".join(request.headers.getlist("content-encoding")).lower().replace(" ", "").split(",")
    if set(encodings) - {"", "identity"}:
        raise Refusal("bad_request", "This body is compressed, which this service does not take.")
    return b"".join([chunk async for chunk in request.stream()])


def take_model(request: Request) -> Classifier:
    """The bundle at work, if it is the one that the path names. Raises Refusal."""
    classifier = take_classifier(request)
    bundle, named = classifier.bundle, request.path_params
    if named["name"] != bundle.name or named.get("version", bundle.version) != bundle.version:
        hint = f"The model here is {bundle.name}, version {bundle.version}."
        raise Refusal("not_found", "There is no such model here, or not of this version.", hint=hint)
    return classifier


async def server(request: Request) -> Response:
    """GET /v2: what this server is."""
    return JSONResponse({"name": "tellapart", "version": __version__, "extensions": tensors.EXTENSIONS})


async def model(request: Request) -> Response:
    """GET /v2/models/{name}[/versions/{version}]: its inputs and outputs."""
    classifier = take_model(request)
    return JSONResponse(metadata(classifier.bundle, classifier.engine.name))


def metadata(bundle: Bundle, engine: str) -> Result:
    """What the protocol says of a model; the classes, in the order of `probabilities`, are a parameter of that."""
    size, classes = bundle.preprocess.size, list(bundle.classes)
    shapes = {tensors.IMAGE: [-1], tensors.PIXELS: [-1, size, size, 3], "probabilities": [-1, len(classes)]}

    def described(datatypes: dict[str, str]) -> list[Result]:
        return [{"name": name, "datatype": kind, "shape": shapes.get(name, [-1])} for name, kind in datatypes.items()]

    outputs = described(tensors.OUTPUTS)
    outputs[0]["parameters"] = {"classes": classes}
    names = {"name": bundle.name, "versions": [bundle.version], "platform": engine}
    return {**names, "inputs": described(tensors.INPUTS), "outputs": outputs}


async def model_ready(request: Request) -> Response:
    """GET /v2/models/{name}[/versions/{version}]/ready: whether it would answer."""
    return readiness(request, {"name": take_model(request).bundle.name})


async def ready(request: Request) -> Response:
    """GET /v2/health/ready: the same as /readyz."""
    return readiness(request, {"live": True})


async def live(request: Request) -> Response:
    """GET /v2/health/live: the same as /livez; it tells of readiness too, but does not fail for it."""
    try:
        request.state.service.check_ready()
    except Refusal:
        return JSONResponse({"live": True, "ready": False})
    return JSONResponse({"live": True, "ready": True})


def readiness(request: Request, about: Result) -> Response:
    """`about` with `ready`; 503 where photos should go elsewhere."""
    try:
        request.state.service.check_ready()
    except Refusal as refusal:
        return respond.refusal_response(request.scope, refusal, {**about, "ready": False})
    return JSONResponse({**about, "ready": True})


MODEL = "/v2/models/{name}"
ROUTES = [
    Route("/v2", server),
    Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    *[
        route
        for path in (MODEL, f"{MODEL}/versions/{{version}}")
        for route in (
            Route(path, model),
            Route(f"{path}/ready", model_ready),
            Route(f"{path}/infer", infer, methods=["POST"]),
        )
    ],
    Route("/hf", hugging_face, methods=["POST"]),
]
