"""What the benchmarks compute of what they measured, and how it is shown."""

from __future__ import annotations

import email
import json
import math
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.settings import ROOT
from bench import plots
from bench.client import Answer
from bench.limit import beside_refusals, limit
from bench.load import Load, arrivals, evenly, percentile, upload
from bench.report import markdown
from bench.results import RESULTS, medians, rounded, store
from bench.served import OPEN


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
    assert rounded([math.nan]) == [None]
    path = tmp_path / "bench.json"
    store(path, soak={"requests": 1})
    store(path, start={"again_s": 1.23456})
    found = json.loads(path.read_text())
    assert (found["start"], found["soak"]) == ({"again_s": 1.235}, {"requests": 1})
    assert found["measured"].keys() == {"start", "soak"}
    assert "openvino" in found["measured"]["soak"]["versions"]


def test_the_tables_in_the_docs_are_those_of_the_results() -> None:
    written = (ROOT / "docs" / "bench.md").read_text()
    for line in markdown(json.loads(RESULTS.read_text())):
        assert line in written, line


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


BOUT = {"rate": 80.0, "p50_ms": 22.5, "p99_ms": 90.0, "failed": 1, "cpu_ms": 21.0, "client_cpu_ms": 0.15}
BOUT |= {"health_ms": {"p50": 1.0, "p99": 4.0, "max": 1234.5}}
SLOW = {**BOUT, "rate": 20.0, "p99_ms": None}


def serving(bout: dict[str, Any]) -> dict[str, Any]:
    start = {"ready_s": 0.8, "first_answer_s": 0.85, "idle_mb": 150.0, "loaded_mb": 190.0, "peak_rate": bout["rate"]}
    return {**start, "closed": dict.fromkeys(("1", "8", "32"), bout), "open": dict.fromkeys(OPEN, bout)}


GROWN = {"loaded_mb_grown": 2.5, "descriptors_grown": 0, "threads_grown": 0}
GROWN |= {"seconds": 90.0, "hostile": 1, "health_p99_ms": 3.0, "health_max_ms": 9.0}
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
    assert "| memory under load grown by, MB | 2.5 | ≤ 10 |" in lines
    assert any("10 requests in 1.5 minutes, 1 of them hostile" in line for line in lines)
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
