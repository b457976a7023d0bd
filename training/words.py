"""Counts, names and commands as the sentences of the commands put them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

SHOWN = 5  # lines of a list that are told one by one


def several(number: int, noun: str, plural: str = "") -> str:
    """ "1 photo", "3 photos"; `plural` where an s does not make it: "2 classes"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def some(names: Sequence[str], noun: str = "file", plural: str = "") -> str:
    """A count and the first names: "5 files (a.jpg, b.jpg, c.jpg …)"."""
    told = ", ".join(map(shown, names[:3])) + (" …" if len(names) > 3 else "")
    return f"{several(len(names), noun, plural)} ({told})"


def first(lines: Sequence[str]) -> Iterator[str]:
    """The first few lines, and how many more there are."""
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"  … and {len(lines) - SHOWN} more"


def shown(name: str) -> str:
    """A name that any terminal can show: control characters, and bytes that are not UTF-8, become �."""
    return "".join(letter if letter.isprintable() else "�" for letter in name)


def command(*words: object) -> str:
    """A command of ours, to be pasted into a shell."""
    return shown(shlex.join(["python", "-m", "training", *map(str, words)]))
