"""What a running service holds: the bundle at work, the line before it, the URL fetcher, whether it is leaving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.admission import Admission
from app.classifier import Classifier, load_classifier
from app.cpu import Plan, usable_cores
from app.errors import Refusal
from app.feedback import FeedbackFolder
from app.fetch import Fetcher
from app.logs import log_request
from app.metrics import Metrics
from app.outcome import Outcome
from app.reload import Reloader
from app.settings import Settings

WAITING_PER_STREAM = 20


def waiting_room(settings: Settings, plan: Plan) -> int:
    """How many may wait for a thread."""
    return WAITING_PER_STREAM * plan.streams if settings.max_waiting is None else settings.max_waiting


class Service:
    """Everything that requests share; made by the app's lifespan."""

    def __init__(self, settings: Settings, fetcher: Fetcher, feedback: FeedbackFolder | None = None) -> None:
        self.settings = settings
        self.fetcher = fetcher
        self.feedback = feedback
        self._plan = Plan(settings.threads or usable_cores())
        self.admission = Admission(self._plan.workers, waiting_room(settings, self._plan))
        self.draining = False
        self.metrics = Metrics(self)
        self._reloader = Reloader(settings.model, self._load)

    @property
    def classifier(self) -> Classifier:
        """The bundle at work now; a request asks once, as a reload may change it at any time.

        Raises Refusal("starting") until the first one's checks are done.
        """
        at_work = self._reloader.at_work
        if at_work is None:
            raise Refusal("starting", "The service is starting.", retry_after_s=1)
        return at_work

    async def load(self, then: Callable[[BaseException | None], None]) -> None:
        """Load the bundle and call `then` with None or with what went wrong; then reload it when told to."""
        await self._reloader.run(then)

    def reload(self) -> None:
        """Have the bundle loaded that `--model` leads to now, beside the one at work, unless the service is leaving."""
        if not self.draining:
            self._reloader.ask()

    def close(self) -> None:
        """Stop the threads, once each has ended what it is at."""
        self.admission.close()
        self._reloader.close()

    def check_ready(self) -> None:
        """Raise Refusal while the bundle loads and once SIGTERM has come; load never changes it."""
        if self.draining:
            raise Refusal("draining", "The service is shutting down.", retry_after_s=5)
        _ = self.classifier

    def record(self, outcome: Outcome) -> None:
        """Count a request that has ended, and write its line in the log."""
        at_work = self._reloader.at_work
        if not outcome.bundle and at_work is not None:
            outcome.bundle = at_work.bundle.version
        self.metrics.observe(outcome)
        log_request(outcome)

    def plan(self) -> dict[str, Any]:
        """How the cores are used, and how the last reload ended."""
        return {
            "engine": self.settings.engine,
            "threads": self._plan.streams,
            "workers": self._plan.workers,
            "usable_cores": usable_cores(),
            "max_waiting": self.admission.max_waiting,
            "last_reload": self._reloader.last,
        }

    def _load(self, folder: Path) -> Classifier:
        settings = self.settings
        return load_classifier(folder, settings.engine, self._plan.streams, int(settings.max_pixels_mp * 1e6))
