"""One thing done for each of many, on every core that may be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.cpu import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Iterable[Item], advance: Callable[[], None]) -> list[Result]:
    """`work` of each item, in their order; `advance` is called after each. Ctrl-C ends it at once.

    In threads: for what lets go of Python's lock, as decoding does.
    """
    results = []
    pool = ThreadPoolExecutor(usable_cores())
    try:
        for result in pool.map(work, items):
            results.append(result)
            advance()
    finally:
        pool.shutdown(cancel_futures=True)
    return results
