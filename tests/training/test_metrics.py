import pytest

from training.metrics import wilson


@pytest.mark.parametrize(
    ("events", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (4, 82, 0.0191, 0.1188)],
)
def test_wilson_interval(events: int, trials: int, low: float, high: float) -> None:
    assert wilson(events, trials) == pytest.approx((low, high), abs=1e-4)
