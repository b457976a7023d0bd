"""What /metrics says, read as Prometheus reads it, after requests of every kind."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from starlette.testclient import TestClient

from app.admission import Wanted
from app.classifier import Classifier
from app.errors import CODES, Refusal
from app.main import create_app
from app.settings import ROOT, Settings
from tests.drawings import bear, jpeg
from tests.test_http import URL, FakeFetcher, running, upload
from tests.wire import TEDDY

# As Prometheus 3 sends it.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
DOCS = (ROOT / "docs" / "operate.md").read_text()

Series = Counter[str]


def series(client: TestClient) -> Series:
    """Every series and its value, such as {'tellapart_requests_total{method="GET",…}': 1.0}."""
    found: Series = Counter()
    for family in read_text(client.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def ours(found: Series) -> Series:
    """Counts alone: of requests, refusals, answers and measurements, without those of reading the metrics."""
    kept = re.compile(r"tellapart_\w+(_total|_count)\b(?!.*/(metrics|readyz))")
    return Counter({name: value for name, value in found.items() if kept.match(name) and value})


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running() as client:
        yield client


def test_each_request_refusal_and_photo_is_counted(client: TestClient) -> None:
    before = ours(series(client))
    upload(client, TEDDY)
    upload(client, TEDDY, b"text", TEDDY, TEDDY[:2000])
    upload(client, b"text")
    client.get("/classify-url", params={"url": URL})
    client.get("/classify-url", params={"url": "http://127.0.0.1/"})
    client.get("/classify-url")
    client.get("/nothing")
    client.delete("/upload")
    assert ours(series(client)) - before == {
        'tellapart_requests_total{method="POST",route="/upload",status="200"}': 2,
        'tellapart_requests_total{method="POST",route="/upload",status="415"}': 1,
        'tellapart_requests_total{method="DELETE",route="/upload",status="405"}': 1,
        'tellapart_requests_total{method="GET",route="/classify-url",status="200"}': 1,
        'tellapart_requests_total{method="GET",route="/classify-url",status="400"}': 2,
        'tellapart_requests_total{method="GET",route="unmatched",status="404"}': 1,
        'tellapart_refusals_total{code="not_an_image",route="/upload"}': 2,
        'tellapart_refusals_total{code="broken_image",route="/upload"}': 1,
        'tellapart_refusals_total{code="method_not_allowed",route="/upload"}': 1,
        'tellapart_refusals_total{code="blocked_url",route="/classify-url"}': 1,
        'tellapart_refusals_total{code="bad_url",route="/classify-url"}': 1,
        'tellapart_refusals_total{code="not_found",route="unmatched"}': 1,
        'tellapart_answers_total{class="teddys",verdict="teddys"}': 4,
        'tellapart_request_seconds_count{route="/upload"}': 4,
        'tellapart_request_seconds_count{route="/classify-url"}': 3,
        'tellapart_request_seconds_count{route="unmatched"}': 1,
        "tellapart_fetch_seconds_count": 2,
        "tellapart_wait_seconds_count": 4,
        "tellapart_decode_seconds_count": 4,
        "tellapart_infer_seconds_count": 4,
    }


def test_seconds_are_seconds(client: TestClient) -> None:
    before = series(client)
    started = time.perf_counter()
    upload(client, TEDDY)
    took = time.perf_counter() - started
    added = series(client) - before
    steps = added["tellapart_decode_seconds_sum"] + added["tellapart_infer_seconds_sum"]
    assert 0.001 < steps < added['tellapart_request_seconds_sum{route="/upload"}'] < took


def test_a_fetch_that_fails_is_measured_too() -> None:
    slow = FakeFetcher({URL: Refusal("fetch_slow", "The photo did not arrive.")})
    with TestClient(create_app(Settings(), fetcher=slow)) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.02)
        client.get("/classify-url", params={"url": URL})
        found = series(client)
    assert found["tellapart_fetch_seconds_count"] == 1
    assert found["tellapart_decode_seconds_count"] == 0
    assert found['tellapart_refusals_total{code="fetch_slow",route="/classify-url"}'] == 1


def test_a_stranger_can_make_no_series(client: TestClient) -> None:
    """1,000 paths, hosts, queries, headers and methods make no more of them than the first of each kind."""
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER")

    def ask(number: int, method: str) -> None:
        path = ("/{}", "/static/{}", "/upload/{}%0a", "/?{}", "/readyz{}")[number % 5].format(number)
        headers = {"Host": f"{number}.test", "X-Request-ID": str(number), "User-Agent": str(number)}
        client.request(method, path, headers=headers)

    for number in range(5):
        for method in methods:
            ask(number, method)
    series(client)  # which makes those of /metrics
    before = set(series(client))
    for number in range(1000):
        ask(number, methods[number % 7] if number % 2 else f"M{number}")
    assert set(series(client)) == before


def test_the_line_is_read_when_the_metrics_are(monkeypatch: pytest.MonkeyPatch) -> None:
    go, begun = threading.Event(), threading.Event()
    with running(threads=1, max_waiting=5) as client:
        classifier = client.app.state.service.classifier  # type: ignore[attr-defined]
        real = classifier.classify

        def classify(data: bytes, wanted: Wanted) -> object:
            begun.set()
            assert go.wait(30)
            return real(data, wanted)

        monkeypatch.setattr(classifier, "classify", classify)
        uploads = [threading.Thread(target=upload, args=(client, TEDDY)) for _ in range(4)]
        for thread in uploads:
            thread.start()
        assert begun.wait(30)
        found = series(client)
        deadline = time.monotonic() + 30
        while found["tellapart_waiting"] < 2 and time.monotonic() < deadline:
            found = series(client)
        go.set()
        for thread in uploads:
            thread.join()
        gauges = ("running", "running_max", "waiting", "waiting_max")
        assert [found[f"tellapart_{name}"] for name in gauges] == [2, 2, 2, 5]
        after = series(client)
        assert [after[f"tellapart_{name}"] for name in gauges] == [0, 2, 0, 5]
        assert after["tellapart_wait_seconds_count"] == 4


def bundle_info(client: TestClient) -> list[str]:
    return [name for name in series(client) if name.startswith("tellapart_bundle")]


def test_the_bundle_at_work_is_told_and_no_other() -> None:
    with running() as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        now = service.classifier
        labels = f'engine="openvino",name="bears",precision="{now.bundle.precision}",version="{now.bundle.version}"'
        assert bundle_info(client) == [f"tellapart_bundle_info{{{labels}}}"]
        other = replace(now.bundle, name='a "b"\n', version="0123456789ab")
        service._reloader.at_work = Classifier(other, now.engine, now.max_pixels)
        (told,) = bundle_info(client)
        assert 'version="0123456789ab"' in told
        assert 'name="a "b"\n"' in told
        service._reloader.at_work = None
        assert bundle_info(client) == []
        service._reloader.at_work = now


def test_two_services_in_a_process_count_apart() -> None:
    with running() as one, running() as other:
        upload(one, TEDDY)
        answers = 'tellapart_answers_total{class="teddys",verdict="teddys"}'
        assert (series(one)[answers], series(other)[answers]) == (1, 0)


@pytest.mark.parametrize("route", ["/upload", "/classify-url", "/metrics"])
def test_refusals_without_the_key_are_counted_by_route(route: str) -> None:
    with running(api_key="s3cret") as client:
        client.get(route)
        client.headers["Authorization"] = "Bearer s3cret"
        found = series(client)
    assert found[f'tellapart_refusals_total{{code="unauthorized",route="{route}"}}'] == 1
    assert found[f'tellapart_requests_total{{method="GET",route="{route}",status="401"}}'] == 1


def test_both_formats(client: TestClient) -> None:
    plain = client.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    asked = client.get("/metrics", headers={"Accept": PROMETHEUS})
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    names = {family.name for family in read_text(plain.text)}
    assert {f.name for f in read_openmetrics(asked.text)} == {n.replace("bundle_info", "bundle") for n in names}


@pytest.mark.parametrize("version", ["abc", "1.0.0x", "9.9.9", "", "1" * 5000, "1.0.0 x", "1.0.0\x7f", '"1.0.0"'])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_an_odd_accept_header_gets_the_plain_text(client: TestClient, kind: str, version: str) -> None:
    response = client.get("/metrics", headers={"Accept": f"{kind};version={version}"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_names_and_help_texts_are_as_prometheus_wants_them(client: TestClient) -> None:
    upload(client, TEDDY)
    for family in read_text(client.get("/metrics").text):
        assert family.documentation.endswith(".")
        assert re.fullmatch(r"(tellapart|process)_[a-z_]+", family.name)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


def test_memory_processor_and_descriptors_of_the_process(client: TestClient) -> None:
    found = series(client)
    assert found["process_resident_memory_bytes"] > 50e6
    assert found["process_cpu_seconds_total"] > 0
    assert 0 < found["process_open_fds"] < found["process_max_fds"]


def test_the_documentation_names_every_metric_and_no_other(tmp_path: Path) -> None:
    with running(feedback_dir=tmp_path) as client:
        for _ in range(2):  # as many as gauges of the classes want
            upload(client, *[jpeg(bear("black", 0))] * 50, b"text")
        client.post("/feedback", files={"file": TEDDY}, data={"label": "teddys"})
        client.get("/classify-url", params={"url": URL})
        families = {family.name: family for family in read_text(client.get("/metrics").text)}
    samples = {sample.name for family in families.values() for sample in family.samples}
    documented = set(re.findall(r"\b(?:tellapart|process)_[a-z_]+\b", DOCS))
    assert documented <= samples | families.keys()
    missing = {name for name in families if name not in documented and f"{name}_total" not in documented}
    assert missing <= {"process_virtual_memory_bytes", "process_start_time_seconds"}


def test_alerts_have_names_of_their_own_and_sides_that_can_match() -> None:
    rules = DOCS.split("- alert: ")[1:]
    names = [rule.split()[0] for rule in rules]
    assert len(set(names)) == len(names) > 5
    own = [rule for rule in rules if re.search(r"(verdict|quantile)=", rule) and " and " in rule]
    assert len(own) == 2
    for rule in own:  # a label that the other side lacks would keep the two from ever matching
        assert re.search(r"\band\b(?! on \(instance\))", rule.split("expr:")[1]) is None


def test_every_error_code_in_the_documentation_is_one() -> None:
    assert set(re.findall(r'code="(\w+)"', DOCS)) <= CODES.keys()
