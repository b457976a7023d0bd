"""How hard sites are asked, how often, and when one is left alone."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.errors import OriginRefusal, Refusal
from training.url_list import Listed

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
    failures: int = 5  # URLs in a row, after which a site is left alone

    def wait_s(self, tries: int) -> float:
        """Seconds to wait after so many tries: twice as long each time, ± half at random so that what failed together
        does not return together."""
        return self.back_off_s * 2.0 ** (tries - 1) * random.SystemRandom().uniform(0.5, 1.5)


@dataclass
class Site:
    """One host: its URLs still to ask for, and how it took those asked so far. `left` says why it is left alone."""

    pace: Pace
    queue: deque[Listed] = field(default_factory=deque)
    left: str = ""
    _rests_until: float = 0.0  # of time.monotonic
    _failures: int = 0

    async def rested(self) -> None:
        """Return when the site may be asked again."""
        await asyncio.sleep(max(0.0, self._rests_until - time.monotonic()))

    def refused(self, refusal: Refusal) -> None:
        """Heed its Retry-After, for all of its URLs."""
        told_s = retry_after_s(refusal) if is_passing(refusal) else 0.0
        if told_s > self.pace.longest_wait_s:
            self.left = f"asks to be left alone for {told_s:.0f} seconds"
        else:
            self._rests_until = max(self._rests_until, time.monotonic() + told_s)

    def ended(self, refusal: Refusal | None) -> None:
        """Count what became of a URL in the end: `refusal`, or a photo."""
        self._failures = self._failures + 1 if refusal and is_passing(refusal) else 0
        if self._failures >= self.pace.failures and not self.left:
            self.left = f"failed {self._failures} times in a row"


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
