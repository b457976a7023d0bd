"""Requests of the Open Inference Protocol that lie, or are none: refused with a sentence that quotes none of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import Refusal
from app.tensors import MOST_ID, read_request
from tests.test_tensors import GRID, MOST, PACKED, PHOTO, SIZE, Json, elements, image, in_binary, pixels, read, read_one

FLAT = GRID.ravel().tolist()
INPUTS: dict[str, tuple[Any, str]] = {
    "none": ([], "exactly one input"),
    "two": ([image(), pixels()], "exactly one input"),
    "the same twice": ([image(), image()], "exactly one input"),
    "no list": ({"image": 1}, "list of objects"),
    "no object": (["forged"], "list of objects"),
    "null": (None, "exactly one input"),
    "no name": ([image(name=...)], "no inputs but image (BYTES) or pixels (UINT8)"),
    "another name": ([image(name="forged")], "no inputs but"),
    "a list for a name": ([image(name=["image"])], "no inputs but"),
    "no datatype": ([image(datatype=...)], "datatype of image must be BYTES"),
    "another datatype": ([image(datatype="forged")], "datatype of image must be BYTES"),
    "text for pixels": ([pixels(datatype="BYTES")], "datatype of pixels must be UINT8"),
    "no shape": ([image(shape=...)], "shape of image must be [photos]"),
    "an empty shape": ([image(shape=[])], "shape of image"),
    "a number for a shape": ([image(shape=1)], "shape of image"),
    "a text in a shape": ([image(shape=["1"])], "shape of image"),
    "true in a shape": ([image(shape=[True])], "shape of image"),
    "a fraction in a shape": ([image(shape=[1.0])], "shape of image"),
    "another rank": ([image(shape=[1, 1])], "shape of image"),
    "no photos": ([image(0)], "with 1 to 3 photos"),
    "fewer": ([image(shape=[-1])], "with 1 to 3 photos"),
    "too many": ([image(MOST + 1)], "with 1 to 3 photos"),
    "far too many": ([image(shape=[2**63])], "with 1 to 3 photos"),
    "other sides": ([pixels(shape=[2, SIZE, SIZE + 1, 3])], "shape of pixels must be [photos, 4, 4, 3]"),
    "channels first": ([pixels(shape=[2, 3, SIZE, SIZE])], "shape of pixels"),
    "negative sides": ([pixels(shape=[2, -SIZE, -SIZE, 3])], "shape of pixels"),
    "no data": ([image(data=...)], "either as data or in binary"),
    "data twice": ([image(parameters={"binary_data_size": 0})], "either as data or in binary"),
    "parameters that are none": ([image(parameters=[])], "Parameters must be an object"),
    "fewer texts": ([image(2, data=[PACKED])], "as many texts"),
    "more texts": ([image(1, data=[PACKED] * 2)], "as many texts"),
    "a text for a list": ([image(data=PACKED)], "list of as many texts"),
    "numbers for texts": ([image(data=[1])], "as many texts"),
    "lists of texts": ([image(data=[[PACKED]])], "as many texts"),
    "fewer numbers": ([pixels(data=FLAT[1:])], "whole numbers from 0 to 255"),
    "more numbers": ([pixels(data=[*FLAT, 0])], "whole numbers"),
    "256": ([pixels(data=[*FLAT[1:], 256])], "whole numbers"),
    "-1": ([pixels(data=[-1, *FLAT[1:]])], "whole numbers"),
    "39 digits": ([pixels(data=[10**38, *FLAT[1:]])], "whole numbers"),
    "a fraction": ([pixels(data=[0.5, *FLAT[1:]])], "whole numbers"),
    "a whole fraction": ([pixels(data=[1.0, *FLAT[1:]])], "whole numbers"),
    "true": ([pixels(data=[True, *FLAT[1:]])], "whole numbers"),
    "null for a number": ([pixels(data=[None, *FLAT[1:]])], "whole numbers"),
    "a number as text": ([pixels(data=["1", *FLAT[1:]])], "whole numbers"),
    "ragged": ([pixels(data=[GRID[0].tolist(), GRID[1][1:].tolist()])], "whole numbers"),
    "ragged within": ([pixels(data=[[[[0] * 3] * SIZE] * (SIZE - 1) + [[[0] * 4] * SIZE]] * 2)], "whole numbers"),
    "mixed": ([pixels(data=[GRID[0].tolist(), 0])], "whole numbers"),
    "lists all the way down": ([pixels(data=[[[[[]] * 3] * SIZE] * SIZE] * 2)], "whole numbers"),
    "the shape turned": ([pixels(data=GRID.transpose(0, 3, 1, 2).tolist())], "whole numbers"),
    "nothing": ([pixels(data=[])], "whole numbers"),
    "an object for data": ([pixels(data={})], "whole numbers"),
}


def refusal(call: Callable[[], object]) -> str:
    """The sentence with which a request is refused; nothing of the request is in it."""
    with pytest.raises(Refusal) as caught:
        call()
    assert caught.value.code == "bad_request"
    assert caught.value.message.endswith(".")
    assert "forged" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_that_are_refused(name: str) -> None:
    inputs, why = INPUTS[name]
    assert why in refusal(lambda: read({"inputs": inputs}))


def test_a_request_without_inputs_is_refused() -> None:
    assert "exactly one input" in refusal(lambda: read({}))
    assert "no JSON object" in refusal(lambda: read([image()]))


MORE: dict[str, tuple[Json, str]] = {
    "a number for an id": ({"id": 42}, "id must be a text"),
    "a long id": ({"id": "x" * (MOST_ID + 1)}, "up to 200 characters"),
    "parameters that are none": ({"parameters": "forged"}, "Parameters must be an object"),
    "no switch": ({"parameters": {"binary_data_output": 1}}, "binary_data_output must be true or false"),
    "no list": ({"outputs": {"name": "label"}}, "outputs must be a list"),
    "no objects": ({"outputs": ["label"]}, "outputs must be a list of objects"),
    "no name": ({"outputs": [{}]}, "no outputs but probabilities (FP32) or label (BYTES) or verdict (BYTES)"),
    "another": ({"outputs": [{"name": "forged"}]}, "no outputs but"),
    "a list for a name": ({"outputs": [{"name": []}]}, "no outputs but"),
    "one twice": ({"outputs": [{"name": "label"}] * 2}, "label is asked for twice"),
    "not a switch": ({"outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]}, "true or false"),
    "Triton's classes": ({"outputs": [{"name": "label", "parameters": {"classification": 2}}]}, "classification"),
    "shared memory": ({"outputs": [{"name": "label", "parameters": {"shared_memory_region": "a"}}]}, "shared_memory"),
}


@pytest.mark.parametrize("name", MORE)
def test_what_is_around_the_inputs_is_refused_too(name: str) -> None:
    more, why = MORE[name]
    assert why in refusal(lambda: read_one(image(), **more))


def test_an_id_has_so_many_characters_at_most() -> None:
    assert read_one(image(), id="é" * MOST_ID).id == "é" * MOST_ID
    assert read_one(image(), id=None).id is None


BINARIES: dict[str, tuple[Json, bytes, Any]] = {
    "a byte more than it says": (image(), elements(PHOTO) + b"x", len(elements(PHOTO))),
    "a byte less": (image(), elements(PHOTO)[:-1], len(elements(PHOTO))),
    "an element longer than all": (image(), struct.pack("<I", 2**32 - 1) + PHOTO, 4 + len(PHOTO)),
    "an element shorter": (image(), struct.pack("<I", 1) + PHOTO, 4 + len(PHOTO)),
    "half a length": (image(2), elements(PHOTO) + b"\0\0", len(elements(PHOTO)) + 2),
    "fewer elements": (image(3), elements(PHOTO) * 2, 2 * len(elements(PHOTO))),
    "more elements": (image(1), elements(PHOTO) * 2, 2 * len(elements(PHOTO))),
    "big endian": (image(), struct.pack(">I", len(PHOTO)) + PHOTO, 4 + len(PHOTO)),
    "no bytes of size 0": (image(), b"", 0),
    "a negative size": (image(), elements(PHOTO), -1),
    "a text for a size": (image(), b"12345", "5"),
    "a fraction for a size": (pixels(), GRID.tobytes(), float(GRID.size)),
    "true for a size": (image(), b"x", True),
    "one pixel less": (pixels(), GRID.tobytes()[1:], GRID.size - 1),
    "one pixel more": (pixels(), GRID.tobytes() + b"x", GRID.size + 1),
}


@pytest.mark.parametrize("name", BINARIES)
def test_binary_tensors_that_are_refused(name: str) -> None:
    tensor, sent, size = BINARIES[name]
    assert "binary" in refusal(lambda: read_one(in_binary(tensor, size), sent))


def test_what_follows_the_json_must_be_asked_for() -> None:
    assert "What follows" in refusal(lambda: read_one(image(), b"x"))


@pytest.mark.parametrize("length", ["", "x", "-1", "+5", "1e1", "0x5", "5, 5", "٥", "9" * 30, " 5"])
def test_a_length_of_the_json_that_is_none(length: str) -> None:
    message = refusal(lambda: read({"inputs": [image()]}, length=length))
    assert "Inference-Header-Content-Length must be" in message


def test_a_length_of_the_json_that_is_off_by_one() -> None:
    text = json.dumps({"inputs": [image()]}).encode()
    assert read_request(text, str(len(text)), SIZE, MOST).photos == [PHOTO]
    assert "must be the length" in refusal(lambda: read_request(text, str(len(text) + 1), SIZE, MOST))
    assert "not JSON" in refusal(lambda: read_request(text, str(len(text) - 1), SIZE, MOST))
    assert "not JSON" in refusal(lambda: read_request(text, "0", SIZE, MOST))


WHOLE = [
    json.dumps({"id": "a", "inputs": [image(2)], "outputs": [{"name": "label"}]}).encode(),
    json.dumps({"inputs": [pixels()], "parameters": {"binary_data_output": True}}).encode(),
    json.dumps({"inputs": [in_binary(image(), len(elements(PHOTO)))]}).encode() + elements(PHOTO),
]
TOKENS = [
    b"",
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"\0",
    b"\xff",
    b'"shape"',
    b"9" * 20,
]


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 9), st.sampled_from(TOKENS)), min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(0, 400).map(str)),
)
def test_whatever_is_done_to_a_request_it_is_read_or_refused(
    body: bytes, changes: list[tuple[int, int, bytes]], length: str | None
) -> None:
    for at, gone, put in changes:
        body = body[:at] + put + body[at + gone :]
    try:
        asked = read_request(body, length, SIZE, MOST)
    except Refusal as refused:
        assert refused.code == "bad_request"
    else:
        assert 1 <= len(asked.photos) <= MOST
