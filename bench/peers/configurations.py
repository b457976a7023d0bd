"""Every configuration of every rival that was tried, and which of them were chosen; docs/bench-peers.md says why."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.settings import ROOT
from bench.bundles import f32_bundle
from bench.service import Contender

PORT = "8160"
VENVS = ROOT / ".venv-peers"

# Nothing calls home. LitServe has no such thing to turn off.
COMMON = {
    "PYTHONPATH": str(ROOT),
    "BENTOML_DO_NOT_TRACK": "True",
    "BENTOML_HOME": str(VENVS / "bentoml-home"),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # so that Ray listens on loopback only, as it does by default there
}
# https://docs.ray.io/en/master/kuberay/user-guides/serve-high-throughput.html; HAProxy comes with ray[serve].
RAY_FAST = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_HAPROXY_BINARY_PATH": str(ROOT / "bench/peers/haproxy.sh"),
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",  # of the end only: it need not take half a minute
}
ENGINES = {"torch": "PyTorch f32", "onnx": "ONNX Runtime f32", "int8": "OpenVINO int8"}


@dataclass(frozen=True)
class Configuration:
    """One that was tried: whose, on which engine, how. `chosen` ones are measured beside tellapart."""

    rival: str
    engine: str
    settings: str
    command: tuple[str, ...]
    chosen: bool = False
    health: str = "/readyz"
    environment: Mapping[str, str] = field(default_factory=dict)

    def contender(self) -> Contender:
        """As the load generator takes it."""
        name = f"{self.rival}, {ENGINES[self.engine]}"
        return Contender(name, self.command, int(PORT), self.health, {**COMMON, **self.environment})


def sketch(settings: str, threads: int, python: str = sys.executable, *, chosen: bool = False) -> Configuration:
    """bench/sketch.py."""
    command = (python, "-m", "bench.sketch", PORT, str(threads))
    return Configuration("Sketch", "int8", settings, command, chosen)


def lit(engine: str, settings: str, *flags: str, chosen: bool = False) -> Configuration:
    """LitServe."""
    command = (str(VENVS / "litserve/bin/python"), "-m", "bench.peers.lit", PORT, engine, *flags)
    return Configuration("LitServe", engine, settings, command, chosen, health="/health")


def bento(
    engine: str, settings: str, *arguments: str, service: str = "Classifier", chosen: bool = False
) -> Configuration:
    """BentoML."""
    words = [word for argument in (f"engine={engine}", *arguments) for word in ("--arg", argument)]
    serve = ("serve", f"bench.peers.bento:{service}", "--host", "127.0.0.1", "--port", PORT)
    return Configuration("BentoML", engine, settings, (str(VENVS / "bentoml/bin/bentoml"), *serve, *words), chosen)


def rays(engine: str, settings: str, *flags: str, fast: bool = False, chosen: bool = False) -> Configuration:
    """Ray Serve; `fast` as its page on high throughput has it."""
    command = (str(VENVS / "ray/bin/python"), "-m", "bench.peers.rays", PORT, engine, *flags)
    settings += ", high-throughput mode" if fast else ""
    return Configuration("Ray Serve", engine, settings, command, chosen, "/-/healthz", RAY_FAST if fast else {})


ONE_SERVER = ("--workers", "2", "--api-servers", "1")
BATCHES = ("--batch", "4", "--wait-s", "0.005")
TWO_REPLICAS = ("--replicas", "2", "--ongoing", "100")
TWO_THREADS = ("--handler", "threaded", "--threads", "2", "--ongoing", "100")
TRIED = (
    sketch("2 threads", 2),
    sketch("3 threads", 3),
    sketch("4 threads", 4),
    sketch("2 threads, httptools and uvloop", 2, str(VENVS / "litserve/bin/python")),
    sketch("3 threads, httptools and uvloop", 3, str(VENVS / "litserve/bin/python"), chosen=True),
    lit("torch", "1 worker × 2 threads", "--threads", "2"),
    lit("torch", "2 workers × 1 thread", "--workers", "2"),
    lit("torch", "2 workers, batches of 8 in 10 ms", "--workers", "2", "--batch", "8", "--wait-s", "0.01"),
    lit("onnx", "1 worker × 2 threads", "--threads", "2"),
    lit("onnx", "2 workers × 1 thread", "--workers", "2", chosen=True),
    lit("int8", "2 workers × 1 thread", "--workers", "2"),
    lit("int8", "2 workers, 1 API server", *ONE_SERVER),
    lit("int8", "2 workers, 1 API server, fast_queue", *ONE_SERVER, "--fast-queue"),
    lit("int8", "2 workers, fast_queue", "--workers", "2", "--fast-queue"),
    lit("int8", "2 workers, 1 API server, batches of 4 in 5 ms", *ONE_SERVER, *BATCHES, chosen=True),
    lit("int8", "2 workers, batches of 4 in 5 ms", "--workers", "2", *BATCHES),
    lit("int8", "1 asynchronous worker × 2 threads", "--asynchronous", "--threads", "2"),
    bento("torch", "1 worker × 2 threads", "inference_threads=2"),
    bento("torch", "2 workers × 1 thread", "workers=2"),
    bento("onnx", "2 workers × 1 thread", "workers=2", chosen=True),
    bento("int8", "2 workers × 1 thread", "workers=2", chosen=True),
    bento("int8", "2 workers × 1 thread, access log and metrics on", "workers=2", "quiet=false"),
    bento("int8", "1 worker × 2 threads", "threads=2", "inference_threads=2"),
    bento("int8", "1 worker × 3 threads", "threads=3", "inference_threads=2"),
    bento("int8", "adaptive batching in 2 workers behind 1", "workers=2", service="Batching"),
    rays("torch", "2 replicas", "--replicas", "2"),
    rays("onnx", "2 replicas", "--replicas", "2"),
    rays("onnx", "2 replicas", *TWO_REPLICAS, fast=True, chosen=True),
    rays("int8", "2 replicas", "--replicas", "2"),
    rays("int8", "2 replicas, max_ongoing_requests 100", *TWO_REPLICAS),
    rays("int8", "1 replica × 2 threads, max_ongoing_requests 100", *TWO_THREADS),
    rays("int8", "1 replica × 2 threads, max_ongoing_requests 100", *TWO_THREADS, fast=True),
    rays("int8", "2 replicas, max_ongoing_requests 100", *TWO_REPLICAS, fast=True),
    rays("int8", "2 replicas, batches of 4", "--handler", "batching", *TWO_REPLICAS, fast=True, chosen=True),
)


def prepare() -> None:
    """Check that the peers are installed, and write the float32 graph. Ends the program with a sentence if not."""
    if not VENVS.is_dir():
        sys.exit("The peers are not installed: make bench-peers does it.")
    if not (VENVS / "bears-f32").is_dir():
        f32_bundle(VENVS)


def chosen() -> list[Contender]:
    """Those that are measured beside tellapart."""
    prepare()
    return [each.contender() for each in TRIED if each.chosen]
