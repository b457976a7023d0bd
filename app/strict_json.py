"""JSON from strangers: bounded before it is parsed, strict, and parsed so that other threads get their turn."""

from __future__ import annotations

import json
from typing import Any

MOST_DIGITS = 4_000  # of a number; of many more, one alone would hold all other threads


def loads(data: bytes, most_parts: int) -> Any:
    """JSON of at most so many lists, objects and commas; no key twice, no NaN, no endless number.

    Raises ValueError, which quotes nothing of the JSON.
    """
    if sum(data.count(mark) for mark in (b"[", b"{", b",")) > most_parts:
        raise ValueError(f"not JSON of at most {most_parts:,} parts")
    try:
        # the functions for numbers are Python's own code, between whose lines another thread may run: the parser, which
        # is C, lets none
        return json.loads(
            data,
            parse_int=lambda text: int(_bounded(text)),
            parse_float=lambda text: float(_bounded(text)),
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_twins,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error


def _bounded(text: str) -> str:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"it has a number of more than {MOST_DIGITS:,} digits")
    return text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a key twice")
    return found
