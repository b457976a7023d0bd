"""Admission: who runs, who waits, who is refused. Told by the order of events, never by the clock."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from app.admission import MAX_RETRY_AFTER_S, Admission, Wanted
from app.errors import Refusal

HANG_S = 20


class Call:
    """A call for a worker thread: it tells when it has started, and ends when it may."""

    def __init__(self, result: object = None) -> None:
        self.result = result
        self.started = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, wanted: Wanted) -> object:
        self.wanted = wanted
        self.started.set()
        assert self.may_end.wait(HANG_S)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    async def runs(self) -> None:
        assert await asyncio.to_thread(self.started.wait, HANG_S)


async def settle() -> None:
    """Let every task go as far as it can on the event loop."""
    for _ in range(10):
        await asyncio.sleep(0)


def refused_at_once(admission: Admission) -> Refusal:
    """What `run` raises before its first await."""
    coroutine = admission.run(lambda _: None)
    with pytest.raises(Refusal) as caught:
        coroutine.send(None)
    return caught.value


def get_ident(_: Wanted) -> int:
    return threading.get_ident()


def play(scene: Coroutine[Any, Any, None]) -> None:
    """Run a scene on an event loop of its own; it may not hang."""
    asyncio.run(asyncio.wait_for(scene, HANG_S))


@pytest.mark.parametrize(("threads", "max_waiting"), [(1, 0), (1, 1), (2, 0), (2, 3), (5, 2)])
def test_so_many_run_so_many_wait_the_next_is_refused_at_once(threads: int, max_waiting: int) -> None:
    async def scene() -> None:
        admission = Admission(threads, max_waiting)
        calls = [Call(number) for number in range(threads + max_waiting)]
        tasks = []
        for call in calls:
            admission.check()
            tasks.append(asyncio.create_task(admission.run(call)))
            await settle()
        assert (admission.running, admission.waiting) == (threads, max_waiting)
        refusal = refused_at_once(admission)
        assert (refusal.status, refusal.code) == (503, "busy")
        assert refusal.retry_after_s is not None
        assert refusal.retry_after_s >= 1
        with pytest.raises(Refusal):
            admission.check()
        for call in calls[:threads]:
            await call.runs()
        assert not any(call.started.is_set() for call in calls[threads:])
        for call in calls:
            call.may_end.set()
        assert [result for result, _ in await asyncio.gather(*tasks)] == [call.result for call in calls]
        admission.check()
        assert (admission.running, admission.waiting) == (0, 0)
        admission.close()

    play(scene())


def test_those_in_line_run_in_the_order_they_came() -> None:
    async def scene() -> None:
        admission = Admission(1, 5)
        first, order = Call(), []
        tasks = [asyncio.create_task(admission.run(first))]
        await first.runs()
        for number in range(5):
            tasks.append(asyncio.create_task(admission.run(lambda _, number=number: order.append(number))))
            await settle()
        first.may_end.set()
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4]
        admission.close()

    play(scene())


def test_calls_run_outside_the_event_loop_and_the_wait_is_told() -> None:
    async def scene() -> None:
        admission = Admission(1, 1)
        thread, waited = await admission.run(get_ident)
        assert thread != threading.get_ident()
        first = Call()
        tasks = [asyncio.create_task(admission.run(call)) for call in (first, get_ident)]
        await first.runs()
        await asyncio.sleep(0.05)
        first.may_end.set()
        waits = [wait for _, wait in await asyncio.gather(*tasks)]
        assert waits[1] >= 0.05 > waits[0] >= 0
        assert waited >= 0
        admission.close()

    play(scene())


def refused_times(admission: Admission, mean_run_s: float, refusals: int) -> list[int]:
    """The Retry-After of so many refusals in a row, while the line is full."""
    told: list[int] = []

    async def scene() -> None:
        admission._mean_run_s = mean_run_s
        calls = [Call() for _ in range(admission.threads + admission.max_waiting)]
        tasks = [asyncio.create_task(admission.run(call)) for call in calls]
        await calls[0].runs()
        told.extend(refused_at_once(admission).retry_after_s or 0 for _ in range(refusals))
        for call in calls:
            call.may_end.set()
        await asyncio.gather(*tasks)
        admission.close()

    play(scene())
    return told


@pytest.mark.parametrize(
    ("threads", "waiting", "mean_run_s", "seconds"),
    [
        (1, 0, 0.001, 1),
        (1, 10, 0.001, 1),
        (1, 10, 0.5, 6),
        (2, 10, 0.5, 3),
        (2, 10, 0.6, 4),
        (1, 1000, 0.5, MAX_RETRY_AFTER_S),
    ],
)
def test_retry_after_is_the_time_that_the_line_takes(
    threads: int, waiting: int, mean_run_s: float, seconds: int
) -> None:
    assert refused_times(Admission(threads, waiting), mean_run_s, 1) == [seconds]


@pytest.mark.parametrize(("waiting", "mean_run_s"), [(40, 0.0001), (40, 0.1), (8, 0.02)])
def test_no_more_are_told_the_same_second_than_there_will_be_room_for(waiting: int, mean_run_s: float) -> None:
    told = refused_times(Admission(2, waiting), mean_run_s, 150)
    assert told == sorted(told)
    counts = [told.count(second) for second in range(min(told), max(told) + 1)]
    assert all(counts)
    assert max(counts[:-1]) <= 1.1 * min(2 + waiting, 2 / mean_run_s) + 1  # time goes on meanwhile
    assert max(told) < MAX_RETRY_AFTER_S


def test_retry_after_has_an_end_and_is_forgotten_with_time() -> None:
    admission = Admission(1, 1)
    assert refused_times(admission, 0.02, 5000)[-1] == MAX_RETRY_AFTER_S
    admission._booked -= MAX_RETRY_AFTER_S  # as if so much time had passed
    assert admission._book() == 1


def test_a_cancelled_waiter_leaves_the_line_at_once() -> None:
    async def scene() -> None:
        admission = Admission(1, 1)
        running, waiting, next_one = Call(), Call(), Call("next")
        run = asyncio.create_task(admission.run(running))
        await running.runs()
        wait = asyncio.create_task(admission.run(waiting))
        await settle()
        refused_at_once(admission)
        wait.cancel()
        await settle()
        assert wait.cancelled()
        assert (admission.running, admission.waiting) == (1, 0)
        follow = asyncio.create_task(admission.run(next_one))
        await settle()
        assert admission.waiting == 1
        for call in (running, next_one):
            call.may_end.set()
        await run
        assert (await follow)[0] == "next"
        assert not waiting.started.is_set()
        assert (admission.running, admission.waiting) == (0, 0)
        admission.close()

    play(scene())


def test_a_cancelled_call_keeps_its_thread_until_it_ends() -> None:
    async def scene() -> None:
        admission = Admission(1, 1)
        left, next_one = Call(), Call("next")
        run = asyncio.create_task(admission.run(left))
        await left.runs()
        assert left.wanted()
        run.cancel()
        await settle()
        assert run.cancelled()
        assert not left.wanted()
        assert admission.running == 1
        follow = asyncio.create_task(admission.run(next_one))
        await settle()
        assert admission.waiting == 1
        assert not next_one.started.is_set()
        left.may_end.set()
        await next_one.runs()
        next_one.may_end.set()
        assert (await follow)[0] == "next"
        assert (admission.running, admission.waiting) == (0, 0)
        admission.close()

    play(scene())


@pytest.mark.parametrize("error", [Refusal("broken_image", "Broken."), ValueError("odd")])
def test_exceptions_pass_through_and_free_the_thread(error: Exception) -> None:
    async def scene() -> None:
        admission = Admission(1, 0)
        for _ in range(3):
            call = Call(error)
            call.may_end.set()
            with pytest.raises(type(error)) as caught:
                await admission.run(call)
            assert caught.value is error
            assert (admission.running, admission.waiting) == (0, 0)
        assert (await admission.run(lambda _: "fine"))[0] == "fine"
        admission.close()

    play(scene())


def test_an_exception_that_nobody_waits_for_is_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    """The caller left while its call was running, and the call then failed."""

    async def scene() -> None:
        admission = Admission(1, 0)
        call = Call(ValueError("odd"))
        run = asyncio.create_task(admission.run(call))
        await call.runs()
        run.cancel()
        await settle()
        call.may_end.set()
        while admission.running:
            await asyncio.sleep(0.001)
        admission.close()

    play(scene())
    assert caplog.records == []


@pytest.mark.parametrize("seed", range(5))
def test_after_a_storm_every_thread_is_free(seed: int) -> None:
    """Calls that end, fail or are left at any moment; never more at once than threads; nothing is lost."""
    dice = random.Random(seed)
    lock, now, most = threading.Lock(), 0, 0

    def call(fails: bool, naps: float) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(naps)
        with lock:
            now -= 1
        if fails:
            raise ValueError
        return "done"

    async def scene() -> None:
        admission = Admission(3, 40)
        tasks: list[asyncio.Task[Any]] = []
        for _ in range(300):
            fails, naps = dice.random() < 0.2, dice.random() * 0.002
            tasks.append(asyncio.create_task(admission.run(lambda _, fails=fails, naps=naps: call(fails, naps))))
            if dice.random() < 0.4:
                dice.choice(tasks).cancel()
            if dice.random() < 0.5:
                await asyncio.sleep(dice.random() * 0.001)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = {type(outcome) for outcome in outcomes}
        assert {tuple, ValueError, asyncio.CancelledError} <= kinds <= {
            tuple, ValueError, asyncio.CancelledError, Refusal
        }  # fmt: skip
        while admission.running:  # calls whose callers have left
            await asyncio.sleep(0.001)
        assert admission.waiting == 0
        free = [Call(number) for number in range(3)]
        last = [asyncio.create_task(admission.run(one)) for one in free]
        for one in free:
            await one.runs()
            one.may_end.set()
        await asyncio.gather(*last)
        assert (admission.running, admission.waiting) == (0, 0)
        admission.close()

    play(scene())
    assert (now, most) == (0, 3)


def test_close_waits_for_what_runs_and_ends_the_threads() -> None:
    async def scene() -> None:
        admission = Admission(2, 0)
        call = Call()
        run = asyncio.create_task(admission.run(call))
        await call.runs()
        threading.Timer(0.05, call.may_end.set).start()
        admission.close()
        assert call.may_end.is_set()
        await run

    play(scene())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("classify")]
