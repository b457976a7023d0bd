"""Photos from many sites into folders: a few at a time, politely, again where that may help, and each one once."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2

from app.addresses import HostPolicy
from app.errors import OriginRefusal, Refusal
from app.fetch import Fetcher
from app.image import HEIC, sniff
from training.files import write_bytes
from training.ledger import DONE, FAILED, REFUSED, Ledger, Row
from training.url_list import Listed

MAX_BYTES = 20_000_000  # of a photo: the service's own --max-upload-mb
TIMEOUT_S = 10.0  # of a fetch: twice the service's, as nobody waits, and all fetches share one line
EXTENSIONS = {
    "JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "AVIF": ".avif", "HEIF": ".heic",
}  # fmt: skip
LEFTOVER = f"{'[0-9a-f]' * 16}.*.tmp"  # a photo that a killed run was writing
PASSING_STATUSES = (408, 425, 429)  # and all from 500: the site asks for patience, or is ill
PASSING_CODES = ("fetch_failed", "fetch_slow", "busy")
FOR_GOOD_CODES = ("not_an_image", "too_large")


@dataclass(frozen=True)
class Pace:
    """How hard sites are asked. At most two connections to a host is what RFC 2616 §8.1.4 asked of a client; with the
    pause after each URL that is ten small photos a second."""

    per_host: int = 2
    pause_s: float = 0.2
    tries: int = 3
    back_off_s: float = 0.5
    longest_wait_s: float = 30.0

    def wait_s(self, refusal: Refusal, tries: int) -> float | None:
        """Seconds until a URL may be asked again after `tries` tries; None for not in this run.

        Twice as long each time, ± half at random so that what failed together does not return together, and no less
        than Retry-After says.
        """
        told = retry_after_s(refusal)
        if not is_passing(refusal) or tries >= self.tries or told > self.longest_wait_s:
            return None
        back_off = self.back_off_s * 2.0 ** (tries - 1) * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)
        return max(back_off, told)


def is_passing(refusal: Refusal) -> bool:
    """Whether the same URL may well answer in a moment."""
    if isinstance(refusal, OriginRefusal):
        return refusal.origin_status in PASSING_STATUSES or refusal.origin_status >= 500
    return refusal.code in PASSING_CODES


def is_for_good(refusal: Refusal) -> bool:
    """Whether asking again is no use, in later runs either (which may allow other hosts, or be online)."""
    return refusal.code in FOR_GOOD_CODES or (isinstance(refusal, OriginRefusal) and not is_passing(refusal))


def retry_after_s(refusal: Refusal) -> float:
    """What the site's Retry-After says, a number or a date (RFC 9110 §10.2.3), in seconds; 0 if nothing readable."""
    text = refusal.origin_retry_after if isinstance(refusal, OriginRefusal) else ""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # TypeError: a date without a zone
        return 0.0


