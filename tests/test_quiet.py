"""Nothing phones home: with an empty HOME and without CI (which hides the fault), starting the service and exporting a
bundle start no process, write nothing under HOME and open no outbound socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drawings import bear, jpeg
from tests.live import END_S, ROOT, free_port, get, wait_until_ready

HANG_S = 240

# Loaded by Python before anything else. What passes through Python is heard by an audit hook. Native code (ONNX Runtime
# has telemetry of its own) is not: if it connects, the kernel ends the process with SIGSYS; if it forks, its child was
# waited for by the end, or is still there to be waited for.
WATCH = """
import atexit, ctypes, os, platform, resource, struct, sys

log = os.open(os.environ["QUIET_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
LOUD = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn", "subprocess.Popen",
        "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto",
        "socket.sendmsg", "urllib.Request")

def hook(event, arguments):
    if event in LOUD:
        os.write(log, f"{event} {arguments!r}\\n".encode())
        if event.startswith(("socket", "urllib")):
            raise PermissionError("no packet leaves this machine")

def last_look():
    if resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss:
        os.write(log, b"a child has ended\\n")
    try:
        os.waitpid(-1, os.WNOHANG)
        os.write(log, b"there is a child\\n")
    except ChildProcessError:
        os.write(log, b"watched to the end\\n")

def trap_connect():
    arch, connect = {"x86_64": (0xC000003E, 42), "aarch64": (0xC00000B7, 203)}[platform.machine()]
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    rules = [(load, 0, 0, 4), (jump_if_equal, 0, 3, arch), (load, 0, 0, 0), (jump_if_equal, 0, 1, connect),
             (give, 0, 0, 0x00030000), (give, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("HP", len(rules), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp")

trap_connect()
sys.addaudithook(hook)
atexit.register(last_look)
os.write(log, b"watched\\n")
"""

QUIET = ["watched", "watched to the end"]

# torch built for CUDA asks `ldconfig -p` where libdl is, which stays on this machine; it also knows by itself.
EXPORT = """
import ctypes.util, sys
ctypes.util.find_library = lambda name: None
from pathlib import Path
import numpy as np, torch
from app.bundle import float_weights, read_bundle
from app.engine import OpenVinoEngine
from app.engine_torch import Network
from training import export, graph
from training.quantise import quantise

bundle = read_bundle(Path("models/bears"))
network = Network(len(bundle.classes), bundle.preprocess)
network.load_state_dict({name: torch.from_numpy(array) for name, array in float_weights(bundle.weights()).items()})
pixels = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
graph.write(quantise(graph.to_onnx(network.eval(), bundle.preprocess), pixels, lambda: None), Path(sys.argv[1]))
print(OpenVinoEngine(Path(sys.argv[1]) / "model.onnx", 1).infer(pixels).logits.shape)
"""


class Watched:
    """An environment in which a Python process is watched: HOME is empty, and nothing says that this is CI."""

    def __init__(self, folder: Path) -> None:
        self.home, self.log, hook = folder / "home", folder / "log", folder / "hook"
        self.home.mkdir()
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(WATCH)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "USER": "somebody",  # or torch asks for it, and the C library asks a name service on a local socket
            "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
            "QUIET_LOG": str(self.log),
        }

    def run(self, source: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run Python source."""
        command = [sys.executable, "-c", source, *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=HANG_S)

    def heard(self) -> list[str]:
        """Everything that happened, from the first line of the watch to its last."""
        return self.log.read_text().splitlines()

    def written(self) -> list[Path]:
        return list(self.home.rglob("*"))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def children(process: int) -> list[str]:
    """Processes that a process has started and that still run."""
    return [child for path in Path(f"/proc/{process}/task").glob("*/children") for child in path.read_text().split()]


def test_the_service_is_quiet(watched: Watched, tmp_path: Path) -> None:
    port, out = free_port(), tmp_path / "out"
    command = [sys.executable, "-m", "app", "serve", "--port", str(port)]
    with out.open("wb") as file, subprocess.Popen(command, cwd=ROOT, env=watched.environ, stderr=file) as process:
        try:
            wait_until_ready(process, port, out)
            assert upload(port, jpeg(bear("black", 0))).startswith(b"HTTP/1.1 200")
            assert get(port, "/", {"Accept": "text/html"})[0] == 200
            assert children(process.pid) == []
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(END_S) == 0
    assert watched.heard() == QUIET
    assert watched.written() == []


def upload(port: int, photo: bytes) -> bytes:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    head = f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=END_S) as sock:
        sock.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + body)
        return sock.recv(1000)


def test_exporting_and_quantising_is_quiet(watched: Watched, tmp_path: Path) -> None:
    done = watched.run(EXPORT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(2, 3)\n"
    assert watched.heard() == QUIET
    assert watched.written() == []


LOUD = {
    "a fork": ("import os\nif not os.fork(): os._exit(0)", "os.fork "),
    "a program": ("import subprocess, sys\nsubprocess.run(['true'])", "subprocess.Popen "),
    "a shell": ("import os\nos.system('true')", "os.system "),
    "a fork from C": ("import ctypes, os\nif not ctypes.CDLL(None).fork(): os._exit(0)", "there is a child"),
    "a child from C, waited for": (
        "import ctypes, os\nc = ctypes.CDLL(None)\nif not c.fork(): os._exit(0)\nc.wait(None)",
        "a child has ended",
    ),
    "a connection": ("import socket\nsocket.socket().connect_ex(('127.0.0.1', 9))", "socket.connect "),
    "a datagram": (
        "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
        "socket.sendto ",
    ),
    "a name": ("import socket\nsocket.getaddrinfo('localhost', 80)", "socket.getaddrinfo "),
}


@pytest.mark.parametrize("name", LOUD)
def test_the_watch_hears(watched: Watched, name: str) -> None:
    source, expected = LOUD[name]
    watched.run(source)
    assert any(line.startswith(expected) for line in watched.heard())


def test_the_kernel_stops_a_connection_from_native_code(watched: Watched) -> None:
    source = "import ctypes, socket\nctypes.CDLL(None).connect(socket.socket().fileno(), bytes(16), 16)"
    assert watched.run(source).returncode == -signal.SIGSYS
    assert watched.heard() == QUIET[:1]
