"""A real service with more to do than it can: who gets in, who is refused, and what becomes of those who leave."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from PIL import Image

from app.fetch import Fetcher
from tests.live import Live, live_service
from tests.photos import encode
from tests.wire import BODY, TEDDY, connection, error, form, get, head, post, read_response, until, upload_head

FETCHES = Fetcher.__init__.__kwdefaults__["slots"]
ROOM = 10  # one thread and the next one's, and eight who wait
SLOW = encode(Image.new("RGB", (7000, 7000), "green"), "PNG")  # a third of a second


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    """A service with little room."""
    flags = ("--threads", "1", "--max-waiting", "8")
    with live_service(*flags) as live:
        yield live
        assert "Traceback" not in live.log.read_text()


def gauge(live: Live, name: str) -> float:
    return sample(live, f"tellapart_{name}")


def sample(live: Live, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", get(live, "/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


@contextmanager
def full(live: Live) -> Iterator[None]:
    """Nobody else gets in: each of ROOM connections has sent photos that take long. They leave at the end."""
    body = form(*[SLOW] * 8)
    with ExitStack() as stack:
        for _ in range(ROOM):
            stack.enter_context(connection(live.port)).sendall(upload_head(body) + body)
        until(lambda: gauge(live, "waiting") == 8)
        yield
    until(lambda: gauge(live, "waiting") == 0)


def test_after_a_burst_those_who_obey_get_in_at_their_first_retry(service: Live) -> None:
    """Four times as many at once as there is room for."""

    async def ask() -> tuple[int, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(upload_head(BODY, "Connection: close") + BODY)
        answer = (await reader.read()).decode("latin-1")
        writer.close()
        told = re.search(r"retry-after: (\d+)", answer)
        return int(answer.split()[1]), int(told[1]) if told else 0

    async def client() -> list[int]:
        status, seconds = await ask()
        if status != 503:
            return [status]
        await asyncio.sleep(seconds)
        return [status, (await ask())[0]]

    async def burst() -> list[list[int]]:
        return await asyncio.gather(*(client() for _ in range(4 * ROOM)))

    seen = asyncio.run(asyncio.wait_for(burst(), 120))
    retried = [statuses[1] for statuses in seen if len(statuses) == 2]
    assert {statuses[0] for statuses in seen} == {200, 503}
    assert len(retried) >= ROOM
    assert retried.count(200) >= 0.9 * len(retried)


def test_in_a_full_house_an_upload_is_refused_before_its_body_comes(service: Live) -> None:
    with full(service), connection(service.port) as sock:
        sock.sendall(upload_head(BODY) + BODY[:100])
        status, headers, answer = read_response(sock)
        assert error(status, answer) == (503, "busy")
        assert int(headers["retry-after"]) >= 1
        assert gauge(service, "running") == 2, "those who came before are still at it"


def test_a_connection_that_was_refused_is_kept_for_the_next_request(service: Live) -> None:
    body = form(TEDDY + bytes(300_000))  # more than is read at once
    with full(service), connection(service.port) as sock:
        uploads = (upload_head(body) + body) * 3  # in one go: the next one is there before this one has been answered
        threading.Thread(target=sock.sendall, args=(uploads + head(line="GET /livez HTTP/1.1"),)).start()
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 4:
            piece = sock.recv(65536)
            assert piece, answers
            answers += piece
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"503", b"503", b"503", b"200"]


def test_a_full_house_refuses_no_probe_and_no_page(service: Live) -> None:
    with full(service):
        for path in ("/livez", "/readyz", "/", "/metrics", "/model", "/openapi.json"):
            assert get(service, path).status_code == 200
        assert error(*status_and_body(service, "/classify-url?url=http://example.org/x.jpg")) == (503, "busy")


def status_and_body(live: Live, path: str) -> tuple[int, bytes]:
    response = get(live, path)
    return response.status_code, response.content


def test_those_who_leave_the_line_cost_nothing_more(service: Live) -> None:
    before = sample(service, "process_cpu_seconds_total")
    assert post(service, SLOW).status_code == 200
    after_one = sample(service, "process_cpu_seconds_total")
    with full(service):
        pass
    until(lambda: gauge(service, "running") == 0)
    took = sample(service, "process_cpu_seconds_total") - after_one
    assert took < 4 * (after_one - before), "of ten, two were being decoded"


def test_slow_origins_keep_nobody_from_uploading() -> None:
    """Every fetch that may be under way is, and none gets an answer: uploads are answered meanwhile."""
    with ExitStack() as stack:
        origin = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        host = f"127.0.0.1:{origin.getsockname()[1]}"
        live = stack.enter_context(
            live_service("--url-hosts", host, "--url-timeout-s", "60", "--request-timeout-s", "60")
        )
        asking, asked = [], []
        for number in range(FETCHES):
            asking.append(stack.enter_context(connection(live.port)))
            asking[-1].sendall(head(line=f"GET /classify-url?url=http://{host}/{number}.jpg HTTP/1.1"))
            asked.append(stack.enter_context(origin.accept()[0]))
        assert error(*status_and_body(live, f"/classify-url?url=http://{host}/more.jpg")) == (503, "busy")
        assert [post(live, TEDDY).status_code for _ in range(5)] == [200] * 5
        for sock in asked:
            sock.close()
        assert [read_response(sock)[0] for sock in asking] == [502] * FETCHES
