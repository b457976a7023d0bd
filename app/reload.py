"""Which bundle is at work: the first one, then others, each loaded beside the one that it replaces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from app.bundle import Bundle
from app.classifier import Classifier
from app.cpu import step_back
from app.errors import BundleError
from app.logs import log

LINK_POLL_S = 2.0

T = TypeVar("T")


class Reloader:
    """Loads the bundle that `model` leads to: once, then whenever asked, and whenever a link on its way was changed.

    `at_work` is replaced only by a bundle that has passed all checks; whoever still uses the one before keeps it alive.
    `last` tells of the last reload: {at: ISO time, outcome: "loaded" or "refused"}.
    """

    def __init__(self, model: Path, load: Callable[[Path], Classifier], poll_s: float = LINK_POLL_S) -> None:
        self.at_work: Classifier | None = None
        self.last: dict[str, str] | None = None
        self._model = model
        self._load = load
        self._poll_s = poll_s
        self._tried = (model, False)
        self._asked = asyncio.Event()
        # One thread for all loads: malloc keeps an arena per thread, and 25 loads in 25 threads cost 100 MB more.
        # It steps back, and so do the engine's threads, which come of it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load", initializer=step_back)

    def ask(self) -> None:
        """Ask for a reload. While one is under way this makes it two, however often it is asked."""
        self._asked.set()

    async def run(self, then: Callable[[BaseException | None], None]) -> None:
        """Load the first bundle and call `then` with None or with what went wrong; then reload until cancelled."""
        try:
            bundle = await self._in_thread(self._replace)
        except Exception as error:  # noqa: BLE001 (whatever it is, the process must end and say so)
            return then(error)
        then(None)
        linked = self._tried[0] != self._model
        while True:
            await self._due(self._poll_s if linked else None)
            bundle = await self._reload(bundle)

    def close(self) -> None:
        """Stop the thread, once it has ended what it is at."""
        self._thread.shutdown(wait=False)

    async def _due(self, poll_s: float | None) -> None:
        """Return once a reload was asked for, or once `model` leads elsewhere than when it was last tried."""
        while True:
            try:
                async with asyncio.timeout(poll_s):
                    await self._asked.wait()
            except TimeoutError:
                if await self._in_thread(leads_to, self._model) == self._tried:
                    continue
            self._asked.clear()
            return

    async def _reload(self, before: Bundle) -> Bundle:
        """Put the next bundle to work, or say why not. Returns the one at work then."""
        try:
            bundle = await self._in_thread(self._replace)
        except Exception as error:  # noqa: BLE001 (whatever it is, the bundle at work goes on)
            unforeseen = None if isinstance(error, BundleError) else error
            log.error("Reload refused, %s stays at work: %s", _named(before), error, exc_info=unforeseen)
            bundle, outcome = before, "refused"
        else:
            log.info("Reloaded: %s is at work%s.", _named(bundle), _what_changed(before, bundle))
            outcome = "loaded"
        self.last = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "outcome": outcome}
        return bundle

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def _replace(self) -> Bundle:
        """Load, check and put to work. In the thread, as freeing the bundle before takes tens of milliseconds too."""
        self._tried = leads_to(self._model)
        self.at_work = self._load(self._tried[0])
        return self.at_work.bundle


def leads_to(model: Path) -> tuple[Path, bool]:
    """The folder that `model` leads to (`model` as it stands where no link is on its way), and whether it can be read.

    Read once per load, so that one load does not take files from both sides of a change.
    """
    try:
        folder = Path(os.path.realpath(model))  # Path.resolve would raise where links go in circles
        return model if folder == model.absolute() else folder, os.access(folder, os.R_OK)
    except FileNotFoundError:  # the working directory itself is gone
        return model, False


def _named(bundle: Bundle) -> str:
    return f"{bundle.name} {bundle.version}"


def _what_changed(before: Bundle, after: Bundle) -> str:
    if before.version == after.version:
        return ", the same version as before"
    others = f", with other classes: {', '.join(after.classes)}" if set(before.classes) != set(after.classes) else ""
    return f" instead of {_named(before)}{others}"
