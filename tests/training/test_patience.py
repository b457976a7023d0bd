"""How long a site is waited for."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from app.errors import OriginRefusal
from training.patience import Pace, retry_after_s


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("7", 7, 7), ("", 0, 0), ("soon", 0, 0), ("-5", 0, 0), ("²", 0, 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0)],
)
def test_retry_after_in_seconds(text, low, high):
    assert low <= retry_after_s(OriginRefusal(503, text)) <= high


def test_retry_after_as_a_date():
    assert 15 < retry_after_s(OriginRefusal(503, formatdate(time.time() + 20, usegmt=True))) <= 20


def test_back_off_doubles_and_varies():
    waits = [[Pace().wait_s(tries) for _ in range(50)] for tries in (1, 2)]
    assert 0.25 <= min(waits[0]) < max(waits[0]) <= 0.75
    assert 0.5 <= min(waits[1]) < max(waits[1]) <= 1.5
