"""The image without an engine: what its Dockerfile says is run as processes, in a folder laid out as the image."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.engine import ov
from tests.drawings import bear, jpeg
from tests.live import ROOT, Live, free_port, live_service, started

HANG_S = 60
OTHER = "127.0.0.2"  # loopback too, but only a server that listens on all addresses can be reached there


@dataclass
class Stage:
    """One FROM of a Dockerfile and its instructions, ARGs filled in."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [rest for word, rest in self.instructions if word == name]

    def last(self, name: str) -> str:
        return self.all(name)[-1]

    @property
    def env(self) -> dict[str, str]:
        pairs = [pair.partition("=") for line in self.all("ENV") for pair in shlex.split(line)]
        return {name: value for name, _, value in pairs}


def read_dockerfile(text: str) -> list[Stage]:
    """The stages of a Dockerfile; of ${NAME}, only those that an ARG with a default declares are filled in."""
    stages: list[Stage] = []
    defaults: dict[str, str] = {}
    joined = re.sub(r"\\\n", "", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, rest = line.split(maxsplit=1)
        rest = re.sub(r"\$\{(\w+)\}", lambda match: defaults.get(match[1], match[0]), rest)
        if word == "ARG":
            name, _, value = rest.partition("=")
            defaults[name] = value
        elif word == "FROM":
            stages.append(Stage(rest))
        else:
            stages[-1].instructions.append((word, rest))
    return stages


STAGES = read_dockerfile((ROOT / "Dockerfile").read_text())
IMAGE = STAGES[-1]
COMMAND = json.loads(IMAGE.last("CMD"))
HEALTH = json.loads(IMAGE.last("HEALTHCHECK").partition("CMD ")[2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the last stage copies from the checkout, at its places below WORKDIR; then its last RUN."""
    folder = tmp_path_factory.mktemp("tellapart")
    for line in IMAGE.all("COPY"):
        if not line.startswith("--from"):
            source, target = line.split()
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, folder / target)
    shell(IMAGE.last("RUN"), folder)
    return folder


def shell(line: str, folder: Path, **more: str) -> str:
    """The output of a RUN's commands, which must succeed."""
    command = ["/bin/sh", "-c", line]
    done = subprocess.run(command, cwd=folder, env=environ(**more), capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environ(**more: str) -> dict[str, str]:
    """The image's ENV, with the tests' Python where it has its own; `more` as given to `docker run --env`."""
    path = IMAGE.env["PATH"].replace("/venv/bin", str(Path(sys.executable).parent)).replace("$PATH", os.environ["PATH"])
    return {**IMAGE.env, "PATH": path, **more}


@pytest.fixture(scope="module")
def container(folder: Path) -> Iterator[Live]:
    """CMD at work."""
    port = free_port()
    with started(COMMAND, port, cwd=folder, env=environ(TELLAPART_PORT=str(port))) as live:
        yield live


def healthy(folder: Path, **more: str) -> bool:
    """Run the HEALTHCHECK's command."""
    done = subprocess.run(HEALTH, cwd=folder, env=environ(**more), capture_output=True, text=True, timeout=HANG_S)
    assert "Traceback" not in done.stderr
    return done.returncode == 0


def ask(host: str, port: int, request: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=HANG_S) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer


def upload(host: str, port: int) -> bytes:
    photo = jpeg(bear("teddys", 0))
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    head = f"POST /upload HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    return ask(host, port, head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + body)


def test_the_reader_reads() -> None:
    text = (
        '# no\nARG A=x\nFROM ${A}:1 AS one\nRUN a \\\n  # no\n  && b\nFROM two\nENV P=/p:$P Q=1\nENV R=2\nCMD ["c"]\n'
    )
    one, two = read_dockerfile(text)
    assert (one.base, one.instructions) == ("x:1 AS one", [("RUN", "a   && b")])
    assert (two.base, two.env, two.last("CMD")) == ("two", {"P": "/p:$P", "Q": "1", "R": "2"}, '["c"]')


def test_the_container_is_reached_from_outside(container: Live) -> None:
    """Through an address that a server bound to 127.0.0.1 does not answer on."""
    answer = upload(OTHER, container.port)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"predictions"' in answer
    page = ask(OTHER, container.port, b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
    assert page.startswith(b"HTTP/1.1 200 ")
    assert b"<html" in page


def test_a_server_on_the_default_host_is_not_reached_there() -> None:
    with live_service() as live, pytest.raises(ConnectionRefusedError):
        upload(OTHER, live.port)


def test_the_health_check_of_a_ready_service(container: Live, folder: Path) -> None:
    """On the port that the service was given, by either name, and never through a proxy."""
    port = str(container.port)
    assert healthy(folder, TELLAPART_PORT=port)
    assert healthy(folder, PORT=port)
    assert healthy(folder, TELLAPART_PORT="", PORT=port)
    assert healthy(folder, TELLAPART_PORT=port, http_proxy="http://127.0.0.1:9", all_proxy="http://127.0.0.1:9")


def test_the_health_check_where_nothing_runs(folder: Path) -> None:
    assert not healthy(folder, TELLAPART_PORT=str(free_port()))


def test_the_health_check_of_a_service_that_is_not_ready(folder: Path) -> None:
    class Starting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503 if self.path == "/readyz" else 200)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Starting) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            assert not healthy(folder, TELLAPART_PORT=str(server.server_port))
        finally:
            server.shutdown()
            serving.join()


def test_docker_stop_ends_it_and_nothing_was_written(folder: Path) -> None:
    """A read-only file system will do."""
    before = sorted(folder.rglob("*"))
    port = free_port()
    with started(COMMAND, port, cwd=folder, env=environ(TELLAPART_PORT=str(port))) as live:
        assert upload("127.0.0.1", port).startswith(b"HTTP/1.1 200 ")
        assert healthy(folder, TELLAPART_PORT=str(port))
        live.process.send_signal(signal.SIGTERM)
        assert live.process.wait(HANG_S) == 0
    assert sorted(folder.rglob("*")) == before


def test_sigterm_is_heard_while_the_imports_still_run(folder: Path) -> None:
    """Process 1 hears only what it has a handler for: without one, `docker stop` waits out its time and kills."""
    source = """
import os, signal, sys
from app.__main__ import main

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "app.server":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Stop())
sys.exit(main(["serve"]) or "it served")
"""
    shell(f"python -c {shlex.quote(source)}", folder, TELLAPART_PORT=str(free_port()))


def test_what_serving_imports_is_compiled(folder: Path) -> None:
    """At run time nothing can be written, so each start would compile it again."""
    compiled = {path.name.partition(".")[0] for path in (folder / "app").rglob("*.pyc")}
    assert compiled >= {"server", "routes", "classifier", "engine", "image", "healthcheck"}
    assert "engine_torch" not in compiled


def test_a_bundle_that_fails_its_golden_photos_ends_the_build(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "tellapart"
    shutil.copytree(folder, changed)
    golden = sorted((changed / "models/bears/golden").glob("*.jpg"))
    shutil.copy(golden[0], golden[1])
    done = subprocess.run(["/bin/sh", "-c", IMAGE.last("RUN")], cwd=changed, env=environ(), capture_output=True)
    assert done.returncode == 3


def test_openvino_serves_without_what_the_build_removes(folder: Path, tmp_path: Path) -> None:
    packages = tmp_path / "lib/python3/site-packages"
    shutil.copytree(Path(ov.__file__).parent, packages / "openvino")
    size = size_mb(packages)
    (line,) = (line for line in STAGES[0].all("RUN") if line.startswith("find "))
    shell(line.replace("/venv", str(tmp_path)), folder)
    assert size_mb(packages) < size - 70
    assert "golden photos agree" in shell("python -m app check models/bears", folder, PYTHONPATH=str(packages))
    source = "import app.engine, openvino; print(openvino.__file__, openvino.Core().available_devices)"
    assert shell(f"python -c '{source}'", folder, PYTHONPATH=str(packages)).split() == [
        str(packages / "openvino/__init__.py"),
        "['CPU']",
    ]
    shutil.rmtree(packages)


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def test_commands_are_in_exec_form_and_the_user_is_not_root() -> None:
    assert COMMAND == ["python", "-m", "app", "serve"]
    assert HEALTH[0] == "python"
    assert IMAGE.env["TELLAPART_HOST"] == "0.0.0.0"
    assert IMAGE.env["PATH"].startswith("/venv/bin:")
    assert int(IMAGE.last("USER").split(":")[0]) > 0  # a number, so that Kubernetes can tell that it is not root
    assert IMAGE.last("STOPSIGNAL") == "SIGTERM"
    assert IMAGE.instructions[-1][0] == "CMD"
    assert [word for word, _ in IMAGE.instructions].index("USER") > max(
        place for place, (word, _) in enumerate(IMAGE.instructions) if word in ("RUN", "COPY")
    )


def test_the_image_holds_what_serving_needs_and_no_more() -> None:
    assert len(STAGES) > 1
    commands = [line for stage in STAGES for line in stage.all("RUN")]
    (install,) = (line for line in commands if re.search(r"\binstall\b", line))
    assert install in STAGES[0].all("RUN")
    assert {"--require-hashes", "--only-binary :all:", "-r requirements.txt", "--without-pip"} <= set(
        re.findall(r"--require-hashes|--only-binary :all:|-r requirements.txt|--without-pip", install)
    )
    assert any("pip uninstall --yes" in line and "pip setuptools wheel" in line for line in IMAGE.all("RUN"))
    assert any("/etc/ssl/certs/ca-certificates.crt" in line for line in IMAGE.all("RUN"))  # URLs over https need it


def test_the_base_can_be_pinned_and_the_labels_are_right() -> None:
    assert [stage.base for stage in STAGES] == ["python:3.11-slim-bookworm AS build", "python:3.11-slim-bookworm"]
    assert not re.search(r"@sha256:[0-9a-f]", (ROOT / "Dockerfile").read_text())  # one that nobody looked up
    labels = dict(pair.split("=", 1) for line in IMAGE.all("LABEL") for pair in shlex.split(line))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for key, name in {"title": "name", "version": "version", "licenses": "license"}.items():
        assert labels[f"org.opencontainers.image.{key}"] == project[name]


def test_everything_that_is_copied_is_in_the_build_context() -> None:
    ignore, *kept = (ROOT / ".dockerignore").read_text().split()
    assert ignore == "*"
    for stage in STAGES:
        for line in stage.all("COPY"):
            if not line.startswith("--from"):
                for source in line.split()[:-1]:
                    assert (ROOT / source).exists()
                    assert f"!{Path(source).parts[0]}" in kept
