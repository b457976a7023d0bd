"""Requests to a live service: whole ones, and ones that are sent byte by byte."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette

from app.errors import CODES
from tests.drawings import bear, jpeg
from tests.live import Live

BOUNDARY = "3d1f"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
HANG_S = 25  # five times the clocks on heads and idle bodies
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; httpx2 would load one for each request, in 17 ms
TEDDY = jpeg(bear("teddys", 58))  # a drawing that is like enough to photos of teddy bears


def form(*photos: bytes) -> bytes:
    """A multipart body with these files."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'.encode()
    return b"".join(head + photo + b"\r\n" for photo in photos) + f"--{BOUNDARY}--\r\n".encode()


def head(*headers: str, line: str = "POST /upload HTTP/1.1") -> bytes:
    """A request's head; with a Host where none of the headers is one."""
    host = [] if any(h.startswith("Host") for h in headers) else ["Host: test"]
    return "\r\n".join([line, *host, *headers, "", ""]).encode()


def upload_head(body: bytes, *headers: str, line: str = "POST /upload HTTP/1.1") -> bytes:
    return head(f"Content-Type: {FORM_TYPE}", f"Content-Length: {len(body)}", *headers, line=line)


@contextmanager
def connection(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=HANG_S) as sock:
        yield sock


def read_response(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body of the next response."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def exchange(port: int, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send all pieces, whatever the other side says meanwhile; only then read its response."""
    with connection(port) as sock:
        for piece in pieces:
            sock.sendall(piece)
        return read_response(sock)


def error(status: int, body: bytes) -> tuple[int, str]:
    """Status and code of a refusal in the one error shape."""
    content = json.loads(body)
    assert content.keys() == {"error"}
    assert content["error"].keys() == {"code", "message", "hint"}
    assert CODES[content["error"]["code"]][0] == status
    return status, content["error"]["code"]


def scope_of(app: Starlette, path: str, **changes: Any) -> dict[str, Any]:
    """What a server tells an app, whose lifespan has begun, of a GET: for what no client lets through."""
    known = {"type": "http", "http_version": "1.1", "scheme": "http", "method": "GET", "path": path, "root_path": ""}
    told = {"server": ("test", 80), "query_string": b"", "headers": [], "state": {"service": app.state.service}}
    return {**known, **told, **changes}


def post(live: Live, *photos: bytes, **options: Any) -> httpx2.Response:
    files = [("file", (f"{number}.jpg", photo)) for number, photo in enumerate(photos)]
    return httpx2.post(f"{live.url}/upload", files=files, timeout=HANG_S, trust_env=False, verify=NO_TLS, **options)


def get(live: Live, path: str, **options: Any) -> httpx2.Response:
    return httpx2.get(live.url + path, timeout=HANG_S, trust_env=False, verify=NO_TLS, **options)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen soon."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


BODY = form(TEDDY)
