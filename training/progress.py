"""Progress on stderr for people; nothing where stderr is a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def bars(*, show: bool = True) -> Progress:
    """Bars for whatever takes over a second, to be used as a context."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not (show and console.is_terminal))


def advancer(progress: Progress, what: str, total: int) -> Callable[[], None]:
    """A new bar; the function that takes it one further."""
    return partial(progress.advance, progress.add_task(what, total=total))


def tell(progress: Progress, notes: Iterable[str]) -> None:
    """Print sentences above the bars."""
    for note in notes:
        progress.console.print(note, highlight=False, markup=False, soft_wrap=True)
