"""What a running service holds: the bundle at work, the line before it, the URL fetcher, whether it is leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from app.admission import Admission
from app.classifier import Classifier, load_classifier
from app.cpu import usable_cores
from app.errors import Refusal
from app.fetch import Fetcher
from app.logs import log_request
from app.metrics import Metrics
from app.outcome import Outcome
from app.settings import Settings

WAITING_PER_THREAD = 32


class Service:
    """Everything that requests share; made by the app's lifespan."""

    def __init__(self, settings: Settings, fetcher: Fetcher) -> None:
        self.settings = settings
        self.fetcher = fetcher
        self.threads = settings.threads or usable_cores()
        waiting = WAITING_PER_THREAD * self.threads if settings.max_waiting is None else settings.max_waiting
        self.admission = Admission(self.threads, waiting)
        self.draining = False
        self.metrics = Metrics(self)
        self._classifier: Classifier | None = None

    @property
    def classifier(self) -> Classifier:
        """The bundle at work. Raises Refusal("starting") until its checks are done."""
        if self._classifier is None:
            raise Refusal("starting", "The service is starting.", retry_after_s=1)
        return self._classifier

    async def load(self, then: Callable[[BaseException | None], None]) -> None:
        """Read, check and warm up the bundle in a thread; then call `then` with None or with what went wrong."""
        settings = self.settings
        work = partial(
            load_classifier, settings.model, settings.engine, self.threads, int(settings.max_pixels_mp * 1e6)
        )
        try:
            self._classifier = await asyncio.to_thread(work)
        except Exception as error:  # noqa: BLE001 (whatever it is, the process must end and say so)
            then(error)
        else:
            then(None)

    def check_ready(self) -> None:
        """Raise Refusal while the bundle loads and once SIGTERM has come; load never changes it."""
        if self.draining:
            raise Refusal("draining", "The service is shutting down.", retry_after_s=5)
        _ = self.classifier

    def record(self, outcome: Outcome) -> None:
        """Count a request that has ended, and write its line in the log."""
        if not outcome.bundle and self._classifier is not None:
            outcome.bundle = self._classifier.bundle.version
        self.metrics.observe(outcome)
        log_request(outcome)

    def plan(self) -> dict[str, Any]:
        """How the cores are used."""
        return {
            "engine": self.settings.engine,
            "threads": self.threads,
            "usable_cores": usable_cores(),
            "max_waiting": self.admission.max_waiting,
        }
