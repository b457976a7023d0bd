"""Half a minute of what `python -m bench.soak` does in a quarter of an hour: a busy service, 5 % of it hostile.

That shows what breaks, hangs or leaks with every request. What leaks a byte now and then takes the long run.
"""

from __future__ import annotations

from bench.hostile import AS_EXPECTED, Act, acts, play
from bench.soak import soak
from tests.live import free_port, live_service
from tests.wire import TEDDY, get, post

LEGS_S = (4.0, 13.0, 13.0)  # growth counts from the second; slow acts begin only where there are 10 s left
MOST_MB = 10
FEWEST = 200  # requests, on the slowest machine


def test_half_a_minute() -> None:
    with live_service() as live:
        found = soak(live.port, live.process.pid, LEGS_S)
        assert set(found["answers"]) == {AS_EXPECTED}, found["answers"]
        assert found["requests"] > FEWEST
        assert 0.01 < found["hostile"] / found["requests"] < 0.1
        assert found["loaded_mb_grown"] <= MOST_MB, found["after_each"]
        assert found["threads_grown"] == 0, found["after_each"]
        assert found["descriptors_grown"] == 0, found["after_each"]
        assert live.process.poll() is None
        assert post(live, TEDDY).json()["verdict"] == "teddys"
        assert get(live, "/readyz").status_code == 200
        assert "Traceback" not in live.log.read_text()


def test_what_comes_of_an_act_is_told() -> None:
    """Else a soak would find nothing wrong, ever."""
    with live_service() as live:
        honest = Act("honest", next(act.pieces for act in acts(TEDDY) if act.name == "leaves before the answer"))
        assert play(live.port, honest) == "honest: 200"
        assert play(live.port, Act("probe", (b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",), (200,))) == AS_EXPECTED
        assert play(live.port, Act("no HTTP", (b"\0\r\n\r\n",), (200,))).startswith("no HTTP: ")
    assert play(free_port(), Act("nobody there", (), (200,))) == "nobody there: 0"
