"""The Open Inference Protocol's requests and responses as bytes."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.tensors import Asked, read_request, write_response

SIZE = 4  # of the network's input; small, so that it can be read here
MOST = 3  # photos
PHOTO = b"\x89PNG\r\n\x1a\n and so on"
PACKED = base64.b64encode(PHOTO).decode()
ALL = {"probabilities": False, "label": False, "verdict": False}
GRID = np.arange(2 * SIZE * SIZE * 3, dtype=np.uint8).reshape(2, SIZE, SIZE, 3)
Json = dict[str, Any]


def image(count: int = 1, **changed: Any) -> Json:
    """An input in JSON; what is changed to ... is left out."""
    whole = {"name": "image", "shape": [count], "datatype": "BYTES", "data": [PACKED] * count, **changed}
    return {key: value for key, value in whole.items() if value is not ...}


def pixels(array: np.ndarray = GRID, **changed: Any) -> Json:
    whole = {"name": "pixels", "datatype": "UINT8", "shape": [*array.shape], "data": array.ravel().tolist()}
    return image(**{**whole, **changed})


def read(content: Any, binary: bytes = b"", length: str | None = None) -> Asked:
    """The request of this JSON, with what follows it."""
    text = json.dumps(content).encode()
    return read_request(text + binary, str(len(text)) if binary and length is None else length, SIZE, MOST)


def read_one(tensor: Json, binary: bytes = b"", **more: Any) -> Asked:
    return read({"inputs": [tensor], **more}, binary)


def in_binary(tensor: Json, size: Any) -> Json:
    return {**{key: value for key, value in tensor.items() if key != "data"}, "parameters": {"binary_data_size": size}}


def elements(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


# ── what is read ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_photos_in_json() -> None:
    assert read_one(image()) == Asked(None, [PHOTO], ALL)
    assert read_one(image(MOST), id="42") == Asked("42", [PHOTO] * MOST, ALL)


def test_photos_in_binary_are_raw_or_base64() -> None:
    sent = elements(PHOTO, PACKED.encode(), b"")
    assert read_one(in_binary(image(3), len(sent)), sent).photos == [PHOTO, PHOTO, b""]


def test_text_that_is_no_base64_is_left_to_the_decoder() -> None:
    assert read_one(image(data=["naïve"])).photos == ["naïve".encode()]
    assert read_one(image(data=["\ud800"])).photos == [b"?"]


@pytest.mark.parametrize("form", ["flat", "nested", "a list for each", "binary"])
def test_pixels(form: str) -> None:
    sent = GRID.tobytes() if form == "binary" else b""
    given: dict[str, Callable[[], Any]] = {
        "flat": lambda: GRID.ravel().tolist(),
        "nested": GRID.tolist,
        "a list for each": lambda: [each.ravel().tolist() for each in GRID],
        "binary": lambda: ...,
    }
    tensor = in_binary(pixels(), len(sent)) if sent else pixels(data=given[form]())
    found = read_one(tensor, sent).photos
    assert len(found) == 2
    for photo, expected in zip(found, GRID, strict=True):
        assert isinstance(photo, np.ndarray)
        assert photo.dtype == np.uint8
        assert np.array_equal(photo, expected)


def test_pixels_go_from_0_to_255() -> None:
    ends = np.full((1, SIZE, SIZE, 3), 255, np.uint8)
    ends[0, 0, 0, 0] = 0
    assert np.array_equal(read_one(pixels(ends)).photos, ends)


def test_outputs_come_as_they_are_wanted() -> None:
    def wanted(*outputs: Json, **more: Any) -> list[tuple[str, bool]]:
        return list(read_one(image(), outputs=list(outputs), **more).outputs.items())

    every = {"parameters": {"binary_data_output": True}}
    assert wanted() == list(ALL.items())
    assert wanted(**every) == [(name, True) for name in ALL]
    verdict, label = {"name": "verdict"}, {"name": "label", "parameters": {"binary_data": True}}
    assert wanted(verdict, label) == [("verdict", False), ("label", True)]
    assert wanted({"name": "label", "parameters": {"binary_data": False}}, verdict, **every) == [
        ("label", False),
        ("verdict", True),
    ]


def test_what_is_null_is_as_if_it_were_not_there() -> None:
    """Some programs write all fields that a request may have."""
    asked = read_one(image(parameters=None), id=None, parameters=None, outputs=None)
    assert asked == read_one(image())


def test_parameters_without_a_meaning_here_have_no_effect() -> None:
    parameters = {"priority": 1, "timeout": 5, "sequence_id": "a", "mine": 0.5, "binary_data_output": False}
    outputs = [{"name": "label", "parameters": {"classification": 0, "mine": True}}]
    asked = read_one(image(parameters={"mine": "x"}), parameters=parameters, outputs=outputs, also=[1])
    assert asked == Asked(None, [PHOTO], {"label": False})


# ── what is written ───────────────────────────────────────────────────────────────────────────────────────────────────

OUTPUTS = {
    "probabilities": np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
    "label": ["b", "größe"],
    "verdict": ["b", "not sure"],
}
HEAD = {"model_name": "m", "model_version": "1"}


def test_a_response_in_json() -> None:
    body, length = write_response({**HEAD, "id": "42"}, OUTPUTS, ALL)
    assert length is None
    assert json.loads(body) == {
        **HEAD,
        "id": "42",
        "outputs": [
            {"name": "probabilities", "shape": [2, 2], "datatype": "FP32", "data": [0.25, 0.75, 1.0, 0.0]},
            {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["b", "größe"]},
            {"name": "verdict", "shape": [2], "datatype": "BYTES", "data": ["b", "not sure"]},
        ],
    }


def test_a_response_with_binary_tensors_behind_the_json() -> None:
    body, length = write_response(HEAD, OUTPUTS, {"label": True, "verdict": False, "probabilities": True})
    label = b"\1\0\0\0b" + b"\7\0\0\0" + "größe".encode()
    assert body[length:] == label + struct.pack("<4f", 0.25, 0.75, 1.0, 0.0)
    assert json.loads(body[:length])["outputs"] == [
        {"name": "label", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(label)}},
        {"name": "verdict", "shape": [2], "datatype": "BYTES", "data": ["b", "not sure"]},
        {"name": "probabilities", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}},
    ]


def test_an_id_that_is_no_unicode_comes_back_as_it_came() -> None:
    body, _ = write_response({"id": "\ud800"}, OUTPUTS, {"label": False})
    assert json.loads(body)["id"] == "\ud800"
