"""Hostile URLs and hostile origins against the whole service: real sockets, a canary that must see nobody."""

from __future__ import annotations

import asyncio
import gzip
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from app.main import create_app
from app.settings import Settings
from tests.attacks.origins import Answer, Origin, origin, sabotaged
from tests.live import ROOT, Live, clean_env, free_port, live_service, started
from tests.test_addresses import NO_URL
from tests.test_fetch import FORBIDDEN, PUBLIC, http, internet, redirect
from tests.wire import HANG_S, TEDDY, connection, error, get, head, post, read_response, until

SECRET = "s3cr3t"
AT_ONCE = 6  # fewer than the service fetches at once


# ── the whole table of addresses and names, through the app ───────────────────────────────────────────────────────────

NAMES = {
    "localhost": ["127.0.0.1"],
    "meta.test": ["169.254.169.254"],
    "mixed.test": [PUBLIC, "10.0.0.5"],
    "six.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "scoped.test": ["fe80::1%eth0"],
}


@asynccontextmanager
async def asking(net: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an app that is ready, and whose names and connections are `net`'s."""
    app = create_app(Settings(), fetcher=net.fetcher)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app(scope | {"state": dict(state)}, receive, send)

        transport = httpx2.ASGITransport(app=with_state)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.02)
            yield client


def classify_url(url: str) -> str:
    return "/classify-url?url=" + quote(url, safe="", errors="surrogatepass")


def test_every_denied_url_gets_the_same_answer_and_nobody_is_dialled() -> None:
    async def ask_all() -> None:
        async with internet() as net, asking(net) as client:
            net.names |= NAMES
            denied = set()
            for host in (*FORBIDDEN, *NAMES):
                for scheme in ("http", "https"):
                    response = await client.get(classify_url(f"{scheme}://{host}/a.jpg"))
                    assert error(response.status_code, response.content) == (400, "blocked_url"), host
                    denied.add((response.content, tuple(sorted(set(response.headers) - {"x-request-id"}))))
            assert len(denied) == 1
            for url in (url for url in NO_URL if "\ud800" not in url):  # which no query can hold
                response = await client.get(classify_url(url))
                assert error(response.status_code, response.content) == (400, "bad_url"), url
            response = await client.get(classify_url("http://nowhere.test/"))
            assert error(response.status_code, response.content) == (502, "fetch_failed")
            assert set(net.looked_up) == NAMES.keys() | {"nowhere.test"}
            assert net.dialled == []

    asyncio.run(asyncio.wait_for(ask_all(), 60))


def test_a_name_that_is_public_once_is_no_way_in_for_its_redirect() -> None:
    async def ask() -> None:
        async with internet(redirect("/again")) as net, asking(net) as client:
            answers = [[PUBLIC], ["127.0.0.1"]]

            async def resolve(host: str, port: int) -> list[str]:
                return answers.pop(0)

            net.resolve = resolve
            response = await client.get(classify_url("http://photos.test/a.jpg"))
            assert error(response.status_code, response.content) == (400, "blocked_url")
            assert net.dialled == [(PUBLIC, 80)]
            assert len(net.origin.heads) == 1

    asyncio.run(asyncio.wait_for(ask(), 60))


# ── origins ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def every(seconds: float, data: bytes, start: bytes = b"") -> Answer:
    """Send a byte, wait, send the next."""

    def drip(sock: socket.socket) -> None:
        sock.sendall(start)
        for byte in data:
            sock.sendall(bytes([byte]))
            time.sleep(seconds)

    return drip


def endless(start: bytes, piece: bytes) -> Answer:
    def send(sock: socket.socket) -> None:
        sock.sendall(start)
        while True:
            sock.sendall(piece)

    return send


def silence(sock: socket.socket) -> None:
    sock.recv(1)


def reset(sock: socket.socket) -> None:
    sock.sendall(http(TEDDY[:1000], f"Content-Length: {len(TEDDY)}"))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


