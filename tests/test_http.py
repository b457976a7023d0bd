"""The HTTP surface through the ASGI app, with the shipped bundle and a fake network."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx2
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.errors import CODES, Refusal
from app.fetch import Fetcher, HostPolicy
from app.forms import MAX_FILES
from app.main import create_app
from app.settings import Settings
from app.web import BODIES, BodyLimits
from tests.photos import encode, photo
from tests.wire import TEDDY

CLASSES = {"black", "grizzly", "teddys"}
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
URL = "https://photos.example.org/teddy.jpg"


class FakeFetcher(Fetcher):
    """Fetches from a dictionary; a Refusal in it is raised."""

    def __init__(self, photos: dict[str, bytes | Refusal]) -> None:
        super().__init__(HostPolicy.parse("public"), timeout_s=1, max_bytes=10**6)
        self.photos = photos

    async def fetch(self, url: str) -> bytes:
        found = self.photos.get(url, Refusal("blocked_url", "This URL may not be fetched."))
        if isinstance(found, Refusal):
            raise found
        return found


@contextmanager
def running(**settings: object) -> Iterator[TestClient]:
    """A client of an app that is ready."""
    fetcher = FakeFetcher({URL: TEDDY, "https://photos.example.org/x": b"<html>"})
    app = create_app(replace(Settings(), **settings), fetcher=fetcher)
    with TestClient(app, raise_server_exceptions=False) as client:
        until = time.monotonic() + 30
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.02)
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running() as client:
        yield client


def upload(client: TestClient, *photos: bytes, query: str = "", **options: object) -> httpx2.Response:
    files = [("file", (f"{number}.jpg", data)) for number, data in enumerate(photos)]
    return client.post(f"/upload{query}", files=files, **options)


def error(response: httpx2.Response) -> tuple[int, str]:
    """Status and code of a refusal, whose shape is checked."""
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message", "hint"}
    assert body["error"]["message"].endswith(".")
    assert CODES[body["error"]["code"]][0] == response.status_code
    return response.status_code, body["error"]["code"]


def test_an_upload_is_answered_with_all_classes_in_order(client: TestClient) -> None:
    response = upload(client, TEDDY)
    assert response.status_code == 200
    answer = response.json()
    assert answer.keys() == {"predictions", "verdict", "model", "image"}
    names = [name for name, _ in answer["predictions"]]
    shares = [share for _, share in answer["predictions"]]
    assert set(names) == CLASSES
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-9)
    assert answer["verdict"] == names[0] == "teddys"
    assert answer["model"] == {k: client.get("/model").json()[k] for k in ("name", "version")}
    assert answer["image"] == {"format": "JPEG", "width": 360, "height": 288, "notes": []}
    assert [part.split(";")[0] for part in response.headers["server-timing"].split(", ")] == ["wait", "decode", "infer"]


def test_several_files_give_one_object_or_error_each_in_order(client: TestClient) -> None:
    alone = [upload(client, data).json() for data in (TEDDY, b"text", photo("rocket.jpg"))]
    response = upload(client, TEDDY, b"text", photo("rocket.jpg"))
    assert response.status_code == 200
    assert response.json() == {"results": alone}
    assert alone[1]["error"]["code"] == "not_an_image"


def test_a_url_is_answered_like_an_upload(client: TestClient) -> None:
    response = client.get("/classify-url", params={"url": URL})
    assert response.json() == upload(client, TEDDY).json()
    assert response.headers["cache-control"] == "max-age=300"
    assert response.headers["vary"] == "Accept"
    assert response.headers["server-timing"].startswith("fetch;dur=")


def test_etags_tell_photo_options_and_representation_apart(client: TestClient) -> None:
    def ask(**headers: str) -> httpx2.Response:
        return client.get("/classify-url", params={"url": URL}, headers=headers)

    tag = ask().headers["etag"]
    again = ask(**{"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert ask(**{"If-None-Match": f'"other", W/{tag}'}).status_code == 304
    lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
    assert client.get("/classify-url", params={"url": URL}, headers=lines).status_code == 304
    assert ask(**{"If-None-Match": "*"}).status_code == 304
    assert ask(**{"If-None-Match": '"other"'}).status_code == 200
    assert ask(**HTML).headers["etag"] != tag
    assert client.get("/classify-url", params={"url": URL, "top_k": 1}).headers["etag"] != tag


@pytest.mark.parametrize("method", ["upload", "url"])
def test_options(client: TestClient, method: str) -> None:
    def ask(query: str) -> httpx2.Response:
        if method == "upload":
            return upload(client, TEDDY, query=f"?{query}")
        return client.get(f"/classify-url?url={URL}&{query}")

    plain = ask("").json()
    assert ask("top_k=2").json() == {**plain, "predictions": plain["predictions"][:2]}
    assert ask("top_k=99").json() == plain
    assert ask("explain=1").json()["heatmap"]["class"] == "teddys"
    assert ask("explain=black").json()["heatmap"]["class"] == "black"
    assert len(ask("explain=1").json()["heatmap"]["grid"]) == 7
    assert ask("thumbnail=1").json()["thumbnail"].startswith("data:image/jpeg;base64,")
    for bad in (
        "top_k=0",
        "top_k=-1",
        "top_k=two",
        "top_k=",
        "explain=panda",
        "explain=",
        "thumbnail=yes",
        "thumbnail=",
    ):
        assert error(ask(bad)) == (400, "bad_request")


BAD_FILES = {
    "empty": (b"", 415, "not_an_image"),
    "text": (b"hello", 415, "not_an_image"),
    "broken": (TEDDY[:2000], 422, "broken_image"),
    "too many pixels": (encode(Image.new("1", (7100, 7100)), "PNG"), 413, "too_many_pixels"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(client: TestClient, name: str) -> None:
    data, status, code = BAD_FILES[name]
    assert error(upload(client, data)) == (status, code)


def test_bad_requests(client: TestClient) -> None:
    assert error(client.post("/upload", json={"file": "x"})) == (400, "no_file")
    assert error(client.post("/upload", content=b"")) == (400, "no_file")
    assert error(client.post("/upload", files={"photo": TEDDY})) == (400, "no_file")
    assert error(client.post("/upload", data={"file": "text"}, files={"other": b""})) == (400, "no_file")
    assert error(client.post("/upload", files={"file": ("", b"")})) == (400, "no_file")
    assert error(upload(client, *[b"x"] * (MAX_FILES + 1))) == (400, "bad_request")
    no_boundary = {"Content-Type": "multipart/form-data"}
    assert error(client.post("/upload", content=TEDDY, headers=no_boundary)) == (400, "no_file")
    assert error(client.get("/classify-url")) == (400, "bad_url")
    assert error(client.get("/classify-url?url=")) == (400, "bad_url")
    assert error(client.get(f"/classify-url?url={URL}&url={URL}")) == (400, "bad_url")
    assert error(client.get("/classify-url?url=http://127.0.0.1/")) == (400, "blocked_url")
    assert error(client.get("/classify-url?url=https://photos.example.org/x")) == (415, "not_an_image")


def test_other_addresses_and_methods(client: TestClient) -> None:
    assert error(client.get("/nothing")) == (404, "not_found")
    assert error(client.get("/static/nothing.js")) == (404, "not_found")
    assert error(client.get("/static/../app/main.py")) == (404, "not_found")
    others = (("GET", "/upload"), ("POST", "/classify-url"), ("DELETE", "/"), ("PUT", "/model"), ("POST", "/static/x"))
    for method, path in others:
        response = client.request(method, path)
        assert error(response) == (405, "method_not_allowed")
        assert response.headers["allow"]


def test_a_form_that_was_cut_short_is_refused_as_a_whole(client: TestClient) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + TEDDY + b"\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    whole = part + part + b"--b--\r\n"
    assert len(client.post("/upload", content=whole, headers=headers).json()["results"]) == 2
    for cut in (3, 6, len(TEDDY), len(part) + 10, len(whole)):
        response = client.post("/upload", content=whole[:-cut], headers=headers)
        assert error(response) == (400, "bad_request"), cut
        assert "ends too early" in response.text


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b", "x" * 3000, "<img src=x>", "bär 🐻.jpg"])
def test_file_names_do_not_matter(client: TestClient, name: str) -> None:
    response = client.post("/upload", files={"file": (name, TEDDY)})
    assert response.status_code == 200
    assert "file" not in response.json()


def test_an_upload_over_the_limit_is_413() -> None:
    with running(max_upload_mb=0.1) as client:
        assert error(upload(client, bytes(100_001))) == (413, "too_large")
        chunks = (bytes(10_000) for _ in range(20))
        response = client.post("/upload", content=chunks, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert error(response) == (413, "too_large")
        assert upload(client, TEDDY).status_code == 200


def test_json_unless_html_is_preferred(client: TestClient) -> None:
    cases = {
        "*/*": False, "": False, "application/json": False, "text/html": True, HTML["Accept"]: True,
        "text/html;q=0.5, application/json": False, "text/*": True, "application/json, text/html": False,
        "text/html;q=nonsense": False, ";;;,,": False,
    }  # fmt: skip
    for accept, page in cases.items():
        response = client.get("/model", headers={"Accept": accept})
        assert response.headers["content-type"].startswith("text/html" if page else "application/json"), accept
        assert response.headers["vary"] == "Accept"


def test_forms_without_javascript_get_a_page(client: TestClient) -> None:
    response = upload(client, TEDDY, headers=HTML)
    assert response.status_code == 200
    assert "teddys" in response.text
    assert "data:image/jpeg;base64," in response.text
    broken = upload(client, b"text", headers=HTML)
    assert broken.status_code == 415
    assert "not an image" in broken.text
    assert client.get("/nothing", headers=HTML).headers["content-type"].startswith("text/html")


def test_page_headers_are_on_every_answer(client: TestClient) -> None:
    for path in ("/", "/readyz", "/nothing", "/model"):
        headers = client.get(path, headers=HTML).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_the_model_card_and_the_plan(client: TestClient) -> None:
    card = client.get("/model").json()
    assert set(card["classes"]) == CLASSES
    assert card["metrics"]["validation"]["f32"]["photos"] > 0
    assert card["plan"]["engine"] == "openvino"
    assert card["plan"]["threads"] >= 1


def test_while_the_bundle_loads_the_service_is_alive_but_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service.load_classifier", lambda *_: time.sleep(0.5))
    with TestClient(create_app(Settings(), fetcher=FakeFetcher({}))) as client:
        assert client.get("/livez").status_code == 200
        response = client.get("/readyz")
        assert error(response) == (503, "starting")
        assert response.headers["retry-after"] == "1"
        assert error(upload(client, TEDDY)) == (503, "starting")
        assert client.get("/", headers=HTML).status_code == 200


def test_a_full_line_is_refused_before_the_body_is_read(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    line = service.admission
    real = line.check

    def full() -> None:
        raise Refusal("busy", "The service is busy.", retry_after_s=3)

    line.check = full
    try:
        response = client.post("/upload", content=b"no form at all")
    finally:
        line.check = real
    assert error(response) == (503, "busy")
    assert response.headers["retry-after"] == "3"


def test_photos_are_decoded_and_inferred_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as client:
        classifier = client.app.state.service.classifier  # type: ignore[attr-defined]
        real, threads = classifier.classify, set()
        monkeypatch.setattr(
            classifier, "classify", lambda *given: threads.add(threading.current_thread().name) or real(*given)
        )
        assert upload(client, TEDDY, TEDDY).status_code == 200
        assert client.get("/classify-url", params={"url": URL}).status_code == 200
        assert threads
        assert all(name.startswith("classify") for name in threads)


@pytest.mark.parametrize("charset", ["punycode", "idna", "undefined", "utf-16", "nonsense"])
def test_a_charset_of_the_clients_choosing_is_ignored(client: TestClient, charset: str) -> None:
    head = 'Content-Disposition: form-data; name="file"; filename="\udcff x-"\r\n\r\n'
    body = b"--b\r\n" + head.encode("utf-8", "surrogateescape") + TEDDY + b"\r\n--b--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    assert client.post("/upload", content=body, headers=headers).status_code == 200


def test_a_large_photo_never_touches_the_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    large = encode(Image.effect_noise((1600, 1200), 90), "PNG")
    assert len(large) > 1_500_000
    assert upload(client, large).status_code == 200


def test_bodies_in_memory_are_bounded_together() -> None:
    with running(max_upload_mb=0.1) as client:
        limits = client.app.middleware_stack.app  # type: ignore[attr-defined]
        while not isinstance(limits, BodyLimits):
            limits = limits.app
        assert upload(client, TEDDY).status_code == 200
        assert limits.held == 0
        limits.held = BODIES * limits.max_bytes
        assert error(upload(client, TEDDY)) == (503, "busy")


def test_a_busy_line_refuses_a_request_of_many_as_a_whole(client: TestClient) -> None:
    line = client.app.state.service.admission  # type: ignore[attr-defined]
    checks = iter([None, None])
    real = line.check

    def full_from_the_third_time_on() -> None:
        if next(checks, "full") == "full":
            raise Refusal("busy", "The service is busy.", retry_after_s=1)

    line.check = full_from_the_third_time_on
    try:
        response = upload(client, TEDDY, TEDDY, TEDDY)
        assert [found["verdict"] for found in response.json()["results"]] == ["teddys"] * 3
        assert error(upload(client, TEDDY, TEDDY, TEDDY)) == (503, "busy")
    finally:
        line.check = real


def test_too_slow_an_answer_is_503() -> None:
    with running(request_timeout_s=0.05) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        service.admission.run = lambda *_, **__: asyncio.sleep(30)
        assert error(upload(client, TEDDY)) == (503, "busy")


def test_a_fault_of_ours_says_nothing_about_itself(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.as_json", lambda *_: 1 / 0)
    response = upload(client, TEDDY)
    assert error(response) == (500, "internal")
    assert "division" not in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_cors_only_where_set() -> None:
    origin = {"Origin": "https://friend.example"}
    with running(cors_origins=("https://friend.example",)) as client:
        answer = upload(client, TEDDY, headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        stranger = {"Origin": "https://stranger.example"}
        assert "access-control-allow-origin" not in upload(client, TEDDY, headers=stranger).headers


def test_a_key_guards_all_but_the_page_and_the_probes() -> None:
    with running(api_key="s3cret") as client:
        for path in ("/", "/livez", "/readyz"):
            assert client.get(path).status_code == 200
        for path in ("/model", "/classify-url?url=x", "/metrics"):
            response = client.get(path)
            assert error(response) == (401, "unauthorized")
            assert response.headers["www-authenticate"].startswith("Basic ")
        assert error(upload(client, TEDDY)) == (401, "unauthorized")


def test_a_key_is_taken_as_bearer_token_or_as_basic_password() -> None:
    with running(api_key="s3cret") as client:
        assert upload(client, TEDDY, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert upload(client, TEDDY, auth=("anyone", "s3cret")).status_code == 200
        for wrong in ("Bearer s3cre", "Bearer ", "s3cret", "Basic !!!", "Basic czNjcmV0", "Digest s3cret"):
            assert error(upload(client, TEDDY, headers={"Authorization": wrong})) == (401, "unauthorized")
