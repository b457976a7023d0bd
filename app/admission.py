"""Who runs, who waits, who is refused: a fixed number of worker threads and a bounded line before them."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from app.cpu import step_back
from app.errors import Refusal

T = TypeVar("T")

# How much the newest run counts in the mean run time that Retry-After is computed from.
SMOOTHING = 0.1
# Past this, telling more would only tell how many never come back.
MAX_RETRY_AFTER_S = 30

# Whether anybody still waits for a call's result; a long call asks between its steps.
Wanted = Callable[[], bool]


class Admission:
    """Runs calls in `threads` worker threads, at most `max_waiting` more in line; the next one is refused at once.

    Refusing early keeps the line short, so that those who are accepted are answered soon.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self.threads = threads
        self.max_waiting = max_waiting
        self.running = 0
        self.waiting = 0
        self._mean_run_s = 0.02
        self._booked = 0.0  # the moment by which all who were told to come back will have been served
        self._free = asyncio.Semaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="classify", initializer=step_back)

    def check(self) -> None:
        """Raise Refusal("busy") if a call made now would be refused: before reading a body, say."""
        if self._free.locked() and self.waiting >= self.max_waiting:
            raise Refusal("busy", "The service is busy.", retry_after_s=self._book())

    async def run(self, call: Callable[[Wanted], T], *, admitted: bool = False) -> tuple[T, float]:
        """The call's result and the seconds it waited in line. Raises Refusal("busy"), or what the call raises.

        One that is `admitted`, as part of a request that has begun to be answered, waits however long the line is.
        A cancelled caller leaves the line at once; a call already running is no longer `wanted`, and frees its thread
        when it ends.
        """
        if not admitted:
            self.check()
        arrived = time.monotonic()
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        started = time.monotonic()
        self.running += 1
        left = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(self._pool, call, lambda: not left.is_set())
        future.add_done_callback(lambda done: self._done(done, started))
        try:
            await asyncio.wait([future])  # which, unlike awaiting it, leaves it alone when cancelled
        finally:
            left.set()
        return future.result(), started - arrived

    def close(self) -> None:
        """Stop the threads, once each has ended what it is at."""
        self._pool.shutdown()

    def _book(self) -> int:
        """Whole seconds after which one more will find room: those in line, and those told to come back, come first.

        They all come back on the second, so that no more may be told the same one than there is room for.
        """
        now = time.monotonic()
        served_s = self._mean_run_s / self.threads
        apart_s = max(served_s, 1 / (self.threads + self.max_waiting))
        behind = max(self._booked, now + self.waiting * served_s) + apart_s
        self._booked = min(behind, now + MAX_RETRY_AFTER_S)
        return max(1, math.ceil(round(self._booked - now, 3)))

    def _done(self, future: asyncio.Future[Any], started: float) -> None:
        future.exception()  # seen, or asyncio logs it where the caller has left
        self.running -= 1
        self._mean_run_s += SMOOTHING * (time.monotonic() - started - self._mean_run_s)
        self._free.release()
