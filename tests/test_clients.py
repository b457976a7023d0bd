"""The other APIs with their own clients from PyPI, over a socket, against the service with the bears and a key.

Neither client is told of anybody else whom it could ask.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import tritonclient.http as triton
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from tritonclient.http.auth import BasicAuth
from tritonclient.utils import InferenceServerException

from app.bundle import read_bundle
from app.image import model_input, read_photo
from tests.bundles import SHIPPED
from tests.live import ROOT, Live, live_service
from tests.photos import photo
from tests.wire import TEDDY, post

KEY = "s3cret"
BEARS = read_bundle(SHIPPED)
PHOTOS = [TEDDY, photo("rocket.jpg")]
NOT_AN_IMAGE = "This is not an image in a format that this service reads."


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_service(env={"TELLAPART_API_KEY": KEY}) as live:
        yield live


@pytest.fixture(scope="module")
def server(live: Live) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{live.port}") as server:
        server.register_plugin(BasicAuth("anyone", KEY))
        yield server


@pytest.fixture(scope="module")
def expected(live: Live) -> list[dict[str, Any]]:
    """What /upload says of PHOTOS."""
    return [post(live, each, auth=("anyone", KEY)).json() for each in PHOTOS]


@pytest.fixture
def hub(live: Live, monkeypatch: pytest.MonkeyPatch) -> InferenceClient:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # which would forbid loopback too
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return InferenceClient(model=f"{live.url}/hf", token=KEY)


def tensor(name: str, array: np.ndarray, *, binary: bool) -> triton.InferInput:
    found = triton.InferInput(name, list(array.shape), "UINT8" if name == "pixels" else "BYTES")
    return found.set_data_from_numpy(array, binary_data=binary)


def raw(*photos: bytes) -> triton.InferInput:
    return tensor("image", np.array(photos, object), binary=True)


def check(result: triton.InferResult, expected: list[dict[str, Any]]) -> None:
    """All three outputs are what /upload says."""
    probabilities = result.as_numpy("probabilities")
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (len(expected), len(BEARS.classes)))
    shares = [[dict(answer["predictions"])[name] for name in BEARS.classes] for answer in expected]
    assert probabilities == pytest.approx(np.array(shares), abs=1e-6)
    texts = {name: result.as_numpy(name) for name in ("label", "verdict")}  # out of JSON, it makes text of BYTES
    found = {name: [each if isinstance(each, str) else each.decode() for each in texts[name]] for name in texts}
    assert found["label"] == [answer["predictions"][0][0] for answer in expected]
    assert found["verdict"] == [answer["verdict"] for answer in expected]


# ── tritonclient ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_server_and_its_model_are_found(server: triton.InferenceServerClient) -> None:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready(BEARS.name)
    assert server.is_model_ready(BEARS.name, BEARS.version)
    assert not server.is_model_ready("nobears")
    assert not server.is_model_ready(BEARS.name, "1")
    assert server.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    found = server.get_model_metadata(BEARS.name)
    assert {each["name"]: (each["datatype"], each["shape"]) for each in found["inputs"] + found["outputs"]} == {
        "image": ("BYTES", [-1]),
        "pixels": ("UINT8", [-1, 224, 224, 3]),
        "probabilities": ("FP32", [-1, len(BEARS.classes)]),
        "label": ("BYTES", [-1]),
        "verdict": ("BYTES", [-1]),
    }
    assert found["outputs"][0]["parameters"]["classes"] == list(BEARS.classes)


def test_several_photos_in_binary(server: triton.InferenceServerClient, expected: list[dict[str, Any]]) -> None:
    result = server.infer(BEARS.name, [raw(*PHOTOS)], request_id="42")
    check(result, expected)
    head = result.get_response()
    assert (head["id"], head["model_name"], head["model_version"]) == ("42", BEARS.name, BEARS.version)
    check(server.infer(BEARS.name, [raw(*PHOTOS)], model_version=BEARS.version), expected)


def test_several_photos_in_json(server: triton.InferenceServerClient, expected: list[dict[str, Any]]) -> None:
    packed = np.array([base64.b64encode(each) for each in PHOTOS], object)
    wanted = [triton.InferRequestedOutput(name, binary_data=False) for name in ("verdict", "label", "probabilities")]
    result = server.infer(BEARS.name, [tensor("image", packed, binary=False)], outputs=wanted)
    check(result, expected)
    assert all("data" in output for output in result.get_response()["outputs"])
    one = [triton.InferRequestedOutput("label")]
    result = server.infer(BEARS.name, [raw(TEDDY)], outputs=one)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["label"]


@pytest.mark.parametrize("binary", [True, False])
def test_several_photos_as_pixels(
    server: triton.InferenceServerClient, expected: list[dict[str, Any]], binary: bool
) -> None:
    seen = np.stack([model_input(read_photo(each, enough=512), BEARS.preprocess) for each in PHOTOS])
    check(server.infer(BEARS.name, [tensor("pixels", seen, binary=binary)]), expected)


def test_many_at_a_time(server: triton.InferenceServerClient, expected: list[dict[str, Any]]) -> None:
    pending = [server.async_infer(BEARS.name, [raw(each)]) for each in PHOTOS * 2]
    for result, answer in zip(pending, expected * 2, strict=True):
        check(result.get_result(), [answer])


def test_its_errors_say_what_we_say(server: triton.InferenceServerClient) -> None:
    pixels = np.zeros((1, 224, 225, 3), np.uint8)
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"inputs": [raw(TEDDY, b"text")]}, "415", f"Photo 2 of 2: {NOT_AN_IMAGE}"),
        ({"inputs": [raw(b"text")]}, "415", NOT_AN_IMAGE),
        ({"inputs": [raw(TEDDY[:2000])]}, "422", "This JPEG file is damaged and cannot be read."),
        ({"inputs": [tensor("pixels", pixels, binary=True)]}, "400", "must be [photos, 224, 224, 3]"),
        ({"inputs": [raw(TEDDY), raw(TEDDY)]}, "400", "exactly one input"),
        ({"inputs": [raw(TEDDY)], "outputs": [triton.InferRequestedOutput("logits")]}, "400", "no outputs but"),
        ({"inputs": [raw(TEDDY)], "outputs": [triton.InferRequestedOutput("label", class_count=2)]}, "400", "classif"),
        ({"inputs": [raw(TEDDY)], "request_compression_algorithm": "gzip"}, "400", "This body is compressed"),
        ({"inputs": [raw(TEDDY)], "model_name": "nobears"}, "404", "There is no such model here"),
        ({"inputs": [raw(TEDDY)], "model_version": "1"}, "404", "There is no such model here"),
    ]
    for given, status, message in cases:
        with pytest.raises(InferenceServerException) as caught:
            server.infer(**{"model_name": BEARS.name, **given})
        assert caught.value.status() == status
        assert message in caught.value.message()


def test_triton_without_the_key(live: Live) -> None:
    refused = pytest.raises(InferenceServerException, match=r"\[401\] This needs the service's key\.")
    with triton.InferenceServerClient(f"127.0.0.1:{live.port}") as stranger, refused:
        stranger.infer(BEARS.name, [raw(TEDDY)])


# ── huggingface_hub ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_photo_from_the_hubs_client(hub: InferenceClient, expected: list[dict[str, Any]], tmp_path: Path) -> None:
    predictions = expected[0]["predictions"]
    file = tmp_path / "teddy.jpg"
    file.write_bytes(TEDDY)
    for given in (TEDDY, file, str(file)):
        found = hub.image_classification(given)
        assert [(each.label, each.score) for each in found] == [tuple(pair) for pair in predictions]
    for given in ({"top_k": 1}, {"top_k": 2, "function_to_apply": "softmax"}):
        found = hub.image_classification(TEDDY, **given)
        assert [[each.label, each.score] for each in found] == predictions[: given["top_k"]]


def test_the_hubs_errors_say_what_we_say(hub: InferenceClient, live: Live) -> None:
    with pytest.raises(HfHubHTTPError, match=re.escape(NOT_AN_IMAGE)) as caught:
        hub.image_classification(b"text")
    assert caught.value.response.status_code == 415
    assert caught.value.request_id == caught.value.response.headers["x-request-id"]
    with pytest.raises(HfHubHTTPError, match=r"This JPEG file is damaged and cannot be read\.") as caught:
        hub.image_classification(TEDDY[:2000], top_k=1)
    assert caught.value.response.status_code == 422
    with pytest.raises(BadRequestError, match="function_to_apply must be softmax"):
        hub.image_classification(TEDDY, function_to_apply="sigmoid")
    with pytest.raises(BadRequestError, match=r"top_k must be a whole number from 1\."):
        hub.image_classification(TEDDY, top_k=0)
    with pytest.raises(HfHubHTTPError, match=r"This needs the service's key\."):
        InferenceClient(model=f"{live.url}/hf", token="wrong").image_classification(TEDDY)


def test_the_guides_examples_work(
    hub: InferenceClient,
    live: Live,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    guide = (ROOT / "docs" / "api.md").read_text()
    triton_example, hub_example = re.findall(r"```python\n([^`]*(?:triton|huggingface)[^`]*)```", guide)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(TEDDY)
    monkeypatch.chdir(tmp_path)
    for example in (triton_example, hub_example):
        exec(example.replace("127.0.0.1:8000", f"127.0.0.1:{live.port}").replace("KEY", KEY), {})
    verdict, first, second = capsys.readouterr().out.splitlines()
    assert verdict.startswith("[b'teddys'] [[0.0")
    assert first.startswith("teddys 0.9")
    assert second.startswith("black 0.0")
