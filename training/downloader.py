"""Photos from many sites into folders: a few at a time, politely, again where that may help, and each one once."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2

from app.addresses import HostPolicy
from app.errors import OriginRefusal, Refusal
from app.fetch import Fetcher
from app.formats import HEIC, sniff
from training.files import write_bytes
from training.ledger import DONE, FAILED, REFUSED, Ledger, Row
from training.patience import FOR_GOOD_CODES, Pace, Site, is_for_good, is_passing
from training.url_list import Listed

MAX_BYTES = 20_000_000  # of a photo: the service's own --max-upload-mb
TIMEOUT_S = 10.0  # of a fetch: twice the service's, as nobody waits, and all fetches share one line
EXTENSIONS = {
    "JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "AVIF": ".avif", "HEIF": ".heic",
}  # fmt: skip
LEFTOVER = f"{'[0-9a-f]' * 16}.*.tmp"  # a photo that a killed run was writing


class Download:
    """One run: the URLs that `ledger` does not know as done or refused, each to its class's folder below `data`.

    Of each class at most `max_pics` different photos (None: all). `advance` is called once for each URL.
    """

    def __init__(
        self, data: Path, ledger: Ledger, pace: Pace, max_pics: int | None, advance: Callable[[], None]
    ) -> None:
        self.asked: list[Row] = []  # what became of the URLs that this run asked for
        self.new: set[Row] = set()  # those of them whose photo it wrote
        self.sites: dict[str, Site] = {}  # by host
        self._data = data
        self._ledger = ledger
        self._pace = pace
        self._max_pics = sys.maxsize if max_pics is None else max_pics
        self._advance = advance
        self._files = {row.file for row in ledger.done()}
        self._photos = Counter(file.split("/")[0] for file in self._files if (data / file).exists())  # per class
        self._in_flight: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    @property
    def failures(self) -> list[Row]:
        """The rows of this run's URLs that gave no photo."""
        return [row for row in self.asked if row.outcome != DONE]

    def site(self, one: Listed) -> Site:
        """The site that a URL names."""
        return self.sites.setdefault(httpx2.URL(one.url).host, Site(self._pace))

    async def run(self, listed: Sequence[Listed], policy: HostPolicy, workers: int) -> None:
        """Ask for the URLs, `workers` at a time; with 0 one after the other, up to the first that gives no photo.

        Raises OSError where a photo cannot be written.
        """
        for label in {one.label for one in listed}:
            for leftover in (self._data / label).glob(LEFTOVER):
                leftover.unlink()
        wanted = [one for one in listed if self._outcome(one) in (None, FAILED)]
        for _ in range(len(listed) - len(wanted)):
            self._advance()
        self._slots = asyncio.Semaphore(max(workers, 1))
        # four times the places: a look-up that hangs keeps its own long after its fetch has given up
        slots = 4 * max(workers, 1)
        async with Fetcher(policy, timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES, slots=slots) as self._fetcher:
            if workers:
                await self._all(wanted)
            else:
                await self._until_one_fails(wanted)

    def _outcome(self, one: Listed) -> str | None:
        """What the ledger says of a URL, if anything."""
        row = self._ledger.row(one.url, one.label)
        return row.outcome if row else None

    async def _until_one_fails(self, wanted: Sequence[Listed]) -> None:
        for one in wanted:
            await self._turn(one)
            if self.failures:
                return

    async def _all(self, wanted: Sequence[Listed]) -> None:
        """Every host has its own queue, with few lanes; what failed in an earlier run comes last, or a site might be
        left because of the same URLs again."""
        for one in sorted(wanted, key=lambda one: self._outcome(one) == FAILED):
            self.site(one).queue.append(one)
        try:
            async with asyncio.TaskGroup() as lanes:
                for site in self.sites.values():
                    for _ in range(min(self._pace.per_host, len(site.queue))):
                        lanes.create_task(self._lane(site))
        except ExceptionGroup as group:  # a disk that is full, told as such
            raise group.exceptions[0] from None

    async def _lane(self, site: Site) -> None:
        while site.queue and not site.left:
            await self._turn(site.queue.popleft())

    async def _turn(self, one: Listed) -> None:
        """Ask for one URL, unless its class is full, and pause."""
        if await self._enter(one.label):
            try:
                await self._get(one)
            finally:
                await self._leave(one.label)
            await asyncio.sleep(self._pace.pause_s)
        self._advance()

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
        site = self.site(one)
        try:
            content = await self._fetch(one.url, site)
            row = self._stored(one, content)
            site.ended(None)
        except Refusal as refusal:
            row = _failure(one, refusal)
            site.ended(refusal)
        self._ledger.add(row)
        self.asked.append(row)

    async def _fetch(self, url: str, site: Site) -> bytes:
        """The bytes at a URL, after some waiting if need be; raises Refusal."""
        tries = 0
        while True:
            await site.rested()
            try:
                async with self._slots:
                    return await self._fetcher.fetch(url)
            except Refusal as refusal:
                tries += 1
                site.refused(refusal)
                if tries == self._pace.tries or site.left or not is_passing(refusal):
                    raise
            await asyncio.sleep(self._pace.wait_s(tries))

    def _stored(self, one: Listed, content: bytes) -> Row:
        """Write a photo that is not there yet; raises Refusal if it is none."""
        kind = sniff(content)
        if kind is None:
            raise Refusal("not_an_image", "What the site sent is not a photo in a format that tellapart reads.")
        if kind == "HEIF" and not HEIC:
            raise Refusal("not_an_image", "A HEIC photo; to read such, install the extra heic and delete this row.")
        sha256 = hashlib.sha256(content).hexdigest()
        file = f"{one.label}/{sha256[:16]}{EXTENSIONS[kind]}"
        row = Row(one.url, one.label, DONE, "200", kind, str(len(content)), sha256, file)
        if file not in self._files:  # else it was there once: photos that a person took away stay away
            write_bytes(self._data / file, content)
            self._files.add(file)
            self._photos[one.label] += 1
            self.new.add(row)
        return row


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
