from __future__ import annotations

import time

import pytest

from training.parallel import each


def test_results_come_in_order_and_progress_after_each() -> None:
    ticks: list[int] = []
    assert each(lambda number: number * number, range(50), lambda: ticks.append(1)) == [n * n for n in range(50)]
    assert len(ticks) == 50


def test_what_was_not_begun_when_it_is_interrupted_is_never_done() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.01)
        done.append(number)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each(work, range(1000), interrupted)
    assert len(done) < 500
