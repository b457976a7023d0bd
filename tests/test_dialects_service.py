"""What stands around the other APIs' answers: refusals, the line, the key, metrics, other origins."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app import tensors
from app.errors import CODES, Refusal
from app.payload import photo_of, read_object
from tests.test_dialects import INFER, MODEL, PACKED, error, image
from tests.test_http import HTML, running
from tests.test_metrics import ours, series
from tests.wire import TEDDY


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running() as client:
        yield client


def ask(client: TestClient, path: str, **options: Any) -> httpx2.Response:
    """A good request at an address that answers photos."""
    body = json.dumps({"inputs": PACKED} if path == "/hf" else image(TEDDY, TEDDY))
    return client.post(path, content=body, **options)


@pytest.mark.parametrize("path", ["/hf", INFER])
def test_every_refusal_is_one_text_and_never_a_page(client: TestClient, path: str) -> None:
    for response, code in (
        (client.get(path, headers=HTML), "method_not_allowed"),
        (client.post(f"{path}/x", headers=HTML), "not_found"),
        (client.post(path, content=b"{", headers=HTML), "bad_request"),
        (client.post(path, content=b"{" + b" " * 30_000_000, headers=HTML), "too_large"),
    ):
        status, text = error(response)
        assert status == CODES[code][0]
        assert text.endswith(CODES[code][1])
    assert client.get(path).headers["allow"]
    assert ask(client, path, headers=HTML).headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/hf", INFER])
def test_a_compressed_body_is_refused(client: TestClient, path: str) -> None:
    for coding in ("gzip", "deflate", "identity, gzip", "GZIP"):
        status, text = error(ask(client, path, headers={"Content-Encoding": coding}))
        assert (status, "compressed" in text) == (400, True)
    assert ask(client, path, headers={"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("path", ["/hf", INFER])
def test_a_request_is_admitted_or_refused_as_a_whole(client: TestClient, path: str) -> None:
    line = client.app.state.service.admission  # type: ignore[attr-defined]
    real, checks = line.check, iter([None, None])

    def full_from_the_third_time_on() -> None:
        if next(checks, "full") == "full":
            raise Refusal("busy", "The service is busy.", retry_after_s=3)

    line.check = full_from_the_third_time_on
    try:
        assert ask(client, path).status_code == 200
        response = ask(client, path)
    finally:
        line.check = real
    assert error(response)[0] == 503
    assert response.headers["retry-after"] == "3"


def test_json_and_base64_are_read_where_photos_are(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def spied(real: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        return lambda data: threads.append(threading.current_thread().name) or real(data)

    for name, real in (
        ("tensors.photo_of", photo_of),
        ("tensors.read_object", read_object),
        ("dialects.photo_of", photo_of),
    ):
        monkeypatch.setattr(f"app.{name}", spied(real))
    assert ask(client, "/hf").status_code == ask(client, INFER).status_code == 200
    assert len(threads) == 4  # of the one, an object and two photos; of the other, a photo
    assert all(name.startswith("classify") for name in threads)


def test_a_fault_of_ours_says_nothing_about_itself(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "write_response", lambda *_: 1 / 0)
    status, text = error(ask(client, INFER))
    assert (status, "division" in text) == (500, False)


def test_each_photo_is_counted(client: TestClient) -> None:
    before = ours(series(client))
    client.post(INFER, json=image(TEDDY, TEDDY, b"text"))
    client.post("/hf", content=TEDDY)
    client.get("/v2/models/nobears")
    client.get("/v2/nothing")
    assert ours(series(client)) - before == {
        'tellapart_requests_total{method="POST",route="/v2/models/{name}/infer",status="415"}': 1,
        'tellapart_requests_total{method="POST",route="/hf",status="200"}': 1,
        'tellapart_requests_total{method="GET",route="/v2/models/{name}",status="404"}': 1,
        'tellapart_requests_total{method="GET",route="unmatched",status="404"}': 1,
        'tellapart_refusals_total{code="not_an_image",route="/v2/models/{name}/infer"}': 1,
        'tellapart_refusals_total{code="not_found",route="/v2/models/{name}"}': 1,
        'tellapart_refusals_total{code="not_found",route="unmatched"}': 1,
        'tellapart_answers_total{class="teddys",verdict="teddys"}': 3,
        'tellapart_request_seconds_count{route="/v2/models/{name}/infer"}': 1,
        'tellapart_request_seconds_count{route="/hf"}': 1,
        'tellapart_request_seconds_count{route="/v2/models/{name}"}': 1,
        'tellapart_request_seconds_count{route="unmatched"}': 1,
        "tellapart_wait_seconds_count": 4,
        "tellapart_read_seconds_count": 1,
        "tellapart_decode_seconds_count": 3,
        "tellapart_infer_seconds_count": 3,
    }


def test_a_key_guards_all_but_health() -> None:
    with running(api_key="s3cret") as client:
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200
        for path in ("/v2", MODEL, f"{MODEL}/ready", INFER, "/hf", "/v2/health", "/v2/health/live/"):
            response = client.get(path)
            assert error(response)[0] == 401
            assert response.headers["www-authenticate"].startswith("Basic ")
        assert ask(client, "/hf", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_pages_of_listed_origins_may_send_both_kinds_of_tensors() -> None:
    with running(cors_origins=("https://friend.example",)) as client:
        asks = "authorization, content-type, inference-header-content-length"
        headers = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
        assert client.options(INFER, headers={**headers, "Access-Control-Request-Headers": asks}).status_code == 200
        answer = ask(client, INFER, headers={"Origin": "https://friend.example"})
        assert "Inference-Header-Content-Length" in answer.headers["access-control-expose-headers"]
