"""Services under measurement: started, measured and ended; ours changed for a measurement."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from app.bundle import read_bundle
from app.classifier import load_classifier
from app.cpu import Plan
from bench import plans, sizing, soak
from bench.bundles import INT8, f32_bundle
from bench.hostile import AS_EXPECTED, Act
from bench.load import get, upload
from bench.overload import room
from bench.photos import photos
from bench.served import OPEN, ROOM, one_round, tellapart
from bench.service import Contender, cpu_s, descendants, memory_mb, service
from tests.live import free_port
from tests.test_bench_load import asking, run, statuses
from tests.wire import until

HANG_S = 30.0


FAMILY = """
import subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
child = subprocess.Popen([sys.executable, "-c", "import time; sum(range(5_000_000)); time.sleep(600)"])
class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/here" else 404)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


def test_a_service_is_measured_and_ended_with_its_children() -> None:
    port = free_port()
    with service(Contender("family", (sys.executable, "-c", FAMILY, str(port)), port, "/here")) as (pid, seconds):
        family = descendants(pid)
        assert len(family) == 2
        assert seconds < HANG_S
        assert memory_mb(pid) > memory_mb(family[1]) > 0
        until(lambda: cpu_s(pid) > cpu_s(family[1]) > 0.02)
    until(lambda: not any(map(alive, family)))


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_service_that_does_not_start_is_told_of_with_its_log() -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such model')")
    with (
        pytest.raises(SystemExit, match="nobody did not start:\nno such model"),
        service(Contender("nobody", command, free_port())),
    ):
        pass


def test_with_an_instant_classifier_all_but_decoding_and_engine_is_left() -> None:
    ours = tellapart("instant", INT8, module="bench.instant", port=free_port())
    with service(ours), asking(ours.port) as (client, answers):
        for request in (upload(b"no photo"), upload(), get("/classify-url?url=http://127.0.0.1/")):
            client.ask(request, time.perf_counter(), answers.append)
            run(client)
    assert statuses(answers) == [200, 400, 400]


def test_a_full_service_refuses_every_upload() -> None:
    ours = tellapart("full", INT8, module="bench.full", port=free_port())
    with service(ours), asking(ours.port) as (client, answers):
        for _ in range(2):
            client.ask(upload(b"no photo"), time.perf_counter(), answers.append)
            run(client)
        client.ask(get("/livez"), time.perf_counter(), answers.append)
        run(client)
    assert statuses(answers) == [503, 503, 200]
    assert answers[0].retry_after == "1"


def test_a_soak_gets_the_answers_that_it_expects() -> None:
    kinds = soak.kinds()
    assert sum(weight for *_, weight in kinds) == pytest.approx(100)
    acts = [what for what, *_ in kinds if isinstance(what, Act)]
    ours = tellapart("tellapart", INT8, "--threads", "1", "--max-waiting", "20", port=free_port())
    with service(ours) as (pid, _):
        found = soak.leg(ours.port, pid, iter(kinds), HANG_S)
        assert found.answers == {AS_EXPECTED: len(kinds)}
        assert found.hostile == len(acts)
        assert len(found.health_s) == len(found.memory_mb) > 0
        assert min(found.memory_mb) > 50
        held = soak.look(pid)
        assert held["memory_mb"] > 50
        assert held["threads"] > 1
        assert held["descriptors"] > 3
        assert room(ours.port) == (2, 20)
        loops, figures = sizing.one_round(ours.port, 2, 20, [upload(photos()[0])], 0.3, 1)
    assert loops.keys() == {1, 2 + sizing.SPARE_CLIENTS}
    assert figures["loops"]["1"]["infer_ms"] > 1
    assert figures["held"].keys() == {"50 %", "70 %", "80 %"}
    assert all(each["ratio"] > 0 for each in figures["held"].values())


def test_the_f32_bundle_is_whole_and_agrees(tmp_path: Path) -> None:
    made = f32_bundle(tmp_path)
    ours, shipped = (load_classifier(folder, "openvino", 1) for folder in (made, INT8))
    assert ours.bundle.precision == "f32"
    assert {tensor.dtype for tensor in ours.bundle.weights().values()} == {np.dtype(np.float32)}
    for golden in ours.bundle.golden:
        f32, int8 = (dict(each.classify(golden.path.read_bytes()).predictions) for each in (ours, shipped))
        assert all(abs(f32[name] - int8[name]) < 0.05 for name in f32)


def test_one_round_measures_everything_of_a_service() -> None:
    ours = tellapart("instant", INT8, *ROOM, module="bench.instant", port=free_port())
    found = one_round(ours, [upload(b"x")], 0.2, 1)
    assert found["closed"].keys() == {"1", "8", "32", "128"}
    assert found["open"].keys() == set(OPEN)
    assert found["peak_rate"] == max(bout["rate"] for bout in found["closed"].values()) > 0
    assert found["first_answer_s"] > found["ready_s"] > 0
    assert found["idle_mb"] > 50
    assert all(bout["failed"] == 0 and min(bout["health_ms"]) > 0 for bout in found["closed"].values())


def test_the_plans_that_are_compared_hold_the_rules_own() -> None:
    for cores, shapes in plans.TRIED.items():
        assert (cores, 1, Plan(cores).workers) in shapes


def test_an_engine_of_another_shape_gives_the_same_answers() -> None:
    bundle = read_bundle(INT8)
    pixels = np.zeros((1, 224, 224, 3), np.uint8)
    found = [plans.Shaped(bundle.graph, streams, threads).infer(pixels).logits for streams, threads in ((1, 1), (1, 2))]
    np.testing.assert_array_equal(*found)
