"""The service as a process, over real sockets: how it starts, answers, refuses and stops."""

from __future__ import annotations

import base64
import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from app.bundle import CARD, WEIGHTS, read_bundle
from tests import bundles
from tests.drawings import bear, jpeg
from tests.live import ROOT, Live, clean_env, free_port, live_service
from tests.wire import (
    BODY,
    FORM_TYPE,
    HANG_S,
    TEDDY,
    connection,
    error,
    exchange,
    form,
    get,
    head,
    post,
    read_response,
    until,
    upload_head,
)

LARGE = jpeg(bear("grizzly", 1).resize((3000, 2400)))
BEARS = bundles.SHIPPED
CLASSES = {"black", "grizzly", "teddys"}


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    """A service as it comes. Nothing that is done to it here may be a fault of ours."""
    with live_service() as live:
        yield live
        assert "Traceback" not in live.log.read_text()


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service that is told everything by the environment."""
    bundle = bundles.copy(tmp_path_factory.mktemp("models"))
    bundles.change_card(bundle, lambda card: card.update(name="cubs"))
    settings = {"MODEL": str(bundle), "THREADS": "3", "URL_HOSTS": "none"}
    with live_service(env={"PORT": "1", **{f"TELLAPART_{name}": value for name, value in settings.items()}}) as live:
        yield live


def listens(port: int) -> bool:
    try:
        with connection(port):
            return True
    except ConnectionError:
        return False


# ── starting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_ready_line_says_what_is_served_and_where(service: Live) -> None:
    lines = service.log.read_text().splitlines()
    bundle = read_bundle(BEARS)
    expected = f"tellapart serves bears {bundle.version} (black, grizzly, teddys) at {service.url}/"
    assert lines[0].endswith(f" INFO {expected}")
    assert [line for line in lines if "tellapart" in line] == lines[:1]


def run_serve(*flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m app serve` that is expected to end by itself."""
    command = [sys.executable, "-m", "app", "serve", *flags]
    environment = clean_env() | environ
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_S)


def assert_ends(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The process ended with this code and one sentence."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    (sentence,) = done.stderr.splitlines()
    assert sentence.endswith(".")
    for word in words:
        assert word in sentence


def test_a_port_in_use_is_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert_ends(run_serve("--port", port), 2, f"127.0.0.1:{port}", "in use")


def test_an_address_that_is_not_ours_is_exit_code_2() -> None:
    assert_ends(run_serve("--host", "192.0.2.1", "--port", str(free_port())), 2, "Cannot listen on 192.0.2.1:")


BAD_SETTINGS: list[tuple[list[str], dict[str, str], list[str]]] = [
    (["--port", "99999"], {}, ["--port", "'99999'", "a whole number from 1 to 65535"]),
    ([], {"TELLAPART_MAX_UPLOAD_MB": "lots"}, ["TELLAPART_MAX_UPLOAD_MB", "'lots'", "a number from 0.001 to 1000"]),
]


@pytest.mark.parametrize(("flags", "environ", "words"), BAD_SETTINGS)
def test_a_bad_setting_is_exit_code_2(flags: list[str], environ: dict[str, str], words: list[str]) -> None:
    assert_ends(run_serve(*flags, **environ), 2, *words)


def flipped(folder: Path) -> Path:
    bundle = bundles.copy(folder)
    data = bytearray((bundle / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (bundle / WEIGHTS).write_bytes(data)
    return bundle


def rubbish(folder: Path) -> Path:
    (folder / CARD).write_bytes(b"\x00\xffnot a card\n\n")
    return folder


BROKEN_BUNDLES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "nothing", "does not exist"),
    "no bundle": (lambda folder: folder, "has no model.json"),
    "rubbish": (rubbish, "model.json is not JSON"),
    "a flipped bit": (flipped, "weights.safetensors was changed"),
}


@pytest.mark.parametrize("name", BROKEN_BUNDLES)
def test_a_missing_or_broken_bundle_is_exit_code_3(tmp_path: Path, name: str) -> None:
    make, reason = BROKEN_BUNDLES[name]
    assert_ends(run_serve("--port", str(free_port()), "--model", str(make(tmp_path))), 3, reason)


# ── answering ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_probes_and_the_card(service: Live) -> None:
    assert (get(service, "/livez").status_code, get(service, "/livez").json()) == (200, {"status": "alive"})
    assert (get(service, "/readyz").status_code, get(service, "/readyz").json()) == (200, {"status": "ready"})
    card = get(service, "/model").json()
    assert set(card["classes"]) == CLASSES
    assert card["version"] == read_bundle(BEARS).version
    assert card["plan"]["threads"] >= 1


def test_an_upload(service: Live) -> None:
    answer = post(service, TEDDY).json()
    assert {name for name, _ in answer["predictions"]} == CLASSES
    assert sum(share for _, share in answer["predictions"]) == pytest.approx(1)
    assert answer["verdict"] == answer["predictions"][0][0]


def test_several_files_in_one_upload(service: Live) -> None:
    response = post(service, TEDDY, b"no photo", TEDDY)
    assert response.status_code == 200
    first, second, third = response.json()["results"]
    assert first == third == post(service, TEDDY).json()
    assert second["error"]["code"] == "not_an_image"


def test_a_connection_is_kept_for_the_next_request(service: Live) -> None:
    body = form(TEDDY)
    with connection(service.port) as sock:
        for _ in range(3):
            sock.sendall(upload_head(body) + body)
            assert read_response(sock)[0] == 200


def test_a_body_in_many_chunks(service: Live) -> None:
    body = form(TEDDY)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 700]), body[i : i + 700]) for i in range(0, len(body), 700))
    status, _, answer = exchange(
        service.port, head(f"Content-Type: {FORM_TYPE}", "Transfer-Encoding: chunked"), chunks, b"0\r\n\r\n"
    )
    assert status == 200
    assert json.loads(answer) == post(service, TEDDY).json()


# ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_with_exit_code_0(number: int) -> None:
    """And an upload that is half sent is still answered: the rest is sent when nobody new can connect any more."""
    with live_service() as live, connection(live.port) as sock:
        sock.sendall(upload_head(BODY) + BODY[:1000])
        assert get(live, "/livez").status_code == 200
        live.process.send_signal(number)
        until(lambda: not listens(live.port))
        sock.sendall(BODY[1000:])
        status, _, answer = read_response(sock)
        assert status == 200
        assert {name for name, _ in json.loads(answer)["predictions"]} == CLASSES
        assert live.process.wait(HANG_S) == 0
        kinds = ["tellapart serves", "tellapart stops", "request", "tellapart has stopped"]
        for line, kind in zip(live.log.read_text().splitlines(), kinds, strict=True):
            assert f" INFO {kind}" in line


def test_sigterm_under_load_loses_no_upload() -> None:
    """/readyz says no at once, while the service listens on until load balancers have noticed."""
    stop, outcomes = threading.Event(), []

    def keep_uploading(live: Live) -> None:
        with httpx2.Client(timeout=HANG_S, trust_env=False) as client:
            while not stop.is_set():
                outcomes.append(client.post(f"{live.url}/upload", files={"file": LARGE}).status_code)

    with live_service() as live, ThreadPoolExecutor(8) as pool:
        loops = [pool.submit(keep_uploading, live) for _ in range(8)]
        try:
            until(lambda: len(outcomes) >= 16)
            before = len(outcomes)
            live.process.send_signal(signal.SIGTERM)
        finally:
            stop.set()
        until(lambda: get(live, "/readyz").status_code != 200)
        response = get(live, "/readyz")
        assert error(response.status_code, response.content) == (503, "draining")
        assert int(response.headers["retry-after"]) >= 1
        assert post(live, TEDDY).status_code == 200
        for loop in loops:
            loop.result()
        assert len(outcomes) > before
        assert set(outcomes) == {200}
        assert live.process.wait(HANG_S) == 0
        assert "Traceback" not in live.log.read_text()


def test_draining_has_an_end() -> None:
    with live_service("--drain-s", "0") as live, connection(live.port) as sock:
        sock.sendall(upload_head(BODY) + BODY[:1000])
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(HANG_S) == 0


# ── settings at work ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_api_key_from_the_environment() -> None:
    key = "s3cret-ключ"
    basic = base64.b64encode(f"anyone:{key}".encode()).decode()
    with live_service(env={"TELLAPART_API_KEY": key}) as live:
        for path in ("/", "/livez", "/readyz", "/static/page.css"):
            assert get(live, path).status_code == 200
        for right in (f"Bearer {key}".encode(), f"Basic {basic}", f"bearer {key}".encode()):
            assert post(live, TEDDY, headers={"Authorization": right}).status_code == 200
            assert get(live, "/model", headers={"Authorization": right}).status_code == 200
        for wrong in ({}, {"Authorization": "Bearer s3cret"}, {"Authorization": f"Basic {basic[:-8]}"}):
            for response in (post(live, TEDDY, headers=wrong), get(live, "/model", headers=wrong)):
                assert error(response.status_code, response.content) == (401, "unauthorized")
                assert response.headers["www-authenticate"].startswith("Basic ")
        body = form(bytes(10_000_000))
        status, headers, answer = exchange(live.port, upload_head(body), body)
        assert error(status, answer) == (401, "unauthorized")
        assert headers["www-authenticate"].startswith("Basic ")
        assert key not in Path(f"/proc/{live.process.pid}/cmdline").read_text()


@contextmanager
def origin(photo: bytes) -> Iterator[tuple[int, list[str]]]:
    """A loopback server that serves a photo; its port, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(photo)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            serving.join()


def test_a_listed_loopback_host_serves_a_photo_and_no_other_does() -> None:
    with origin(TEDDY) as (port, asked), origin(TEDDY) as (other_port, other_asked):
        with live_service("--url-hosts", f"127.0.0.1:{port}") as live:
            response = get(live, "/classify-url", params={"url": f"http://127.0.0.1:{port}/teddy.jpg"})
            assert response.json() == post(live, TEDDY).json()
            assert asked == ["/teddy.jpg"]
            for blocked in (f"http://127.0.0.1:{other_port}/", f"http://localhost:{port}/", "http://127.0.0.1/"):
                response = get(live, "/classify-url", params={"url": blocked})
                assert error(response.status_code, response.content) == (400, "blocked_url")
        assert other_asked == []


def test_loopback_is_blocked_unless_listed(service: Live) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        for url in (f"http://127.0.0.1:{canary.getsockname()[1]}/", service.url, "http://127.0.0.1/", "http://[::1]/"):
            response = get(service, "/classify-url", params={"url": url})
            assert error(response.status_code, response.content) == (400, "blocked_url")
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_variables_set_what_flags_do_not(configured: Live) -> None:
    card = get(configured, "/model").json()
    assert (card["name"], card["plan"]["threads"]) == ("cubs", 3)
    response = get(configured, "/classify-url", params={"url": "http://127.0.0.1/"})
    assert error(response.status_code, response.content) == (404, "url_route_off")
