"""Who may ask for the clean page, and what they are answered. A browser tries the same in tests/browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.training.conftest import Draw, picture
from tests.training.runs import write_run
from training import clean
from training.clean_server import create_app
from training.run_folder import read_run

PORT, TOKEN = 8123, "secret"
HERE = f"http://127.0.0.1:{PORT}"
OPEN = ("/", "/static/clean.js")
GUARDED = ("/list", "/near/0", "/photo/0", "/thumb/0", "/changes", "/nowhere", "/static", "/%2e%2e/list")
POSTS: dict[str, Any] = {"/decide": {"row": 0, "decision": "delete"}, "/undo": {}, "/apply": {"check": ""}}


@pytest.fixture
def run(draw: Draw, tmp_path: Path) -> Path:
    return write_run(tmp_path / "my-run", draw(disc=5, square=5), lane="fast")


@pytest.fixture
def stranger(run: Path) -> TestClient:
    """Whoever does not know the token."""
    found = read_run(run)
    session = clean.open_session(found, found.data / "_tellapart")
    return TestClient(create_app(session, TOKEN, PORT), HERE, raise_server_exceptions=False)


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """The page, in the tab that was given the token."""
    stranger.headers["Authorization"] = f"Bearer {TOKEN}"
    return stranger


def test_nothing_is_told_or_done_without_the_token(stranger: TestClient, run: Path) -> None:
    tries: list[dict[str, Any]] = [
        {},
        {"params": {"token": TOKEN}},
        {"headers": {"Cookie": f"token={TOKEN}; tellapart-{PORT}={TOKEN}"}},
        *({"headers": {"Authorization": word}} for word in ("", TOKEN, "Bearer", "Bearer guess", f"Basic {TOKEN}")),
    ]
    for path in (*GUARDED, *POSTS):
        for one in tries:
            method, body = ("POST", POSTS[path]) if path in POSTS else ("GET", None)
            response = stranger.request(method, path, json=body, follow_redirects=False, **one)
            assert response.status_code == 403, (path, one)
            assert "disc" not in response.text
    assert not (run / "decisions.csv").exists()


def test_what_needs_no_token_tells_nothing_of_the_run(stranger: TestClient) -> None:
    for path in OPEN:
        text = stranger.get(path).text
        for word in ("my-run", "disc", TOKEN, "00.jpg"):
            assert word not in text


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", f"127.0.0.1:{PORT}.evil.example", "127.0.0.1", "127.0.0.1:1",
     f"[::1]:{PORT}", f"0.0.0.0:{PORT}", f"user@127.0.0.1:{PORT}", ""],
)  # fmt: skip
def test_it_answers_only_to_its_own_name(client: TestClient, host: str) -> None:
    for path in (*OPEN, "/list", "/photo/0"):
        response = client.get(path, headers={"Host": host})
        assert response.status_code == 403
        assert response.json() == {"error": f"This page answers only at 127.0.0.1:{PORT}."}


def test_localhost_is_its_name_too(client: TestClient) -> None:
    assert client.get("/list", headers={"Host": f"localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://evil.test"}, {"Origin": "null"}, {"Origin": HERE}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}],
)  # fmt: skip
def test_a_form_of_another_page_decides_nothing(stranger: TestClient, run: Path, headers: dict[str, str]) -> None:
    body = b'{"row": 0, "decision": "delete", "x": "="}'
    for content_type in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
        response = stranger.post("/decide", content=body, headers={**headers, "Content-Type": content_type})
        assert response.status_code == 403
    assert not (run / "decisions.csv").exists()


def test_no_other_page_is_allowed_to_send_the_header(stranger: TestClient) -> None:
    asked = {
        "Origin": "http://evil.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    response = stranger.options("/decide", headers=asked)
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_every_answer_forbids_foreign_scripts_frames_and_guessing_types(client: TestClient) -> None:
    for path in (*OPEN, *GUARDED):
        for token in ("", TOKEN):
            headers = client.get(path, headers={"Authorization": f"Bearer {token}"}).headers
            assert "script-src 'self';" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"


def test_what_is_told_of_the_run_is_not_kept_by_the_browser(client: TestClient) -> None:
    for path in ("/list", "/near/0", "/photo/0", "/thumb/0", "/changes"):
        assert client.get(path).headers["cache-control"] == "no-store"
    assert client.get("/static/clean.js").headers["cache-control"] == "no-cache"


def test_reading_changes_nothing(client: TestClient) -> None:
    for path in POSTS:
        assert client.get(path).status_code == 405


def test_nothing_but_photos_of_the_run_is_served(client: TestClient) -> None:
    for path in ("/photo/10", "/photo/-1", "/photo/disc/00.jpg", "/photo/..%2Frun.json", "/static/%2e%2e/list"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"\xff", 400), (b"[]", 400), (b"[" * 9_999, 400), (b'{"decision": "keep"}', 400),
     (b'{"row": "0", "decision": "keep"}', 400), (b'{"row": true, "decision": "keep"}', 400),
     (b'{"row": 0, "decision": ["keep"]}', 400), (b'{"row": 10, "decision": "keep"}', 404), (b" " * 5_000_000, 413)],
)  # fmt: skip
def test_a_body_that_is_none_is_refused_in_a_sentence(client: TestClient, run: Path, body: bytes, status: int) -> None:
    response = client.post("/decide", content=body)
    assert response.status_code == status
    assert response.json()["error"].endswith(".")
    assert not (run / "decisions.csv").exists()


def test_from_the_list_to_the_moves(client: TestClient, run: Path, tmp_path: Path) -> None:
    assert [photo["row"] for photo in client.get("/list").json()["sides"]["validation"]] in ([0, 5], [5, 0])
    assert client.get("/photo/0").headers["content-type"] == "image/jpeg"
    assert client.post("/decide", json=POSTS["/decide"]).json()["decision"] == "delete"
    assert client.post("/undo", json={}).json()["decision"] is None
    assert client.post("/decide", json={"row": 0, "decision": "relabel", "to": "square"}).json()["to"] == "square"
    told = client.get("/changes").json()
    assert told["changes"] == [{"file": "disc/00.jpg", "label": "disc", "to": "square"}]
    assert client.post("/apply", json={"check": told["check"]}).json()["relabelled"] == 1
    assert (tmp_path / "data/square/00-2.jpg").is_file()
    assert client.post("/apply", json={"check": told["check"]}).status_code == 409


def test_what_goes_wrong_is_told_in_a_sentence(client: TestClient, run: Path, tmp_path: Path) -> None:
    (tmp_path / "data/disc/00.jpg").unlink()
    picture("square", 77).save(tmp_path / "data/disc/01.jpg")
    for path, status, words in (("/photo/0", 404, "no longer"), ("/thumb/1", 409, "changed")):
        response = client.get(path)
        assert response.status_code == status
        assert words in response.json()["error"]
    (run / "decisions.csv.tmp").mkdir()  # as good as a full disk: it cannot be written
    response = client.post("/decide", json={"row": 2, "decision": "keep"})
    assert response.status_code == 500
    assert "decisions.csv: Is a directory." in response.json()["error"]
    assert not any(photo["decision"] for photo in client.get("/list").json()["sides"]["train"])
