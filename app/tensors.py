"""The Open Inference Protocol's v2 requests and responses as bytes: tensors in JSON, or in binary behind it. Pure.

Sources: kserve/open-inference-protocol, inference_rest.md; Triton's extension_binary_data.md. Binary tensors are little
endian and row major; an element of type BYTES is its length as 4 bytes, then its bytes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from app.errors import Refusal
from app.image import Pixels
from app.payload import photo_of, read_object

EXTENSIONS = ["binary_tensor_data"]
JSON_LENGTH = "Inference-Header-Content-Length"  # of a body with binary tensors behind the JSON
IMAGE, PIXELS = "image", "pixels"
INPUTS = {IMAGE: "BYTES", PIXELS: "UINT8"}
OUTPUTS = {"probabilities": "FP32", "label": "BYTES", "verdict": "BYTES"}
MOST_ID = 200  # characters
# Of Triton's extensions to what is asked for; without them the answer would be another one than the caller expects.
UNKNOWN_WISHES = ("classification", "shared_memory_region")
NUMBERS = f"The data of {PIXELS} must be whole numbers from 0 to 255, as many as its shape says."

Json = dict[str, Any]
Output = np.ndarray[Any, np.dtype[np.float32]] | Sequence[str]


@dataclass(frozen=True)
class Asked:
    """An inference request: the photos, as bytes or as the network's input [size, size, 3]; and for each output that is
    wanted, whether in binary."""

    id: str | None
    photos: Sequence[bytes | Pixels]
    outputs: Mapping[str, bool]


def read_request(body: bytes, json_length: str | None, size: int, most_photos: int) -> Asked:
    """The request that this body is. `json_length` is its header JSON_LENGTH, `size` the side of
    the network's input. Raises Refusal("bad_request")."""
    text, binary = _split(body, json_length)
    content = read_object(text)
    given_id = content.get("id")
    if given_id is not None and (not isinstance(given_id, str) or len(given_id) > MOST_ID):
        raise _bad(f"The id must be a text of up to {MOST_ID} characters.")
    outputs = _read_outputs(content)
    inputs = _list_of_objects(content, "inputs")
    if len(inputs) != 1:
        raise _bad(f"Send exactly one input: {_either(INPUTS)}.")
    return Asked(given_id, _read_input(inputs[0], binary, size, most_photos), outputs)


def write_response(head: Json, outputs: Mapping[str, Output], binary: Mapping[str, bool]) -> tuple[bytes, int | None]:
    """The response's body, with the outputs that `binary` names, each in binary or not; and the length of the JSON in
    it if something follows that."""
    described, tail = [], []
    for name, in_binary in binary.items():
        values = outputs[name]
        shape = [len(values)] if isinstance(values, Sequence) else list(values.shape)
        output: Json = {"name": name, "shape": shape, "datatype": OUTPUTS[name]}
        if in_binary:
            tail.append(_to_binary(values))
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = list(values) if isinstance(values, Sequence) else values.ravel().tolist()
        described.append(output)
    text = json.dumps({**head, "outputs": described}).encode()
    return b"".join([text, *tail]), len(text) if tail else None


