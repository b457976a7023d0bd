"""What answers show, to whom: headers on all of them, the key, other origins, nothing that a client smuggled in."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator

import pytest
from starlette.routing import Mount, Route

from app.web import HEADERS, OPEN_PATHS, KeyGuard
from tests.live import Live, live_service
from tests.test_dialects import INFER, MODEL, image
from tests.test_http import running, upload
from tests.test_logs import TIME
from tests.wire import BODY, FORM_TYPE, TEDDY, connection, error, exchange, form, get, head, post, read_response, until
from tests.wire import upload_head as head_of

KEY = "s3cret"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW")


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    """A service with a key, small bodies and a short clock on them."""
    env = {"TELLAPART_API_KEY": KEY, "TELLAPART_BODY_TIMEOUT_S": "1"}
    with live_service("--max-upload-mb", "0.5", env=env) as live:
        yield live
        assert "Traceback" not in live.log.read_text()


# ── headers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

AUTHORIZED = f"Authorization: Bearer {KEY}"
INFERS = f"POST {INFER} HTTP/1.1"
TENSOR = json.dumps(image(TEDDY)).encode()
ALL = {
    "the page": (head(line="GET / HTTP/1.1"), 200),
    "its head": (head(line="HEAD / HTTP/1.1"), 200),
    "a static file": (head(line="GET /static/page.css HTTP/1.1"), 200),
    "a probe": (head(line="GET /livez HTTP/1.1"), 200),
    "HTTP/1.0": (head(line="GET /livez HTTP/1.0"), 200),
    "an answer": (head_of(BODY, AUTHORIZED) + BODY, 200),
    "an answer as a page": (head_of(BODY, AUTHORIZED, "Accept: text/html") + BODY, 200),
    "no HTTP": (b"hello\r\n\r\n", 400),
    "a bad request": (head(AUTHORIZED, line="GET /classify-url HTTP/1.1"), 400),
    "a tensor": (head_of(TENSOR, AUTHORIZED, line=INFERS) + TENSOR, 200),
    "no tensor": (head_of(b"{}", AUTHORIZED, line=INFERS) + b"{}", 400),
    "no model": (head(AUTHORIZED, line="GET /v2/models/nothing HTTP/1.1"), 404),
    "two lengths": (head("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "no key": (head(line="GET /model HTTP/1.1"), 401),
    "nothing there": (head(AUTHORIZED, line="GET /nothing HTTP/1.1"), 404),
    "no static file": (head(line="GET /static/nothing HTTP/1.1"), 404),
    "another method": (head(AUTHORIZED, line="PUT /model HTTP/1.1"), 405),
    "a static file by another method": (head(line="PUT /static/page.css HTTP/1.1"), 405),
    "a slow body": (head_of(BODY, AUTHORIZED) + BODY[:500], 408),
    "a large body": (head(f"Content-Type: {FORM_TYPE}", "Content-Length: 9999999", AUTHORIZED), 413),
    "no photo": (head_of(form(b"x"), AUTHORIZED) + form(b"x"), 415),
    "half a photo": (head_of(form(TEDDY[:3000]), AUTHORIZED) + form(TEDDY[:3000]), 422),
    "a large head": (head(f"X: {'x' * 40_000}"), 431),
}


@pytest.mark.parametrize("name", ALL)
def test_page_headers_are_on_every_answer(service: Live, name: str) -> None:
    sent, expected = ALL[name]
    with connection(service.port) as sock:
        sock.sendall(sent)
        if sent.startswith(b"HEAD"):
            found = sock.recv(65536).decode().split("\r\n")
            status, headers = int(found[0].split()[1]), dict(line.lower().split(": ", 1) for line in found[1:-2])
        else:
            status, headers, _ = read_response(sock)
    assert status == expected
    assert {name.lower(): headers.get(name.lower(), "").lower() for name in HEADERS} == {
        name.lower(): value.lower() for name, value in HEADERS.items()
    }
    assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])
    assert not any(name.startswith("access-control-") or name in ("server", "set-cookie") for name in headers)


def test_what_is_not_there_is_not_there(service: Live) -> None:
    for path in ("/v1/models", "/v2.", "/redoc", "/admin", "/.git/config", "/static/../app/main.py"):
        status, _, answer = exchange(service.port, head(AUTHORIZED, line=f"GET {path} HTTP/1.1"))
        assert error(status, answer) == (404, "not_found")
    status, _, answer = exchange(service.port, head_of(BODY, AUTHORIZED, line="POST /feedback HTTP/1.1") + BODY)
    assert error(status, answer) == (404, "feedback_off")


# ── methods ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_address_takes_its_own_methods_and_no_other() -> None:
    with running() as client:
        for route in client.app.routes:  # type: ignore[attr-defined]
            path = "/static/page.css" if isinstance(route, Mount) else route.path
            allowed = {"GET", "HEAD"} if isinstance(route, Mount) else route.methods
            for method in METHODS:
                response = client.request(method, path)
                if method in allowed:
                    assert response.status_code not in (405, 500), (method, path)
                else:
                    assert response.status_code == 405, (method, path)
                    assert {name.strip() for name in response.headers["allow"].split(",")} == allowed


# ── the key ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_route_is_guarded_that_is_not_meant_to_be_open() -> None:
    """So is one that is yet to be written; and none that there is opens by another way to write its address."""
    with running(api_key=KEY) as client:
        app = client.app
        paths = [route.path for route in app.routes if isinstance(route, Route)]  # type: ignore[attr-defined]
        assert set(OPEN_PATHS) <= set(paths)
        shown = {path for path in paths if path.startswith("/examples/")}  # on the page, which is open
        guarded = [*sorted(set(paths) - set(OPEN_PATHS) - shown), "/nothing", "/feedback"]
        assert {"/upload", "/classify-url", "/model", "/metrics"} <= set(guarded)
        for path in guarded:
            for method in METHODS:
                assert client.request(method, path).status_code == 401, (method, path)
            name = path[1:]
            for other in (f"/{path}", f"{path}/", f"/.{path}", f"/x/..{path}", f"/livez/..{path}", f"/%2e{path}"):
                assert client.get(f"http://test{other}").status_code == 401, other
            for other in (f"/static/..{path}", f"/static/%2e%2e{path}", f"/static/{name}", f"/static//{name}"):
                assert client.get(f"http://test{other}").status_code in (401, 404), other
            for other in (
                f"/livez;{path}",
                f"/livez%00{path}",
                f"/livez%0a{path}",
                f"/livez%23{path}",
                f"/LIVEZ{path}",
            ):
                assert client.get(f"http://test{other}").status_code == 401, other
            assert client.get(f"{path}?/livez").status_code == 401


WRONG = [
    "", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crett", "Bearer S3CRET", "Bearer s3cret,", "Bearer  ", KEY,
    "Basic", "Basic !", "Basic czNjcmV0", "Basic OnMzY3JldHQ=", "Basic czNjcmV0Og==", "Token s3cret", "Digest s3cret",
    f"Bearer {'x' * 10_000}", f"Basic {'eA==' * 5000}", "Bearer s3cret\udcff", "Basic \udcff",
]  # fmt: skip


def test_other_keys_are_none(service: Live) -> None:
    for wrong in WRONG:
        line = b"Authorization: " + wrong.encode("latin-1", "surrogateescape")
        sent = head("Authorization: WRONG", line="GET /model HTTP/1.1").replace(b"Authorization: WRONG", line)
        status, headers, answer = exchange(service.port, sent)
        assert error(status, answer) == (401, "unauthorized"), wrong
        assert headers["www-authenticate"].startswith("Basic ")
        assert KEY.encode() not in answer
    two = head("Authorization: Bearer no", AUTHORIZED, line="GET /model HTTP/1.1")
    assert exchange(service.port, two)[0] == 401
    assert KEY not in service.log.read_text()


def test_the_key_is_compared_in_constant_time() -> None:
    """Read from the source, as no clock on a busy machine shows it: that is the only thing ever done with the key."""
    tree = ast.parse(inspect.getsource(KeyGuard))
    reads = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node) == "self.key"]
    reads = [node for node in reads if isinstance(node.ctx, ast.Load)]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    compared = [call.args[1] for call in calls if ast.unparse(call.func) == "hmac.compare_digest"]
    assert reads == compared
    assert len(reads) == 1


# ── other origins ─────────────────────────────────────────────────────────────────────────────────────────────────────

FRIEND = "https://friend.example"
STRANGERS = ["https://stranger.example", "null", "*", "", "http://friend.example", "https://friend.example:8443"]
STRANGERS += ["https://friend.example.evil.test", "https://evil-friend.example", "https://FRIEND.example", "file://"]


def test_no_origin_may_call_unless_it_is_listed() -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with running() as nobody, running(cors_origins=(FRIEND,)) as friends:
        for origin in (*STRANGERS, FRIEND):
            for client in (nobody, friends):
                plain = upload(client, TEDDY, headers={"Origin": origin})
                preflight = client.options("/upload", headers={"Origin": origin, **asks})
                allowed = client is friends and origin == FRIEND
                for response in (plain, preflight):
                    assert response.headers.get("access-control-allow-origin") == (FRIEND if allowed else None)
                    assert "access-control-allow-credentials" not in response.headers
                assert (preflight.status_code == 200) == allowed


# ── smuggled in ───────────────────────────────────────────────────────────────────────────────────────────────────────

FORGED = ["\r\nX-Evil: forged\r\n\r\n", "\x1b[31mforged", "\u2028forged", "\u0085forged", "\u202eforged", "\0forged"]
FORGED += ["<script>forged</script>", "'\"forged", "{{forged}}", "%s%n forged", "forged" * 500]


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def in_the_query(text: str) -> list[bytes]:
    names = ("url", "top_k", "explain", "thumbnail", text)
    queries = [f"{quoted(name)}={quoted(text)}" for name in names] + [quoted(text)]
    lines = [f"GET /classify-url?{query} HTTP/1.1" for query in queries] + [f"GET /{quoted(text)} HTTP/1.1"]
    lines += [f"GET /v2/models/{quoted(text)} HTTP/1.1", f"GET {MODEL}/versions/{quoted(text)}/ready HTTP/1.1"]
    lines += [f"GET /static/{quoted(text)} HTTP/1.1", f"GET /classify-url?url=http://{quoted(text)}.test/ HTTP/1.1"]
    return [head(AUTHORIZED, line=line) for line in lines]


def in_a_header(text: str) -> list[bytes]:
    names = (
        "X-Request-ID",
        "traceparent",
        "Accept",
        "If-None-Match",
        "Origin",
        "Referer",
        "User-Agent",
        "Content-Type",
    )
    value = text.replace("\r\n", "").encode()  # with line ends it is another header, and no attack
    lines = head("NAME: VALUE", AUTHORIZED, line="GET /classify-url HTTP/1.1")
    return [lines.replace(b"NAME", name.encode()).replace(b"VALUE", value) for name in names]


def in_a_form(text: str) -> list[bytes]:
    value = text.encode()
    bodies = [form(b"x").replace(b"a.jpg", value), form(b"x").replace(b'"file"', b'"' + value + b'"')]
    bodies += [form(value), form(b"x").replace(b"\r\n\r\n", b"\r\nContent-Type: " + value + b"\r\n\r\n", 1)]
    return [head_of(body, AUTHORIZED) + body for body in bodies]


def in_json(text: str) -> list[bytes]:
    good = image(TEDDY)["inputs"][0]
    tensors = [{**good, key: text} for key in good] + [{**good, "data": [text]}, {text: text}, text]
    requests = [{"id": text, "inputs": [tensor]} for tensor in tensors] + [
        {"inputs": [good], "outputs": [{"name": text}]}
    ]
    requests += [{"inputs": [good], "parameters": text}, {text: text}, text, {"inputs": text}]
    bodies = [json.dumps(request, ensure_ascii=False).encode() for request in requests] + [text.encode()]
    lines = (INFERS, "POST /hf HTTP/1.1")
    return [head_of(body, AUTHORIZED, line=line) + body for body in bodies for line in lines]


@pytest.mark.parametrize("face", ["application/json", "text/html"])
def test_nothing_that_a_client_wrote_comes_back_or_stands_in_the_log(service: Live, face: str) -> None:
    for text in FORGED:
        for sent in (*in_the_query(text), *in_a_header(text), *in_a_form(text), *in_json(text)):
            if b"Accept" not in sent:
                sent = sent.replace(b"Authorization:", f"Accept: {face}\r\nAuthorization:".encode(), 1)
            status, headers, answer = exchange(service.port, sent)
            assert 400 <= status < 500, sent
            assert b"forged" not in answer, sent
            assert "x-evil" not in headers
            assert "forged" not in str(headers)
    until(lambda: service.log.read_text().endswith("\n"))
    lines = service.log.read_bytes().decode("ascii").splitlines()
    assert len(lines) > 2 * len(FORGED)
    assert all(re.match(f"{TIME} INFO ", line) and line.isprintable() for line in lines)
    assert not any("forged" in line.lower() for line in lines)
    assert get(service, "/livez").status_code == 200
    assert post(service, TEDDY, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
