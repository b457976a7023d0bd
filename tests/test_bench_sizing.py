"""The simulation that sizing plans with, held to what queueing theory knows; and its figures in the docs."""

from __future__ import annotations

import json
import math
import random
from statistics import fmean

import pytest

from app.settings import ROOT
from bench.client import Answer
from bench.load import SEED, Load, arrivals
from bench.queueing import Balancer, Shape, at_random, least_connections, poisson, simulate
from bench.replica import Loop, Profile, figures, highest_share, plan, profile
from bench.report import markdown
from bench.sizing import RESULTS, held, in_steps, loop, middle, planned

REQUESTS = 40_000


def queue(servers: int, places: float) -> Shape:
    """Of a textbook: exponential work with a mean of 1."""
    chance = random.Random(1)
    works = [chance.expovariate(1) for _ in range(REQUESTS)]
    return Shape([1.0] * servers, [works] * servers, places)


def sojourns(shape: Shape, rate: float, replicas: int = 1, balancer: Balancer = at_random) -> list[float | None]:
    return simulate(shape, replicas, poisson(rate, REQUESTS, random.Random(2)), balancer)


def mean(took: list[float | None]) -> float:
    return fmean(each for each in took if each is not None)


def refused(took: list[float | None]) -> float:
    return took.count(None) / len(took)


def erlang_b(servers: int, load: float) -> float:
    """The share that c servers without a line refuse, at a load of λ/μ."""
    lost = 1.0
    for number in range(1, servers + 1):
        lost = load * lost / (number + load * lost)
    return lost


def erlang_c(servers: int, load: float) -> float:
    """The share that has to wait for one of c servers with an endless line."""
    lost = erlang_b(servers, load)
    return servers * lost / (servers - load * (1 - lost))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.7), (3, 1.5), (3, 2.4)])
def test_times_are_those_of_an_m_m_c_queue(servers: int, load: float) -> None:
    took = sojourns(queue(servers, math.inf), load)
    assert mean(took) == pytest.approx(1 + erlang_c(servers, load) / (servers - load), rel=0.05)
    assert refused(took) == 0


@pytest.mark.parametrize(("servers", "load"), [(1, 1.0), (3, 3.0), (5, 4.0)])
def test_losses_are_those_of_erlang_b(servers: int, load: float) -> None:
    took = sojourns(queue(servers, 0), load)
    assert refused(took) == pytest.approx(erlang_b(servers, load), rel=0.05)
    assert mean(took) == pytest.approx(1, rel=0.05)


def test_losses_of_a_bounded_line_are_those_of_m_m_1_k() -> None:
    rho, room = 0.9, 5
    expected = (1 - rho) * rho**room / (1 - rho ** (room + 1))
    assert refused(sojourns(queue(1, room - 1), rho)) == pytest.approx(expected, rel=0.05)


def test_shared_by_all_it_is_processor_sharing() -> None:
    """Whose mean depends on the mean of the work alone: here it never varies."""
    shape = Shape([1 / number for number in range(1, 100)], [[1.0]] * 99, 0)
    assert mean(sojourns(shape, 0.7)) == pytest.approx(1 / (1 - 0.7), rel=0.05)


def test_a_few_requests_by_hand() -> None:
    """Two at once go at half the speed each; one more may wait, the next is refused."""
    shape = Shape([1.0, 0.5], [[2.0], [2.0]], 1)
    assert simulate(shape, 1, [0.0], at_random) == [2.0]
    assert simulate(shape, 1, [0.0, 1.0], at_random) == [3.0, 3.0]
    assert simulate(shape, 1, [0.0, 1.0, 1.5, 2.0, 3.0], at_random) == [3.0, 4.0, 5.5, None, 5.0]
    other = Shape([1.0, 0.5], [[2.0], [1.0]], 1)  # with less to do beside another
    assert simulate(other, 1, [0.0, 1.0, 1.5], at_random) == [3.0, 2.0, 2.5]


def test_balancers_choose() -> None:
    chance = random.Random(3)
    assert {at_random([5, 0, 0], chance) for _ in range(100)} == {0, 1, 2}
    assert {least_connections([5, 0, 1, 0], chance) for _ in range(100)} == {1, 3}
    shape = queue(1, math.inf)
    by = {each: mean(sojourns(shape, 3.2, replicas=4, balancer=each)) for each in (at_random, least_connections)}
    assert by[at_random] == pytest.approx(5, rel=0.1)  # four M/M/1 queues
    assert erlang_c(4, 3.2) / 0.8 + 1 < by[least_connections] < by[at_random] / 2  # no better than one line for all


