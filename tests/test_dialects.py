"""The Open Inference Protocol and Hugging Face's image classification, through the ASGI app with the shipped bundle."""

from __future__ import annotations

import base64
import json
import threading
import tomllib
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.bundle import read_bundle
from app.forms import MAX_FILES
from app.image import model_input, read_photo
from app.main import create_app
from app.settings import ROOT, Settings
from tests.bundles import SHIPPED
from tests.photos import encode, photo
from tests.test_http import FakeFetcher, running, upload
from tests.wire import TEDDY

BEARS = read_bundle(SHIPPED)
MODEL = f"/v2/models/{BEARS.name}"
INFER = f"{MODEL}/infer"
CLASSES = list(BEARS.classes)
ROCKET = photo("rocket.jpg")
PACKED = base64.b64encode(TEDDY).decode()
Json = dict[str, Any]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running() as client:
        yield client


def image(*photos: bytes) -> Json:
    data = [base64.b64encode(each).decode() for each in photos]
    return {"inputs": [{"name": "image", "shape": [len(data)], "datatype": "BYTES", "data": data}]}


def pixels(*photos: bytes) -> np.ndarray:
    """What the network gets to see of these photos."""
    return np.stack([model_input(read_photo(each, enough=512), BEARS.preprocess) for each in photos])


def timed(response: httpx2.Response) -> list[str]:
    """The steps that Server-Timing tells of."""
    return [part.split(";")[0] for part in response.headers["server-timing"].split(", ")]


def outputs(response: httpx2.Response) -> dict[str, Any]:
    """The data of each output by name, as it is shaped; all in JSON."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert (body["model_name"], body["model_version"]) == (BEARS.name, BEARS.version)
    return {each["name"]: np.reshape(each["data"], each["shape"]).tolist() for each in body["outputs"]}


def expected(client: TestClient, *photos: bytes) -> dict[str, Any]:
    """The same, out of what /upload says."""
    answers = [upload(client, each).json() for each in photos]
    return {
        "probabilities": [pytest.approx([dict(a["predictions"])[c] for c in CLASSES], abs=1e-6) for a in answers],
        "label": [answer["predictions"][0][0] for answer in answers],
        "verdict": [answer["verdict"] for answer in answers],
    }


def error(response: httpx2.Response) -> tuple[int, str]:
    """Status and text of a refusal, whose shape is checked."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].endswith(".")
    return response.status_code, body["error"]


# ── Open Inference Protocol ───────────────────────────────────────────────────────────────────────────────────────────


def test_photos_are_answered_as_uploads_are(client: TestClient) -> None:
    response = client.post(INFER, json=image(TEDDY, ROCKET, TEDDY))
    assert outputs(response) == expected(client, TEDDY, ROCKET, TEDDY)
    assert outputs(response)["verdict"] == ["teddys", "none of these", "teddys"]
    assert timed(response) == ["wait", "read", "decode", "infer"]


def test_pixels_are_answered_as_their_photos_are(client: TestClient) -> None:
    seen = pixels(TEDDY, ROCKET)
    tensor = {"name": "pixels", "shape": [*seen.shape], "datatype": "UINT8", "data": seen.tolist()}
    response = client.post(INFER, json={"inputs": [tensor]})
    assert outputs(response) == expected(client, TEDDY, ROCKET)
    assert timed(response) == ["wait", "read", "infer"]


def test_binary_tensors_both_ways(client: TestClient) -> None:
    seen = pixels(TEDDY)
    tensor = {"name": "pixels", "shape": [*seen.shape], "datatype": "UINT8"}
    tensor["parameters"] = {"binary_data_size": seen.size}
    asked = {"id": "a", "inputs": [tensor], "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}
    text = json.dumps(asked).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    response = client.post(f"{MODEL}/versions/{BEARS.version}/infer", content=text + seen.tobytes(), headers=headers)
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    head = json.loads(response.content[:length])
    assert head.pop("outputs") == [
        {"name": "probabilities", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
    ]
    assert head == {"id": "a", "model_name": BEARS.name, "model_version": BEARS.version}
    assert [np.frombuffer(response.content[length:], "<f4").tolist()] == expected(client, TEDDY)["probabilities"]


def test_the_classes_are_told_in_the_order_of_the_probabilities(client: TestClient) -> None:
    found = client.get(MODEL).json()
    assert found == client.get(f"{MODEL}/versions/{BEARS.version}").json()
    assert found == {
        "name": BEARS.name,
        "versions": [BEARS.version],
        "platform": "openvino",
        "inputs": [
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, 224, 224, 3]},
        ],
        "outputs": [
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [-1, 3],
                "parameters": {"classes": [*BEARS.classes]},
            },
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "verdict", "datatype": "BYTES", "shape": [-1]},
        ],
    }


def test_the_server_tells_its_version(client: TestClient) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert client.get("/v2").json() == {"name": "tellapart", "version": version, "extensions": ["binary_tensor_data"]}


def test_health_tells_both(client: TestClient) -> None:
    for path in ("live", "ready"):
        response = client.get(f"/v2/health/{path}")
        assert (response.status_code, response.json()) == (200, {"live": True, "ready": True})
    for path in (f"{MODEL}/ready", f"{MODEL}/versions/{BEARS.version}/ready"):
        response = client.get(path)
        assert (response.status_code, response.json()) == (200, {"name": BEARS.name, "ready": True})


