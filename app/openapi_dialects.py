"""The part of the API's document that is about other APIs: the Open Inference Protocol and Hugging Face's."""

from __future__ import annotations

from app import tensors
from app.answer import VERDICTS
from app.bundle import Bundle
from app.forms import MAX_FILES
from app.openapi_parts import PHOTO, header_objects, json_operation, megapixels, parameter, refusals
from app.schemas import SHARE, TEXT, Json, array, record, ref
from app.settings import Settings
from app.tensors import JSON_LENGTH

BINARY = "application/octet-stream"
PIXEL = "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="  # a GIF of one pixel: the shortest photo to show
FILE = {**TEXT, "format": "binary", "contentMediaType": BINARY}
PARAMETERS = {"type": "object", "description": "Parameters."}


def paths(settings: Settings, bundle: Bundle | None) -> dict[str, dict[str, Json]]:
    """The operations by path and method."""
    found = {
        "/v2": {
            "get": json_operation("v2", "Open Inference Protocol: the server", "What it is.", "Server", terse=True)
        },
        "/v2/health/live": {
            "get": json_operation("v2_live", "The same as /livez", "It answers.", "Health", terse=True)
        },
        "/v2/health/ready": {
            "get": json_operation(
                "v2_ready", "The same as /readyz", "Ready.", "Health", "starting", "draining", terse=True
            )
        },
    }
    for path, suffix in (("/v2/models/{name}", ""), ("/v2/models/{name}/versions/{version}", "_version")):
        gone = ("not_found", "starting")
        named = _named(bundle)[: path.count("{")]
        said, ready = f"v2_model{suffix}", f"v2_model_ready{suffix}"
        about = json_operation(said, "The model's inputs and outputs", "What they are.", "Model", *gone, terse=True)
        whether = json_operation(
            ready, "Whether the model would answer", "It would.", "ModelReady", *gone, "draining", terse=True
        )
        found[path] = {"get": {**about, "parameters": named}}
        found[f"{path}/ready"] = {"get": {**whether, "parameters": named}}
        found[f"{path}/infer"] = {"post": _infer(settings, f"v2_infer{suffix}", named)}
    return {**found, "/hf": {"post": _hugging_face(settings)}}


def schemas() -> dict[str, Json]:
    """The schemas by name."""
    tensor = {"name": TEXT, "datatype": TEXT, "shape": array({"type": "integer"})}
    described = record("A tensor, as the model takes or gives it; -1: any number.", **tensor)
    described["properties"] |= {"parameters": PARAMETERS}
    output = record("A tensor, its elements row by row.", **tensor)
    output["properties"] |= {"parameters": PARAMETERS, "data": array({"type": ["number", "string"]})}
    response = record(
        "What was seen, in tensors. `verdict` is a class, or " + " or ".join(VERDICTS) + ".",
        model_name=TEXT,
        model_version=TEXT,
        outputs=array(output),
    )
    response["properties"] |= {"id": TEXT}
    sentence = record("Why a request of another API was refused.", error=TEXT)
    switch = {"type": "boolean"}
    sentence["properties"] |= {"live": switch, "ready": switch, "name": TEXT}
    return {
        "Sentence": sentence,
        "Server": record("What answers here.", name=TEXT, version=TEXT, extensions=array(TEXT)),
        "Health": record("Whether it answers, and photos would be answered.", live=switch, ready=switch),
        "ModelReady": record("Whether the model would answer.", name=TEXT, ready=switch),
        "Model": record(
            "What the model takes and gives; the parameter classes of probabilities is the order of its columns.",
            name=TEXT,
            versions=array(TEXT),
            platform=TEXT,
            inputs=array(described),
            outputs=array(described),
        ),
        "Inference": response,
        "Labels": {
            "description": "Classes and their probabilities, most probable first.",
            **array(record("A class and its probability.", label=ref("Class"), score=SHARE), minItems=1),
        },
    }


def _named(bundle: Bundle | None) -> list[Json]:
    """What the paths of the model name: it, and its version."""
    name, version = (bundle.name, bundle.version) if bundle else ("bears", "1")
    known: list[Json] = [{"enum": [name]}, {"enum": [version]}] if bundle else [{}, {}]
    what = ("name", "The model's name, as /model has it.", name), ("version", "Its version.", version)
    return [
        parameter(key, says, {**TEXT, **schema}, where="path", required=True, example=example)
        for (key, says, example), schema in zip(what, known, strict=True)
    ]


