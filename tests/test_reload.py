"""Another bundle without a stop: what is loaded when, with bundles that take no time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.errors import BundleError
from app.reload import Reloader
from tests.bundles import point
from tests.wire import HANG_S


async def eventually(condition: Callable[[], bool]) -> None:
    """`until` for the event loop; `play` ends it if that does not come."""
    while not condition():
        await asyncio.sleep(0.005)


class Shelf:
    """Loads a folder as a bundle of the folder's name, or refuses it if the name begins with `bad`."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.may_load = threading.Event()
        self.may_load.set()

    def __call__(self, folder: Path) -> Any:
        self.loads.append(folder.name)
        assert self.may_load.wait(HANG_S)
        if folder.name == "faulty":
            raise ZeroDivisionError
        if folder.name.startswith("bad") or not folder.exists():
            raise BundleError(f"{folder.name} is no good.")
        return SimpleNamespace(bundle=SimpleNamespace(name=folder.name, version="1", classes=("a", "b")))

    async def loaded(self, count: int) -> None:
        """Return when so many loads have begun; fail if there are more, or do not come."""
        await eventually(lambda: len(self.loads) >= count)
        await asyncio.sleep(0.1)
        assert len(self.loads) == count, self.loads


@asynccontextmanager
async def running(model: Path, shelf: Shelf) -> AsyncIterator[Reloader]:
    """A reloader at work, which looks at links a hundred times a second."""
    reloader = Reloader(model, shelf, poll_s=0.01)
    outcome: list[BaseException | None] = []
    task = asyncio.create_task(reloader.run(outcome.append))
    try:
        yield reloader
        assert outcome == [None]
        assert not task.done()
    finally:
        shelf.may_load.set()
        task.cancel()
        reloader.close()


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, HANG_S))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("one", "two", "bad", "bad2", "faulty"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("loads", [1, 2])
def test_a_load_is_never_joined_by_another_and_a_storm_is_one_more(folders: Path, loads: int) -> None:
    """Asked for a hundred times while the first bundle loads, or while the second does."""

    async def scene() -> None:
        shelf = Shelf()
        if loads == 1:
            shelf.may_load.clear()
        async with running(folders / "one", shelf) as reloader:
            await shelf.loaded(1)
            if loads == 2:
                shelf.may_load.clear()
                reloader.ask()
                await shelf.loaded(2)
            for _ in range(100):
                reloader.ask()
                await asyncio.sleep(0)
            await shelf.loaded(loads)
            shelf.may_load.set()
            await shelf.loaded(loads + 1)

    play(scene())


def test_a_changed_link_is_noticed(folders: Path) -> None:
    async def scene() -> None:
        link, shelf = folders / "current", Shelf()
        point(link, folders / "one")
        async with running(link, shelf) as reloader:
            await shelf.loaded(1)
            for count, name in enumerate(("two", "one", "two"), start=2):
                point(link, Path(name))
                await shelf.loaded(count)
                await eventually(lambda name=name: reloader.at_work.bundle.name == name)

    play(scene())


def test_a_link_above_the_bundle_is_noticed_too(folders: Path) -> None:
    async def scene() -> None:
        shelf = Shelf()
        for release in ("41", "42"):
            (folders / release / "model").mkdir(parents=True)
        point(folders / "current", folders / "41")
        async with running(folders / "current" / "model", shelf):
            await shelf.loaded(1)
            point(folders / "current", folders / "42")
            await shelf.loaded(2)

    play(scene())


def test_what_is_refused_is_tried_once_per_change(folders: Path) -> None:
    async def scene() -> None:
        link, shelf = folders / "current", Shelf()
        point(link, folders / "one")
        async with running(link, shelf) as reloader:
            await shelf.loaded(1)
            for count, name in enumerate(("bad", "bad2", "nowhere", "current"), start=2):
                point(link, Path(name))
                await shelf.loaded(count)
            link.unlink()
            await asyncio.sleep(0.1)
            before = len(shelf.loads)
            point(link, folders / "missing")
            await shelf.loaded(before + 1)
            assert (reloader.at_work.bundle.name, reloader.last["outcome"]) == ("one", "refused")
            (folders / "missing").mkdir()
            await shelf.loaded(before + 2)
            await eventually(lambda: reloader.last["outcome"] == "loaded")
            assert reloader.at_work.bundle.name == "missing"

    play(scene())


def test_a_folder_is_not_watched_but_read_again_when_asked(folders: Path) -> None:
    async def scene() -> None:
        shelf = Shelf()
        async with running(folders / "one", shelf) as reloader:
            await shelf.loaded(1)
            (folders / "one").rmdir()
            await shelf.loaded(1)
            point(folders / "one", folders / "two")
            await shelf.loaded(1)
            reloader.ask()
            await shelf.loaded(2)
            await eventually(lambda: reloader.at_work.bundle.name == "two")

    play(scene())


def test_a_fault_in_a_reload_stops_neither_the_bundle_nor_later_reloads(
    folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        link, shelf = folders / "current", Shelf()
        point(link, folders / "one")
        async with running(link, shelf) as reloader:
            await shelf.loaded(1)
            point(link, folders / "faulty")
            await shelf.loaded(2)
            await eventually(lambda: "ZeroDivisionError" in caplog.text)
            assert reloader.at_work.bundle.name == "one"
            point(link, folders / "two")
            await shelf.loaded(3)
            await eventually(lambda: reloader.at_work.bundle.name == "two")

    play(scene())