def test_a_replica_is_as_fast_as_its_loops_and_varies_as_they_do() -> None:
    loops = {1: Loop(50, [0.01, 0.03]), 2: Loop(80, [0.02]), 8: Loop(90, [0.1, 0.2, 0.3])}
    one = profile(loops, 3, 40)
    assert one.shape.speeds == pytest.approx([1, 0.8, 0.6])
    works = [[0.01, 0.03], [0.02], [0.01, 0.02, 0.03]]
    assert all(found == pytest.approx(expected) for found, expected in zip(one.shape.works, works, strict=True))
    assert (one.peak, one.shape.places) == (90, 40)
    together = [each for each in simulate(one.shape, 1, [0.0] * 43, at_random) if each is not None]
    assert len(together) / max(together) == pytest.approx(90, rel=0.1)
    assert profile(loops, 2, 40).shape.speeds == pytest.approx([1, 90 / 2 / 50])


def test_figures_are_of_those_that_were_answered() -> None:
    assert figures([0.1, None, 0.3, 0.2]) == {"p50_ms": 200, "p99_ms": 300, "refused": 0.25}


WORKS = [each / 100 for each in queue(1, 0).works[0]]
MM1 = Profile(Shape([1.0], [WORKS], math.inf), peak=100)


def test_the_highest_load_is_that_of_the_formula() -> None:
    """An answer of M/M/1 takes exponentially long, so that the p99 is ln 100 ÷ (μ - λ)."""
    assert highest_share(MM1, 100, 20_000) == pytest.approx(1 - math.log(100) / (0.1 * 100), abs=0.06)
    assert highest_share(MM1, 20, 1000) == 0
    with pytest.raises(SystemExit, match="A request by itself takes 10 ms: no plan has a p99 of 20 ms"):
        planned(MM1, 20, 1000)


def test_a_plan_has_one_more_than_it_needs() -> None:
    found = plan(MM1, 250, 0.5, 10_000)
    assert [(each["replicas"], each["share"]) for each in found.values()] == [(6, 250 / 600), (5, 0.5)]
    for state, share in (("all", 250 / 600), ("one gone", 0.5)):
        p99_s = math.log(100) / (100 * (1 - share))
        assert found[state]["at random"]["p99_ms"] == pytest.approx(1000 * p99_s, rel=0.1)
        assert found[state]["least connections"]["p99_ms"] < found[state]["at random"]["p99_ms"]
        assert found[state]["at random"]["refused"] == 0


def bout(seconds: float, *took_s: float, refused: int = 0) -> Load:
    """A bout whose answers waited for 5 ms, were decoded in 2 and inferred in 10."""
    timing = "wait;dur=5.0, decode;dur=2.0, infer;dur=10.0"
    answers = [Answer(200, each, 1.0, "", timing) for each in took_s]
    return Load(seconds, 0.5, [*answers, Answer(200, 9.0, 0.1, "", timing), *[Answer(503, 0.001, 1.0, "1")] * refused])


def test_a_loop_is_told_in_steps() -> None:
    """Of what came while it was measured; the wait in line is no part of the work."""
    load = bout(2, 0.018, 0.022)
    assert loop(load) == Loop(1, pytest.approx([0.013, 0.017]))
    assert in_steps(load) == pytest.approx({"rate": 1, "wait_ms": 5, "decode_ms": 2, "infer_ms": 10, "overhead_ms": 3})


def test_rounds_become_one() -> None:
    rounds = [{1: Loop(rate, [rate])} for rate in (1, 5, 2)]
    assert middle(rounds) == {1: Loop(2, [1, 5, 2])}


def test_a_simulation_is_held_to_what_was_measured() -> None:
    """A service that takes 10 ms, one at a time, and the same arrivals: all that is left is no difference."""
    one = Profile(Shape([1.0], [[0.01]], 2), peak=100)
    took = simulate(one.shape, 1, arrivals(80, 20, SEED), at_random)
    measured = bout(20, *(each for each in took if each is not None), refused=took.count(None))
    measured.answers = [each for each in measured.answers if each.came >= measured.started]
    found = held(one, measured, 80, SEED)
    assert found["measured"] == pytest.approx(found["simulated"])
    assert found["ratio"] == pytest.approx(1)
    assert 0.01 < found["measured"]["refused"] < 0.5


def test_the_tables_in_the_docs_are_those_of_the_results() -> None:
    found = json.loads(RESULTS.read_text())
    written = (ROOT / "docs" / "operate.md").read_text()
    for line in markdown(found):
        assert line in written, line
    assert all(0.8 <= state["ratio"] <= 1.2 for state in found["sizing"]["held"].values())
    within = found["sizing"]["plan"]["p99_ms"]
    for states in found["sizing"]["plan"]["rates"].values():
        assert states["all"]["replicas"] == states["one gone"]["replicas"] + 1
        assert all(state["at random"]["p99_ms"] < 1.1 * within for state in states.values())
