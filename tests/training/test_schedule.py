from itertools import pairwise

import pytest

from training.schedule import group_rates, one_cycle_momentum, one_cycle_rate


@pytest.mark.parametrize(
    ("position", "rate"),
    [(0.0, 1.0), (0.15, 13.0), (0.3, 25.0), (0.65, 12.50005), (1.0, 0.0001)],
)
def test_rate_starts_at_a_25th_peaks_at_30_percent_and_ends_near_zero(position: float, rate: float) -> None:
    assert one_cycle_rate(position, 25.0) == pytest.approx(rate)


@pytest.mark.parametrize(("position", "momentum"), [(0.0, 0.95), (0.15, 0.9), (0.3, 0.85), (0.65, 0.9), (1.0, 0.95)])
def test_momentum_mirrors_the_rate(position: float, momentum: float) -> None:
    assert one_cycle_momentum(position) == pytest.approx(momentum)


def test_rate_rises_then_falls_without_a_jump() -> None:
    rates = [one_cycle_rate(step / 1000, 1.0) for step in range(1001)]
    assert rates[:301] == sorted(rates[:301])
    assert rates[300:] == sorted(rates[300:], reverse=True)
    assert max(abs(after - before) for before, after in pairwise(rates)) < 0.01


def test_group_rates_are_evenly_spaced_on_the_log_scale() -> None:
    assert group_rates(1e-5, 1e-3, 3) == pytest.approx([1e-5, 1e-4, 1e-3])
    assert group_rates(1e-5, 1e-3, 1) == [1e-3]