def _split(body: bytes, json_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON, and what follows it."""
    length = len(body)
    if json_length is not None:
        if not (json_length.isascii() and json_length.isdigit()) or int(json_length[:19]) > length:
            raise _bad(f"{JSON_LENGTH} must be the length of the JSON that the body begins with.")
        length = int(json_length[:19])
    return body[:length], memoryview(body)[length:]


def _read_outputs(content: Json) -> dict[str, bool]:
    """Each wanted output, in the order in which they are wanted, and whether in binary."""
    in_binary = _switch(_parameters(content), "binary_data_output", False)
    wanted = _list_of_objects(content, "outputs") or [{"name": name} for name in OUTPUTS]
    found: dict[str, bool] = {}
    for output in wanted:
        name, parameters = output.get("name"), _parameters(output)
        if name not in list(OUTPUTS):
            raise _bad(f"There are no outputs but {_either(OUTPUTS)}.")
        if name in found:
            raise _bad(f"The output {name} is asked for twice.")
        for wish in UNKNOWN_WISHES:
            if parameters.get(wish):
                raise _bad(f"This service does not know the parameter {wish}.")
        found[name] = _switch(parameters, "binary_data", in_binary)
    return found


def _read_input(given: Json, binary: memoryview, size: int, most_photos: int) -> list[bytes] | list[Pixels]:
    name = given.get("name")
    if name not in list(INPUTS):
        raise _bad(f"There are no inputs but {_either(INPUTS)}.")
    if given.get("datatype") != INPUTS[name]:
        raise _bad(f"The datatype of {name} must be {INPUTS[name]}.")
    shape = _read_shape(given, name, [] if name == IMAGE else [size, size, 3], most_photos)
    data, length = given.get("data"), _parameters(given).get("binary_data_size")
    if (data is None) == (length is None):
        raise _bad(f"Give the elements of {name} either as data or in binary, with the parameter binary_data_size.")
    if type(length) not in (int, type(None)) or len(binary) != (length or 0):
        raise _bad("What follows the JSON must have as many bytes as binary_data_size says, and none without it.")
    if name == IMAGE:
        found = _split_bytes(binary, shape[0]) if data is None else _texts(data, shape[0])
        return [photo_of(photo) for photo in found]
    if data is not None:
        return _photos(data, shape)
    if len(binary) != math.prod(shape):
        raise _bad(f"The binary data of {name} must be a byte for each element that its shape says.")
    return list(np.frombuffer(binary, np.uint8).reshape(shape))


def _read_shape(given: Json, name: str, each: list[int], most_photos: int) -> list[int]:
    """The shape [photos, *each] of an input."""
    shape = given.get("shape")
    wanted = "[" + ", ".join(map(str, ["photos", *each])) + "]"
    if not isinstance(shape, list) or any(type(side) is not int for side in shape) or shape[1:] != each or not shape:
        raise _bad(f"The shape of {name} must be {wanted}.")
    if not 1 <= shape[0] <= most_photos:
        raise _bad(f"The shape of {name} must be {wanted}, with 1 to {most_photos} photos.")
    return shape


def _split_bytes(binary: memoryview, count: int) -> list[bytes]:
    """So many elements of type BYTES."""
    found: list[bytes] = []
    at = 0
    while at < len(binary) and len(found) < count:
        start = at + 4
        at = start + int.from_bytes(binary[at:start], "little")
        found.append(bytes(binary[start:at]))
    if at != len(binary) or len(found) < count:
        raise _bad(f"The binary data of {IMAGE} must be as many elements as its shape says, each behind its length.")
    return found


def _texts(data: object, count: int) -> list[bytes]:
    """So many texts out of JSON, in UTF-8."""
    if not isinstance(data, list) or len(data) != count or not all(isinstance(text, str) for text in data):
        raise _bad(f"The data of {IMAGE} must be a list of as many texts, photos in base64, as its shape says.")
    return [text.encode(errors="replace") for text in data]


def _photos(data: object, shape: list[int]) -> list[Pixels]:
    """Photos as numbers out of JSON, in one list or in lists of lists of that shape."""
    count, *each = shape
    length = math.prod(each)
    if isinstance(data, list) and len(data) == count * length:
        data = [data[at : at + length] for at in range(0, len(data), length)]
    if not isinstance(data, list) or len(data) != count:
        raise _bad(NUMBERS)
    return [_pixels(photo, each) for photo in data]


def _pixels(numbers: object, each: list[int]) -> Pixels:
    """One photo of that shape; so many numbers at a time that other threads get their turn between."""
    if isinstance(numbers, list) and numbers and isinstance(numbers[0], list):
        for length in each[1:]:
            if any(type(row) is not list or len(row) != length for row in numbers):
                raise _bad(NUMBERS)
            numbers = list(chain.from_iterable(numbers))
    # True is an int too, but no pixel
    if not isinstance(numbers, list) or len(numbers) != math.prod(each) or set(map(type, numbers)) != {int}:
        raise _bad(NUMBERS)
    try:
        return np.frombuffer(bytes(numbers), np.uint8).reshape(each)
    except ValueError:
        raise _bad(NUMBERS) from None


def _to_binary(values: Output) -> bytes:
    if isinstance(values, Sequence):
        return b"".join(struct.pack("<I", len(text)) + text for text in (value.encode() for value in values))
    return values.astype("<f4").tobytes()


def _list_of_objects(content: Json, key: str) -> list[Json]:
    """A list of objects; empty if there is none."""
    found = content.get(key)
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _bad(f"The request's {key} must be a list of objects.")
    return found


def _parameters(content: Json) -> Json:
    """The parameters of a request, an input or an output; those that this service does not know have no effect."""
    found = content.get("parameters")
    found = {} if found is None else found
    if not isinstance(found, dict):
        raise _bad("Parameters must be an object.")
    return found


def _switch(parameters: Json, name: str, default: bool) -> bool:
    found = parameters.get(name, default)
    if not isinstance(found, bool):
        raise _bad(f"The parameter {name} must be true or false.")
    return found


def _either(named: Mapping[str, str]) -> str:
    return " or ".join(f"{name} ({datatype})" for name, datatype in named.items())


def _bad(message: str) -> Refusal:
    return Refusal("bad_request", message)