CHUNKED = "Transfer-Encoding: chunked"
BOMB = gzip.compress(bytes(20_000_000))
FAILED, SLOW, LARGE = (502, "fetch_failed"), (504, "fetch_slow"), (413, "too_large")
NO_IMAGE, GOOD = (415, "not_an_image"), (200, "")
ORIGINS: dict[str, tuple[Answer, tuple[int, str]]] = {
    "a JPEG called HTML": (http(TEDDY, "Content-Type: text/html", f"Content-Length: {len(TEDDY)}"), GOOD),
    "a JPEG without a type": (http(TEDDY), GOOD),
    "a JPEG without a length": (http(TEDDY, "Connection: close"), GOOD),
    "more than it says": (http(TEDDY + b"rest", f"Content-Length: {len(TEDDY)}"), GOOD),
    "hints first": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + http(TEDDY), GOOD),
    "HTML": (http(b"<html>hello"), NO_IMAGE),
    "nothing": (http(b""), NO_IMAGE),
    "a bomb that says nothing of it": (http(BOMB), NO_IMAGE),
    "half of it": (http(TEDDY[: len(TEDDY) // 2]), (422, "broken_image")),
    "less than it says": (http(TEDDY, f"Content-Length: {len(TEDDY) + 1}"), FAILED),
    "a length beyond all": (http(TEDDY, f"Content-Length: {10**18}"), LARGE),
    "a length of 5000 digits": (http(TEDDY, f"Content-Length: {'9' * 5000}"), FAILED),
    "endless without a length": (endless(http(b"", "Connection: close"), bytes(10_000)), LARGE),
    "endless chunks": (endless(http(b"", CHUNKED), b"2710\r\n" + bytes(10_000) + b"\r\n"), LARGE),
    "endless tiny chunks": (endless(http(b"", CHUNKED), b"1\r\nx\r\n" * 1000), FAILED),
    "an endless chunk extension": (endless(http(b"", CHUNKED) + b"1;", b"x" * 10_000), FAILED),
    "an endless trailer": (endless(http(b"", CHUNKED) + b"0\r\n", b"A: b\r\n" * 1000), FAILED),
    "endless 1xx": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), FAILED),
    "450 KB of headers": (http(b"", *[f"A{number}: {'a' * 1000}" for number in range(450)]), FAILED),
    "a bomb": (http(BOMB, "Content-Encoding: gzip", f"Content-Length: {len(BOMB)}"), FAILED),
    "a bomb in transfer": (http(b"5\r\nabcde\r\n0\r\n\r\n", "Transfer-Encoding: gzip, chunked"), FAILED),
    "a byte every 0.2 s": (every(0.2, TEDDY, http(b"", f"Content-Length: {len(TEDDY)}")), SLOW),
    "a head at a byte every 0.2 s": (every(0.2, http(TEDDY)), SLOW),
    "silence": (silence, SLOW),
    "reset in the middle": (reset, FAILED),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", FAILED),
    **{
        status: (http(TEDDY, status=status), FAILED)
        for status in ("101 Switching", "201 Made", "204 No", "206 Part", "300 Many", "304 Same", "404 No", "500 Oops")
    },
    "a loop": (redirect("/a%20loop"), FAILED),
    "four hops": (redirect("/hop1"), FAILED),
    "to a file": (redirect("file:///etc/passwd"), (400, "blocked_url")),
    "with a password": (redirect("http://user:pw@127.0.0.1/"), (400, "blocked_url")),
    "to an internal name": (redirect("//localhost/"), (400, "blocked_url")),
    "to the metadata": (redirect("http://169.254.169.254/latest/"), (400, "blocked_url")),
    "to port 22": (redirect("http://127.0.0.1:22/"), (400, "blocked_url")),
}
HOPS = {f"/hop{number}": redirect(f"/hop{number + 1}") for number in range(1, 4)} | {"/hop4": http(TEDDY)}
PATHS = {f"/{quote(name)}": answer for name, (answer, _) in ORIGINS.items()} | HOPS


@pytest.fixture(scope="module")
def canary() -> Iterator[Origin]:
    with origin() as listener:
        yield listener
        assert listener.connections == 0


@pytest.fixture(scope="module")
def photos(canary: Origin) -> Iterator[Origin]:
    """All of the above, and redirects to the canary."""
    own = {
        "/in": redirect(f"{canary.url}/"),
        "/cookie": http(TEDDY, "Set-Cookie: a=b", f"Content-Length: {len(TEDDY)}"),
    }
    with origin(PATHS | own) as listener:
        yield listener


@pytest.fixture(scope="module")
def service(photos: Origin, canary: Origin) -> Iterator[Live]:
    """A service that may fetch from that origin and from itself, and is told to use the canary as its proxy."""
    port = free_port()
    hosts = f"127.0.0.1:{photos.port},127.0.0.1:{port}"
    flags = ("--url-hosts", hosts, "--url-timeout-s", "2", "--max-upload-mb", "1")
    proxies = {f"{name}_proxy": canary.url for name in ("http", "https", "all")}
    proxies |= {name.upper(): url for name, url in proxies.items()}
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), *flags]
    with started(command, port, cwd=ROOT, env=clean_env() | proxies) as live:
        yield live
        assert "Traceback" not in live.log.read_text()


def outcome(live: Live, url: str, **options: Any) -> tuple[int, str]:
    """Status and code of what comes of a URL."""
    response = get(live, "/classify-url", params={"url": url}, **options)
    return GOOD if response.status_code == 200 else error(response.status_code, response.content)


