"""What is known of one request by its end. Routes add to it; its log line and the metrics are made of nothing else."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.classifier import Answer, Judgement
from app.errors import Refusal

UNMATCHED = "unmatched"
OTHER = "other"
PROBES = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")  # routes that machines ask every few seconds
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NOBODY_LISTENED = 499  # what nginx logs where the client left before there was an answer

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context §3.2: version, trace, the caller's span, flags; of those, 00 is exactly so long and ff is none.
TRACEPARENT = re.compile(
    r"(?!ff|00-.{53})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
TRACE_FLAGS = 0b11  # those that are defined: sampled, random


def now_ns() -> int:
    """Nanoseconds since 1970, to say when a step began; how long it took, clocks tell that cannot jump."""
    return time.time_ns()


@dataclass(frozen=True)
class Said:
    """What an answer was, without the photo."""

    first: str
    confidence: float
    verdict: str
    similarity: float | None


@dataclass(frozen=True)
class Step:
    """A measured part of the work on a request: fetch, wait, read, decode or infer. `started_ns` counts from 1970."""

    name: str
    started_ns: int
    seconds: float


@dataclass
class Outcome:
    """One request. `route` is a pattern of ours, never a path that a client wrote; `method` is one of METHODS or OTHER.

    `traceparent` is the header to send back: the caller's trace, and this request as a span of it. `steps` are its own
    and those of each photo; `answers` of each photo that got one; `agreed` whether a person's label was the verdict,
    where one was sent; `refusals` the codes of the request's or its photos' refusals.
    """

    method: str = OTHER
    route: str = UNMATCHED
    id: str = ""
    traceparent: str = ""
    status: int = NOBODY_LISTENED
    total_s: float = 0.0
    steps: list[Step] = field(default_factory=list)
    answers: list[Said] = field(default_factory=list)
    agreed: bool | None = None
    refusals: list[str] = field(default_factory=list)
    detail: str = ""
    bundle: str = ""
    fault: Exception | None = None

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time that this takes, also where it raises."""
        started_ns, started = now_ns(), time.perf_counter()
        try:
            yield
        finally:
            self.steps.append(Step(step, started_ns, time.perf_counter() - started))

    def answered(self, answer: Judgement, bundle: str, arrived_ns: int, wait_s: float) -> None:
        """A photo that came to the line at `arrived_ns` got its answer from that version of a bundle.

        One that came as pixels was not decoded.
        """
        decoded = [("decode", answer.decode_s)] if isinstance(answer, Answer) else []
        started_ns = arrived_ns
        for step, seconds in [("wait", wait_s), *decoded, ("infer", answer.infer_s)]:
            self.steps.append(Step(step, started_ns, seconds))
            started_ns += round(seconds * 1e9)
        self.answers.append(Said(*answer.predictions[0], answer.verdict, answer.similarity))
        self.bundle = bundle

    def refused(self, refusal: Refusal) -> None:
        """The request, or one of its photos, was refused."""
        self.refusals.append(refusal.code)
        self.detail = self.detail or refusal.detail

    def seconds(self) -> dict[str, float]:
        """The seconds of each step, all photos together, in the order in which the steps were first taken."""
        sums: dict[str, float] = {}
        for step in self.steps:
            sums[step.name] = sums.get(step.name, 0.0) + step.seconds
        return sums


def outcome_of(scope: MutableMapping[str, Any]) -> Outcome:
    """The outcome of the request with this ASGI scope."""
    outcome: Outcome = scope.setdefault("state", {}).setdefault("outcome", Outcome())
    return outcome


def request_id(given: str) -> str:
    """The caller's id for the request, or one of ours if there is none or it is none: 1 to 64 of [A-Za-z0-9._-]."""
    return given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def continue_trace(traceparent: str) -> str:
    """The traceparent of this request within the caller's trace; empty if the caller's is not valid."""
    given = TRACEPARENT.fullmatch(traceparent)
    if given is None:
        return ""
    return f"00-{given[1]}-{secrets.token_hex(8)}-{int(given[2], 16) & TRACE_FLAGS:02x}"