@pytest.mark.parametrize("state", ["starting", "draining"])
def test_health_while_photos_should_go_elsewhere(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    loaded = threading.Event()
    if state == "starting":
        monkeypatch.setattr("app.service.load_classifier", lambda *_: loaded.wait(30))
    with running() if state == "draining" else TestClient(create_app(Settings(), fetcher=FakeFetcher({}))) as client:
        client.app.state.service.draining = state == "draining"  # type: ignore[attr-defined]
        live, ready = client.get("/v2/health/live"), client.get("/v2/health/ready")
        assert (live.status_code, live.json()) == (200, {"live": True, "ready": False})
        assert ready.status_code == client.get("/readyz").status_code == 503
        assert ready.json().pop("error").startswith("The service is s")
        assert {key: ready.json()[key] for key in ("live", "ready")} == {"live": True, "ready": False}
        model = client.get(f"{MODEL}/ready")
        assert model.status_code == 503
        assert ready.headers["retry-after"] == model.headers["retry-after"] == ("1" if state == "starting" else "5")
        assert client.post(INFER, json=image(TEDDY)).status_code == (503 if state == "starting" else 200)
        loaded.set()


@pytest.mark.parametrize("path", ["/v2/models/nobears", "/v2/models/bears/versions/1", "/v2/models/bears/versions/"])
@pytest.mark.parametrize("end", ["", "/ready", "/infer"])
def test_another_model_or_version_is_404(client: TestClient, path: str, end: str) -> None:
    status, text = error(client.request("POST" if end == "/infer" else "GET", path + end))
    assert status == 404
    assert "nobears" not in text


BROKEN = TEDDY[:2000]
LARGE = encode(Image.new("1", (7100, 7100)), "PNG")


@pytest.mark.parametrize(
    ("bad", "status", "why"),
    [(b"text", 415, "not an image"), (BROKEN, 422, "damaged"), (LARGE, 413, "megapixels"), (b"", 415, "empty")],
)
def test_a_photo_that_is_refused_refuses_the_request_and_is_named(
    client: TestClient, bad: bytes, status: int, why: str
) -> None:
    found, text = error(client.post(INFER, json=image(TEDDY, bad, b"text")))
    assert found == status
    assert text.startswith("Photo 2 of 3: ")
    assert why in text
    found, text = error(client.post(INFER, json=image(bad)))
    assert found == status
    assert not text.startswith("Photo")


def test_there_may_be_as_many_photos_as_in_a_form(client: TestClient) -> None:
    small = encode(Image.new("L", (8, 8)), "PNG")
    assert len(outputs(client.post(INFER, json=image(*[small] * MAX_FILES)))["label"]) == MAX_FILES
    status, text = error(client.post(INFER, json=image(*[small] * (MAX_FILES + 1))))
    assert (status, f"1 to {MAX_FILES} photos" in text) == (400, True)


# ── Hugging Face ──────────────────────────────────────────────────────────────────────────────────────────────────────


def labels(client: TestClient, photo: bytes) -> list[Json]:
    return [{"label": name, "score": p} for name, p in upload(client, photo).json()["predictions"]]


@pytest.mark.parametrize("kind", ["image/jpeg", "application/json", "application/x-www-form-urlencoded", ""])
def test_a_photo_as_it_is(client: TestClient, kind: str) -> None:
    response = client.post("/hf", content=TEDDY, headers={"Content-Type": kind})
    assert response.json() == labels(client, TEDDY)
    assert response.headers["server-timing"].startswith("wait;dur=")


def test_a_photo_in_json(client: TestClient) -> None:
    every = labels(client, TEDDY)
    for parameters, shown in ({}, every), ({"top_k": 1}, every[:1]), ({"top_k": 99}, every), (None, every):
        assert client.post("/hf", json={"inputs": PACKED, "parameters": parameters}).json() == shown
    parameters = {"top_k": None, "function_to_apply": "softmax", "mine": [1]}
    assert client.post("/hf", json={"inputs": PACKED, "parameters": parameters}).json() == every
    assert client.post("/hf", content=f'\n {{"inputs": "{PACKED}"}}').json() == every


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({}, "inputs must be"),
        ({"inputs": [PACKED]}, "inputs must be"),
        ({"inputs": PACKED, "parameters": []}, "parameters an object"),
        *(({"inputs": PACKED, "parameters": {"top_k": k}}, "top_k must be") for k in (0, -1, True, 1.0, "1", [1])),
        *(({"inputs": PACKED, "parameters": {"function_to_apply": f}}, "softmax") for f in ("sigmoid", "", [], 0)),
    ],
)
def test_json_that_is_refused(client: TestClient, sent: Json, why: str) -> None:
    status, text = error(client.post("/hf", json=sent))
    assert (status, why in text) == (400, True)


def test_what_is_no_photo(client: TestClient) -> None:
    assert error(client.post("/hf", content=b""))[0] == 415
    assert error(client.post("/hf", json={"inputs": "text"}))[0] == 415
    assert error(client.post("/hf", content=BROKEN))[0] == 422
    assert error(client.post("/hf", files={"file": TEDDY}))[0] == 415
    assert error(client.post("/hf", content=b'{"inputs": NaN}'))[0] == 400