class Download:
    """One run: the URLs that `ledger` does not know as done or refused, each to its class's folder below `data`.

    Of each class at most `max_pics` different photos (None: all). `advance` is called once for each URL.
    """

    def __init__(
        self, data: Path, ledger: Ledger, pace: Pace, max_pics: int | None, advance: Callable[[], None]
    ) -> None:
        self.asked: list[Row] = []  # what became of the URLs that this run asked for
        self.new: set[str] = set()  # the files that it wrote
        self._data = data
        self._ledger = ledger
        self._pace = pace
        self._max_pics = sys.maxsize if max_pics is None else max_pics
        self._advance = advance
        self._files = {row.file for row in ledger.done()}
        self._photos = Counter(file.split("/")[0] for file in self._files)  # per class
        self._in_flight: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    @property
    def failures(self) -> list[Row]:
        """The rows of this run's URLs that gave no photo."""
        return [row for row in self.asked if row.outcome != DONE]

    async def run(self, listed: tuple[Listed, ...], policy: HostPolicy, workers: int) -> None:
        """Ask for the URLs, `workers` at a time; with 0 one after the other, up to the first that gives no photo.

        Raises OSError where a photo cannot be written.
        """
        for label in {one.label for one in listed}:
            for leftover in (self._data / label).glob(LEFTOVER):
                leftover.unlink()
        self._slots = asyncio.Semaphore(max(workers, 1))
        # four times the places: a look-up that hangs keeps its own long after its fetch has given up
        slots = 4 * max(workers, 1)
        async with Fetcher(policy, timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES, slots=slots) as self._fetcher:
            if workers:
                await self._all(listed)
            else:
                await self._until_one_fails(listed)

    async def _until_one_fails(self, listed: tuple[Listed, ...]) -> None:
        queue = deque(listed)
        while queue and not self.failures:
            await self._next(queue)

    async def _all(self, listed: tuple[Listed, ...]) -> None:
        """Every host has its own queue, with few lanes."""
        queues: dict[str, deque[Listed]] = {}
        for one in listed:
            queues.setdefault(httpx2.URL(one.url).host, deque()).append(one)
        try:
            async with asyncio.TaskGroup() as lanes:
                for queue in queues.values():
                    for _ in range(min(self._pace.per_host, len(queue))):
                        lanes.create_task(self._lane(queue))
        except ExceptionGroup as group:  # a disk that is full, told as such
            raise group.exceptions[0] from None

    async def _lane(self, queue: deque[Listed]) -> None:
        while queue:
            await self._next(queue)

    async def _next(self, queue: deque[Listed]) -> None:
        """Deal with a queue's first URL; pause if its site was asked."""
        one = queue.popleft()
        known = self._ledger.row(one.url, one.label)
        asked = (known is None or known.outcome == FAILED) and await self._enter(one.label)
        if asked:
            try:
                await self._get(one)
            finally:
                await self._leave(one.label)
        self._advance()
        if asked and queue:
            await asyncio.sleep(self._pace.pause_s)

    async def _enter(self, label: str) -> bool:
        """Take a place among the photos that a class still needs; waits while those in flight may fill it, and returns
        False once it is full."""

        def room() -> int:
            return self._max_pics - self._photos[label]

        async with self._changed:
            await self._changed.wait_for(lambda: room() <= 0 or room() > self._in_flight[label])
            entered = room() > 0
            self._in_flight[label] += entered
        return entered

    async def _leave(self, label: str) -> None:
        async with self._changed:
            self._in_flight[label] -= 1
            self._changed.notify_all()

    async def _get(self, one: Listed) -> None:
        try:
            content = await self._fetch(one.url)
            row = self._stored(one, content)
        except Refusal as refusal:
            row = _failure(one, refusal)
        self._ledger.add(row)
        self.asked.append(row)

    async def _fetch(self, url: str) -> bytes:
        """The bytes at a URL, after some waiting if need be; raises Refusal."""
        tries = 0
        while True:
            try:
                async with self._slots:
                    return await self._fetcher.fetch(url)
            except Refusal as refusal:
                tries += 1
                wait_s = self._pace.wait_s(refusal, tries)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)

    def _stored(self, one: Listed, content: bytes) -> Row:
        """Write a photo that is not there yet; raises Refusal if it is none."""
        kind = sniff(content)
        if kind is None:
            raise Refusal("not_an_image", "What the site sent is not a photo in a format that tellapart reads.")
        if kind == "HEIF" and not HEIC:
            raise Refusal("not_an_image", "A HEIC photo; to read such, install the extra heic and delete this row.")
        sha256 = hashlib.sha256(content).hexdigest()
        file = f"{one.label}/{sha256[:16]}{EXTENSIONS[kind]}"
        if file not in self._files:  # else it was there once: photos that a person took away stay away
            write_bytes(self._data / file, content)
            self._files.add(file)
            self._photos[one.label] += 1
            self.new.add(file)
        return Row(one.url, one.label, DONE, "200", kind, str(len(content)), sha256, file)


def _failure(one: Listed, refusal: Refusal) -> Row:
    """The row of a URL that gave no photo."""
    outcome = REFUSED if is_for_good(refusal) else FAILED
    if isinstance(refusal, OriginRefusal):
        status = str(refusal.origin_status)
        return Row(one.url, one.label, outcome, status, reason=f"The site answered {status}.")
    reason = refusal.message
    if refusal.code == "blocked_url":
        reason += " See --url-hosts."
    return Row(one.url, one.label, outcome, "200" if refusal.code in FOR_GOOD_CODES else "", reason=reason)