def test_what_origins_do_ends_in_an_answer_and_a_defined_one(service: Live, photos: Origin) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = {name: pool.submit(outcome, service, f"{photos.url}/{quote(name)}") for name in ORIGINS}
        found = {name: answer.result() for name, answer in asked.items()}
    assert found == {name: expected for name, (_, expected) in ORIGINS.items()}
    assert get(service, "/classify-url", params={"url": f"{photos.url}/hop4"}).json() == post(service, TEDDY).json()


def test_a_redirect_inside_or_to_the_service_is_not_followed(service: Live, photos: Origin, canary: Origin) -> None:
    for url in (f"{photos.url}/in", f"{canary.url}/", f"http://localhost:{photos.port}/", "http://127.0.0.1/"):
        assert outcome(service, url) == (400, "blocked_url")
    assert outcome(service, photos.url.replace("http:", "https:") + "/hop4") == SLOW, "it waits for a request"


def test_nothing_of_one_caller_reaches_the_origin_or_the_next_caller(service: Live, photos: Origin) -> None:
    before = len(photos.heads)
    ours = ("Cookie", "Authorization", "X-Forwarded-For", "Referer", "User-Agent", "X-Request-ID", "traceparent")
    for _ in range(2):
        assert outcome(service, f"{photos.url}/cookie", headers=dict.fromkeys(ours, SECRET)) == GOOD
    first, second = photos.heads[before:]
    assert first == second
    assert SECRET.encode() not in first
    assert not any(f"\n{name}:".encode() in first.lower() for name in ("cookie", "referer", "x-forwarded-for"))


def test_a_service_that_asks_itself_gets_no_further_than_its_slots(service: Live, photos: Origin) -> None:
    url = f"{photos.url}/hop4"
    for _ in range(20):
        url = f"{service.url}/classify-url?url={url}"
    assert outcome(service, url)[0] in (502, 503, 504)
    assert outcome(service, f"{service.url}/livez") == NO_IMAGE
    until(lambda: outcome(service, f"{photos.url}/hop4") == GOOD)


def test_whoever_leaves_takes_the_fetch_along() -> None:
    """Long before the clock on fetches would end it."""
    hung_up = threading.Event()

    def wait(sock: socket.socket) -> None:
        if sock.recv(1) == b"":
            hung_up.set()

    with ExitStack() as stack:
        photos = stack.enter_context(origin({"/a.jpg": wait}))
        clocks = ("--url-timeout-s", "300", "--request-timeout-s", "300")
        live = stack.enter_context(live_service("--url-hosts", f"127.0.0.1:{photos.port}", *clocks))
        with connection(live.port) as sock:
            sock.sendall(head(line=f"GET /classify-url?url={photos.url}/a.jpg HTTP/1.1"))
            until(lambda: len(photos.heads) == 1)
            assert not hung_up.is_set()
        assert hung_up.wait(HANG_S)


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

DEAD_DNS = """
import socket, time

real = socket.getaddrinfo

def getaddrinfo(host, *rest, **options):
    if str(host).endswith(".hang.test"):
        time.sleep(3600)
    if str(host).endswith(".test"):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return real(host, *rest, **options)

socket.getaddrinfo = getaddrinfo
"""
LOOK_UPS = 8


def test_a_dead_resolver_harms_those_alone_who_need_it(tmp_path: Path) -> None:
    """With every thread that looks up names hung, for good, further names are refused at once."""
    with ExitStack() as stack:
        photos = stack.enter_context(origin({"/a.jpg": http(TEDDY)}))
        flags = ("--url-hosts", f"127.0.0.1:{photos.port},*.test", "--url-timeout-s", "2")
        live = stack.enter_context(live_service(*flags, env=sabotaged(tmp_path, DEAD_DNS)))
        assert outcome(live, "http://dead.test/") == FAILED
        waiting = [stack.enter_context(connection(live.port)) for _ in range(LOOK_UPS)]
        for number, sock in enumerate(waiting):
            sock.sendall(head(line=f"GET /classify-url?url=http://{number}.hang.test/ HTTP/1.1"))
        assert [post(live, TEDDY).status_code for _ in range(3)] == [200] * 3
        assert [read_response(sock)[0] for sock in waiting] == [504] * LOOK_UPS
        for name in ("more.hang.test", "dead.test"):
            began = time.monotonic()
            response = get(live, "/classify-url", params={"url": f"http://{name}/"})
            assert error(response.status_code, response.content) == (503, "busy")
            assert int(response.headers["retry-after"]) >= 1
            assert time.monotonic() - began < 2, "not even the time that a fetch may take"
        assert outcome(live, f"{photos.url}/a.jpg") == GOOD, "needs no look-up"
        assert post(live, TEDDY).status_code == 200
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(HANG_S) == 0
        assert "Traceback" not in live.log.read_text()