def _infer(settings: Settings, operation_id: str, named: list[Json]) -> Json:
    length = "How long the JSON is, where binary tensors follow it."
    header = parameter(JSON_LENGTH, length, {"type": "integer", "minimum": 0}, where="header")
    example = {"inputs": [{"name": tensors.IMAGE, "shape": [1], "datatype": "BYTES", "data": [PIXEL]}]}
    binary = {**FILE, "description": "The same, without data, and behind it the tensors in binary."}
    content = {"application/json": {"schema": _request(), "example": example}, BINARY: {"schema": binary}}
    answer = {
        "description": "What was seen; in JSON, or with binary tensors behind it.",
        "headers": header_objects(("Server-Timing", JSON_LENGTH)),
        "content": {"application/json": {"schema": ref("Inference")}, BINARY: {"schema": FILE}},
    }
    return {
        "operationId": operation_id,
        "summary": "Classify photos, or pixels, in tensors",
        "description": (
            f"Takes 1 to {MAX_FILES} photos, {settings.max_upload_mb:g} MB in all and {megapixels(settings)} each. "
            "If one is refused, so is the request; the error says which."
        ),
        "parameters": [*named, header],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer, **refusals("not_found", *PHOTO, terse=True)},
    }


def _request() -> Json:
    """What is asked for, in JSON."""
    count = {"type": "integer", "minimum": 1, "maximum": MAX_FILES}
    packed = {"description": "Photos in base64.", **array({**TEXT, "contentEncoding": "base64"}, maxItems=MAX_FILES)}
    image = _input(tensors.IMAGE, array(count, minItems=1, maxItems=1), packed)
    numbers = {"description": "Bytes of red, green and blue, in one list or in lists of lists.", **array({})}
    pixels = _input(tensors.PIXELS, array({"type": "integer", "minimum": 1}, minItems=4, maxItems=4), numbers)
    switch = {"type": "boolean"}
    wanted = record("One of them.", name={**TEXT, "enum": list(tensors.OUTPUTS)})
    wanted["properties"] |= {"parameters": {"type": "object", "properties": {"binary_data": switch}}}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {**TEXT, "maxLength": tensors.MOST_ID, "description": "Comes back with the answer."},
            "parameters": {
                "type": "object",
                "properties": {"binary_data_output": switch},
                "description": "binary_data_output: whether the outputs come in binary. Others have no effect.",
            },
            "inputs": {
                **array({"oneOf": [image, pixels]}, minItems=1, maxItems=1),
                "description": "image: photos, in base64. Or pixels: upright, and as large as the network takes them.",
            },
            "outputs": {**array(wanted), "description": "Which outputs are wanted, and how. All by default."},
        },
    }


def _input(name: str, shape: Json, data: Json) -> Json:
    return record("One tensor.", name={"const": name}, datatype={"const": tensors.INPUTS[name]}, shape=shape, data=data)


def _hugging_face(settings: Settings) -> Json:
    parameters = {
        "type": ["object", "null"],
        "properties": {
            "top_k": {"type": ["integer", "null"], "minimum": 1},
            "function_to_apply": {"enum": ["softmax", None]},
        },
        "description": "top_k: how many classes to list, all by default. function_to_apply: softmax, if any.",
    }
    inputs = {**TEXT, "contentEncoding": "base64", "description": "The photo in base64."}
    body = {"type": "object", "required": ["inputs"], "properties": {"inputs": inputs, "parameters": parameters}}
    photo = {**FILE, "description": "The photo as it is."}
    answer = {
        "description": "What was seen.",
        "headers": header_objects(("Server-Timing",)),
        "content": {"application/json": {"schema": ref("Labels")}},
    }
    return {
        "operationId": "hf",
        "summary": "Classify a photo as Hugging Face's InferenceClient sends it",
        "description": (
            f"Takes one photo, up to {settings.max_upload_mb:g} MB and {megapixels(settings)}, as it is or in JSON. "
            "The answer has no verdict: see /upload or /v2 for that."
        ),
        "requestBody": {
            "required": True,
            "content": {
                BINARY: {"schema": photo},
                "application/json": {"schema": body, "example": {"inputs": PIXEL, "parameters": {"top_k": 1}}},
            },
        },
        "responses": {"200": answer, **refusals(*PHOTO, terse=True)},
    }
