"""More than the service can do, for seconds: what must hold on any machine. The figures are bench.overload's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.load import closed, offered, one, upload
from tests.drawings import KINDS, bear, jpeg
from tests.live import Live, live_service
from tests.wire import TEDDY, post

FLOOD_S = 2.0
PEAK_S, CALM_S = 1.0, 0.3
REQUESTS = [upload(jpeg(bear(kind, seed))) for kind in KINDS for seed in range(4)]


@pytest.fixture(scope="module")
def service() -> Iterator[Live]:
    with live_service() as live:
        yield live
        assert "Traceback" not in live.log.read_text()


@pytest.mark.parametrize("times", [3, 10])
def test_a_flood_gets_answers_or_503_and_then_all_is_as_before(service: Live, times: int) -> None:
    load = closed(service.port, REQUESTS, 8, PEAK_S, "/livez")
    flooded = offered(service.port, REQUESTS, times * load.rate, FLOOD_S, "/livez")
    assert flooded.statuses.keys() == {200, 503}, flooded.statuses
    assert flooded.statuses[200] > load.rate * FLOOD_S / 10, "those who were let in are answered meanwhile"
    refused = [answer for answer in flooded.answers if answer.status == 503]
    assert all(int(answer.retry_after) >= 1 for answer in refused)
    assert {answer.status for answer in flooded.health} == {200}, "the probe is answered throughout"
    assert one(service.port, REQUESTS[0]).status == 200
    assert post(service, TEDDY).json()["verdict"] == "teddys"
    calm = closed(service.port, REQUESTS, 2, CALM_S, "/livez")
    assert calm.statuses.keys() == {200}, "nobody is refused once it is over"
