"""JSON from strangers: what it may hold, and that others get their turn while it is read."""

from __future__ import annotations

import threading
import time

import pytest

from app.strict_json import MOST_DIGITS, loads

NUMBERS = b"[" + b",".join([b"200"] * 1_000_000) + b"]"


def test_json_is_read_as_it_stands() -> None:
    assert loads(b'{"a": [1, -2.5, true, null, "\\u00e4"]}', 10) == {"a": [1, -2.5, True, None, "ä"]}


@pytest.mark.parametrize("data", [b"[1,2,3]", b'{"a":[],"b":0}'])
def test_parts_are_counted_before_it_is_read(data: bytes) -> None:
    assert loads(data, 3)
    with pytest.raises(ValueError, match="not JSON of at most 2 parts"):
        loads(data, 2)


def test_a_number_has_so_many_digits_at_most() -> None:
    assert loads(b"[" + b"7" * MOST_DIGITS + b"]", 10) == [int("7" * MOST_DIGITS)]
    assert loads(b"0." + b"7" * (MOST_DIGITS - 2), 10) == pytest.approx(7 / 9)
    for number in (b"7" * (MOST_DIGITS + 1), b"0." + b"7" * MOST_DIGITS, b"7" * 10_000_000):
        with pytest.raises(ValueError, match="a number of more than 4,000 digits"):
            loads(b"[" + number + b"]", 10)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"forged", b"[forged]", b'{"forged": 1, "forged": 2}', b"[NaN]", b"[-Infinity]", b'"\xff"', b'"\\xforged"',
        b"[" * 100_000, b'{"a":' * 100_000, b"[1] forged",
    ],
)  # fmt: skip
def test_what_is_none_is_refused_in_words_of_ours(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not JSON: ") as caught:
        loads(data, 1_000_000)
    assert "forged" not in str(caught.value)


def test_another_thread_gets_its_turn_while_numbers_are_read() -> None:
    turns = []
    reading = threading.Thread(target=loads, args=(NUMBERS, 1_000_000))
    reading.start()
    while reading.is_alive():
        turns.append(time.perf_counter())
        time.sleep(0.001)
    reading.join()
    assert len(turns) > 5  # with Python's own functions for numbers: 1 or 2
