"""A real Ray on this machine: two replicas behind its proxy, one of them killed under load. `make test-ray`."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import ray
import yaml
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import ServeDeploySchema

from deploy.ray_serve import tellapart
from tests.drawings import bear, jpeg
from tests.live import ROOT, free_port, live_service
from tests.test_serve_load import SLOW
from tests.wire import TEDDY, until

HANG_S = 60
CLIENTS, UPLOADS = 6, 50  # so many of each client
PHOTOS = {
    "a teddy": TEDDY,
    "a black bear": jpeg(bear("black", 3)),
    "a grizzly": jpeg(bear("grizzly", 7)),
    "text": b"text",
}
# Ray asks the network in which cloud it is, statistics or not, unless a file in HOME says so.
NO_CLOUD = '{"provider": {"type": "local"}}'
SECRET = "d41d8cd98f"

Answered = tuple[int, Any]  # status, body


@dataclass(frozen=True)
class Served:
    """Ray's proxy. `logs` is the folder of all that its processes write."""

    url: str
    logs: Path

    def post(self, photo: bytes, **options: Any) -> httpx2.Response:
        options = {"timeout": HANG_S, **options}
        return httpx2.post(f"{self.url}/upload", files={"file": photo}, trust_env=False, **options)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=HANG_S, trust_env=False, **options)

    def logs_of_replicas(self) -> list[str]:
        """What each process of a replica has written to stderr."""
        return [path.read_text() for path in self.logs.glob("worker-*.err")]


@pytest.fixture(scope="module")
def config() -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "deploy" / "ray_serve.yaml").read_text()))


@pytest.fixture(scope="module")
def served(config: ServeDeploySchema) -> Iterator[Served]:
    """Two replicas of one core each, with what deploy/ray_serve.yaml says but for the port."""
    (application,) = config.applications
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder, "ray_bootstrap_config.yaml").write_text(NO_CLOUD)
        patch.delenv("RAY_ADDRESS", raising=False)  # of a cluster that is none of ours
        for name, value in {"HOME": folder, **application.runtime_env["env_vars"]}.items():
            patch.setenv(name, value)
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            log_to_driver=False,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
        )
        try:
            options = HTTPOptions(**{**config.http_options.model_dump(), "port": free_port()})
            serve.start(http_options=options)
            serve.run(tellapart({**application.args, "max_replicas": 2}), route_prefix=application.route_prefix)
            yield Served(f"http://127.0.0.1:{options.port}", Path(folder, "session_latest", "logs"))
        finally:
            serve.shutdown()
            ray.shutdown()
            until(lambda: not children(os.getpid()))


@pytest.fixture(scope="module")
def expected() -> dict[str, Answered]:
    """Status and answer of each photo without Ray."""
    with live_service() as live:
        plain = Served(live.url, live.log)
        return {name: answer_of(plain.post(photo)) for name, photo in PHOTOS.items()}


def answer_of(response: httpx2.Response) -> Answered:
    return response.status_code, response.json()


def replicas() -> set[int]:
    """The processes of our Ray's replicas."""
    return {pid for pid in children(os.getpid()) if command(pid).startswith("ray::ServeReplica:")}


def children(process: int) -> set[int]:
    """All below a process."""
    found: set[int] = set()
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for pid in map(int, path.read_text().split()):
            found |= {pid} | children(pid)
    return found


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_both_replicas_answer_as_the_service_does(served: Served, expected: dict[str, Answered]) -> None:
    assert len(replicas()) == 2
    assert expected["a teddy"][0] == 200
    assert expected["text"][0] == 415
    for name, photo in PHOTOS.items():
        for _ in range(5):
            assert answer_of(served.post(photo)) == expected[name]
    until(lambda: sum("route=/upload" in log for log in served.logs_of_replicas()) == 2)


def test_a_request_has_one_id_in_the_answer_and_in_the_log(served: Served) -> None:
    response = served.get("/nothing", headers={"X-Request-ID": "order-7"})
    assert response.headers.get_list("x-request-id") == ["order-7"]
    until(lambda: any("id=order-7 route=unmatched" in log for log in served.logs_of_replicas()))


def test_no_log_of_ray_tells_what_was_asked_for(served: Served) -> None:
    response = served.get(f"/classify-url?url=http://127.0.0.1/{SECRET}", headers={"X-Request-ID": "hidden"})
    assert response.json()["error"]["code"] == "blocked_url"
    until(lambda: any("id=hidden" in log for log in served.logs_of_replicas()))
    assert not [path for path in served.logs.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_client_that_left_is_499(served: Served) -> None:
    many = [("file", SLOW)] * 16  # seconds of work
    with pytest.raises(httpx2.ReadTimeout):
        timeout = httpx2.Timeout(HANG_S, read=0.3)
        httpx2.post(
            f"{served.url}/upload", files=many, headers={"X-Request-ID": "left"}, timeout=timeout, trust_env=False
        )
    until(lambda: any(re.search("id=left .* status=499", log) for log in served.logs_of_replicas()))


def test_a_replica_killed_under_load_loses_no_answer(served: Served, expected: dict[str, Answered]) -> None:
    answers: list[tuple[str, Answered]] = []
    names = [name for name, (status, _) in expected.items() if status == 200]

    def client(number: int) -> None:
        for turn in range(UPLOADS):
            name = names[(number + turn) % len(names)]
            answers.append((name, answer_of(with_one_retry(served, PHOTOS[name]))))

    before = replicas()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, number) for number in range(CLIENTS)]
        until(lambda: len(answers) >= CLIENTS * UPLOADS // 3)
        os.kill(min(before), signal.SIGKILL)
        for done in clients:
            done.result()
    assert len(answers) == CLIENTS * UPLOADS
    assert [name for name, answer in answers if answer != expected[name]] == []
    until(lambda: len(replicas() - before) == 1)  # another in its place


def with_one_retry(served: Served, photo: bytes) -> httpx2.Response:
    """The answer, the second one where the first was no answer."""
    try:
        response = served.post(photo)
        if response.status_code < 500:
            return response
    except httpx2.TransportError:
        pass
    return served.post(photo)
