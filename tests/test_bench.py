"""The benchmarks' own parts: what they compute, and whether the load generator sees what a real server does."""

from __future__ import annotations

import email
import json
import math
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.bundle import read_bundle
from app.classifier import load_classifier
from app.cpu import Plan
from bench import plans, plots, soak
from bench.bundles import INT8, f32_bundle
from bench.client import FAILED, NOT_SENT, Answer, Client
from bench.limit import beside_refusals, limit
from bench.load import Load, arrivals, closed, evenly, get, offered, percentile, upload
from bench.overload import burst, room
from bench.report import markdown
from bench.results import medians, rounded, store
from bench.served import OPEN, ROOM, one_round, tellapart
from bench.service import Contender, cpu_s, descendants, memory_mb, service
from tests.live import free_port
from tests.wire import until

HANG_S = 30.0


class Handler(BaseHTTPRequestHandler):
    """Answers by path and by what the body holds."""

    protocol_version = "HTTP/1.1"
    server: Small

    def do_GET(self) -> None:
        self.give(200)

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.peers[self.client_address[1]] += 1
        length = int(self.headers["Content-Length"])
        if length > 1_000_000:  # refused before it is read: whoever sends it all first waits for ever
            self.give(503, {"Retry-After": "7"})
            assert self.server.go_on.wait(HANG_S)
            self.rfile.read(length)
            self.server.read.set()
            return
        body = self.rfile.read(length)
        if b"hang up" in body:
            self.close_connection = True
        elif b"in pieces" in body:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-")
            time.sleep(0.05)
            self.wfile.write(b"Length: 4\r\n\r\nab")
            time.sleep(0.05)
            self.wfile.write(b"cd")
        elif b"chunked" in body:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            time.sleep(0.05)
            self.wfile.write(b"0\r\n\r\n")
        elif b"close" in body:
            self.give(200, {"Connection": "close"})
        elif b"wait" in body:
            assert self.server.go_on.wait(HANG_S)
            self.give(200)
        else:
            self.give(self.server.first.pop() if self.server.first else 200, {"Retry-After": "1"})

    def give(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": "2"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Small(ThreadingHTTPServer):
    """A server on loopback; those that wait do so until `go_on`, and `read` tells that a refused body was read."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.lock = threading.Lock()
        self.go_on, self.read = threading.Event(), threading.Event()
        self.first: list[int] = []  # statuses of the first uploads, the last one first
        self.peers: Counter[int] = Counter()  # uploads by connection


@pytest.fixture
def small() -> Iterator[Small]:
    with Small() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@contextmanager
def asking(port: int, most: int = 100) -> Iterator[tuple[Client, list[Answer]]]:
    answers: list[Answer] = []
    with Client(port, most) as client:
        yield client, answers


def run(client: Client, seconds: float = HANG_S) -> None:
    client.run(time.perf_counter() + seconds)


def statuses(answers: list[Answer]) -> list[int]:
    return [answer.status for answer in answers]


# --- what is computed ---


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 2), (51, 3), (75, 3), (76, 4), (99, 4), (100, 4)]
)
def test_percentiles_are_by_nearest_rank(percent: float, expected: int) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 50))


def test_even_arrivals_are_as_many_and_as_far_from_each_other() -> None:
    assert list(evenly(4, 1.5)) == [0, 0.25, 0.5, 0.75, 1, 1.25]


def test_arrivals_are_poisson_and_the_same_every_time() -> None:
    found = list(arrivals(50, 400))
    assert found == list(arrivals(50, 400))
    assert found != list(arrivals(50, 400, seed=1))
    assert found == sorted(found)
    assert 0 < found[0] <= found[-1] < 400
    gaps = np.array([after - before for before, after in pairwise(found)])
    assert abs(len(found) - 20_000) < 4 * math.sqrt(20_000)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # which a regular beat, say, would not have
    assert (gaps > 1 / 50).mean() == pytest.approx(math.exp(-1), abs=0.02)


def test_rate_counts_what_was_answered_while_load_was_offered() -> None:
    came = [(200, 9.9), (200, 10.0), (200, 11.9), (503, 11.0), (200, 12.0), (200, 15.0)]
    load = Load(2, 10.0, [Answer(status, at, at, "") for status, at in came])
    assert load.rate == 1.0
    assert load.statuses == {200: 5, 503: 1}
    assert (load.ms(0), load.ms(100), load.ms(50, 503)) == (10_000, 15_000, 11_000)


def test_limits() -> None:
    assert limit(2, 17, 2, 1) == 100
    assert beside_refusals(2, 0.4, 0.1, 15) == 100


def test_medians_keep_the_shape_add_up_failures_and_pass_over_what_was_not_measured() -> None:
    rounds = [{"a": {"p": 1.0, "failed": 1}, "n": math.nan}, {"a": {"p": 9.0, "failed": 0}, "n": math.nan}]
    rounds.append({"a": {"p": 2.0, "failed": 3}, "n": math.nan})
    assert medians(rounds) == {"a": {"p": 2.0, "failed": 4}, "n": None}


def test_results_are_rounded_and_kept_side_by_side(tmp_path: Path) -> None:
    assert rounded({"a": [123456.0, 0.0123456], "b": 123456}) == {"a": [123500.0, 0.01235], "b": 123456}
    path = tmp_path / "bench.json"
    store(path, soak={"requests": 1})
    store(path, start={"again_s": 1.23456})
    found = path.read_text()
    assert '"again_s": 1.235' in found
    assert '"requests": 1' in found
    assert '"openvino": ' in found


def test_an_upload_is_a_form_with_the_photos_and_the_length_it_says() -> None:
    head, _, body = upload(b"one\r\n", b"two").partition(b"\r\n\r\n")
    line, _, headers = head.partition(b"\r\n")
    assert line == b"POST /upload HTTP/1.1"
    form = email.message_from_bytes(headers + b"\r\n\r\n" + body)
    assert int(form["Content-Length"]) == len(body)
    parts = form.get_payload()
    assert [part.get_param("name", header="Content-Disposition") for part in parts] == ["file", "file"]
    assert body.count(b"\r\n\r\none\r\n\r\n--b") == 1
    assert body.endswith(b"\r\n\r\ntwo\r\n--b--\r\n")


# --- the load generator against a real server ---


def test_answers_are_counted_as_they_are(small: Small) -> None:
    small.first = [418, 500, 503, 200]
    with asking(small.port) as (client, answers):
        for body in (b"", b"", b"", b"", b"in pieces", b"chunked", b"close", b"hang up", b""):
            client.ask(upload(body), time.perf_counter(), answers.append)
            run(client)
    assert statuses(answers) == [200, 503, 500, 418, 200, 200, 200, FAILED, 200]
    assert answers[1].retry_after == "1"
    assert sorted(small.peers.values()) == [1, 1, 7]  # one connection, until it is closed


def test_an_early_refusal_counts_when_it_comes_and_the_connection_is_used_again(small: Small) -> None:
    with asking(small.port) as (client, answers):

        def done(answer: Answer) -> None:
            answers.append(answer)
            small.go_on.set()  # only now the server reads on

        client.ask(upload(bytes(30_000_000)), time.perf_counter(), done)
        run(client)
        assert [(answer.status, answer.retry_after) for answer in answers] == [(503, "7")]

        def again(due: float) -> None:
            if small.read.is_set():
                client.ask(upload(b""), due, answers.append)
            else:
                client.at(due + 0.01, again)

        again(time.perf_counter())
        run(client)
    assert statuses(answers) == [503, 200]
    assert list(small.peers.values()) == [2]


def test_latency_counts_from_when_a_request_was_due(small: Small) -> None:
    with asking(small.port) as (client, answers):
        client.at(time.perf_counter() - 100, lambda due: client.ask(upload(b""), due, answers.append))
        run(client)
    assert 100 <= answers[0].seconds < 100 + HANG_S


def test_a_request_waits_for_no_other(small: Small) -> None:
    with asking(small.port) as (client, answers):
        client.ask(upload(b"wait"), time.perf_counter(), answers.append)
        client.ask(upload(b""), time.perf_counter(), lambda answer: (answers.append(answer), small.go_on.set()))
        run(client)
    assert statuses(answers) == [200, 200]
    assert answers[0].seconds < answers[1].seconds
    assert len(small.peers) == 2


def test_connections_are_bounded_and_what_was_not_sent_is_told(small: Small) -> None:
    with asking(small.port, most=2) as (client, answers):
        for _ in range(3):
            client.ask(upload(b"wait"), time.perf_counter(), answers.append)
        assert statuses(answers) == [NOT_SENT]
        small.go_on.set()
        run(client)
    assert statuses(answers) == [NOT_SENT, 200, 200]


def test_what_is_never_answered_has_failed(small: Small) -> None:
    with asking(small.port) as (client, answers):
        client.ask(upload(b"wait"), time.perf_counter(), answers.append)
        run(client, 0.2)
    with asking(free_port()) as (client, _):
        client.ask(upload(b""), time.perf_counter(), answers.append)
        run(client)
    assert statuses(answers) == [FAILED, FAILED]


def test_a_closed_loop_keeps_as_many_under_way_as_it_has_clients(small: Small) -> None:
    load = closed(small.port, [upload(b""), upload(b"x")], 3, 0.3, "/livez")
    assert load.statuses.keys() == {200}
    assert len(small.peers) == 3
    assert len(load.answers) == sum(small.peers.values()) > 3
    assert statuses(load.health) == [200] * 6
    assert load.cpu_s > 0


def test_an_open_loop_sends_all_that_is_due(small: Small) -> None:
    load = offered(small.port, [upload(b"")], 100, 0.5, "/livez")
    assert len(load.answers) == len(list(arrivals(100, 0.5)))
    assert load.statuses.keys() == {200}
    assert len(load.health) == 10


def test_a_burst_comes_back_when_it_was_told_to(small: Small) -> None:
    small.first = [503] * 3
    started = time.perf_counter()
    found = burst(small.port, [upload(b"")], 5)
    assert time.perf_counter() - started >= 1
    assert found.pop("health_max_ms") > 0
    assert found == {
        "clients": 5,
        "at_once": 2,
        "refused": 3,
        "in_at_first_retry": 1.0,
        "longest_retry_after_s": 1,
        "other_errors": 0,
    }


# --- services ---

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
    assert sum(weight for *_, weight in kinds) == 100
    ours = tellapart("tellapart", INT8, "--threads", "1", "--max-waiting", "20", port=free_port())
    with service(ours) as (pid, _):
        assert soak.leg(ours.port, iter(kinds)) == {"as expected": len(kinds)}
        held = soak.look(pid)
        assert held["memory_mb"] > 50
        assert held["threads"] > 1
        assert held["descriptors"] > 3
        assert room(ours.port) == 21


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
    found = one_round(ours, [upload(b"x")], 0.2)
    assert found["closed"].keys() == {"1", "8", "32", "128"}
    assert found["open"].keys() == set(OPEN)
    assert found["peak_rate"] == max(bout["rate"] for bout in found["closed"].values()) > 0
    assert found["first_answer_s"] > found["ready_s"] > 0
    assert found["idle_mb"] > 50
    assert all(bout["failed"] == 0 and bout["health_p99_ms"] > 0 for bout in found["closed"].values())


def test_the_plans_that_are_compared_hold_the_rules_own() -> None:
    for cores, shapes in plans.TRIED.items():
        assert (cores, 1, Plan(cores).workers) in shapes


def test_an_engine_of_another_shape_gives_the_same_answers() -> None:
    bundle = read_bundle(INT8)
    pixels = np.zeros((1, 224, 224, 3), np.uint8)
    found = [plans.Shaped(bundle.graph, streams, threads).infer(pixels).logits for streams, threads in ((1, 1), (1, 2))]
    np.testing.assert_array_equal(*found)


# --- the report ---

BOUT = {"rate": 80.0, "p50_ms": 22.5, "p99_ms": 90.0, "failed": 1, "cpu_ms": 21.0, "client_cpu_ms": 0.15}
BOUT |= {"health_p50_ms": 1.0, "health_p99_ms": 4.0, "health_max_ms": 1234.5}
SLOW = {**BOUT, "rate": 20.0, "p99_ms": None}


def serving(bout: dict[str, Any]) -> dict[str, Any]:
    start = {"ready_s": 0.8, "first_answer_s": 0.85, "idle_mb": 150.0, "loaded_mb": 190.0, "peak_rate": bout["rate"]}
    return {**start, "closed": dict.fromkeys(("1", "8", "32"), bout), "open": dict.fromkeys(OPEN, bout)}


GROWN = {"memory_mb_grown": 2.5, "descriptors_grown": 0, "threads_grown": 0}
SERVED = {"tellapart, int8": serving(BOUT), "plain": serving(SLOW)}


def test_the_report_shows_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    store(path, served=SERVED, soak={"requests": 10, "answers": {"as expected": 9, "500 instead of 200": 1}, **GROWN})
    lines = list(markdown(json.loads(path.read_text())))
    assert "| plain | 20 | 22.5 / – | 20 | 22.5 / – | 20 | 22.5 / – | 7 |" in lines
    assert "| tellapart, int8 | 80 | 22.5 / 90 | 22.5 / 90 | 22.5 / 90 | 22.5 / 90 | 4 | 4 |" in lines
    assert "| tellapart, int8 |" + " 4 / 1,234 |" * 7 in lines
    assert "| plain | 4 | – | 4 | – |" in lines  # our rate and p99 in times of its own
    assert "| answers other than they must be | 1 | 0 |" in lines
    assert "| memory grown by, MB | 2.5 | ≤ 10 |" in lines
    assert not any("fresh clone" in line for line in lines)


def test_plots_are_svg_and_the_same_every_time(tmp_path: Path) -> None:
    drawn = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        plots.draw(SERVED, folder)
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert drawn[0] == drawn[1]
    assert drawn[0].keys() == {plots.RATE, plots.LATENCY}
    for content in drawn[0].values():
        words = {element.text for element in ET.fromstring(content).iter("{http://www.w3.org/2000/svg}text")}
        assert {"tellapart, int8", "plain"} <= words
