"""A bundle's files, which can come from a stranger: opened only if they are plain files inside it, of a likely size."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from app import strict_json
from app.card import CARD, MOST_PARTS, WEIGHTS, is_name
from app.errors import BundleError
from app.graph import Places

MOST_HEADER_BYTES = 1_000_000  # of weights.safetensors; an int8 ResNet34 takes 12 KB


@contextmanager
def open_own(folder: Path, name: str) -> Iterator[BufferedReader]:
    """One of the bundle's files, to be read. What is not a plain file is not even opened: a link leads elsewhere, a
    pipe keeps its reader waiting, a device never ends. Raises BundleError or OSError."""
    path = folder / name
    linked = path.parent != folder and path.parent.is_symlink()
    if linked or not stat.S_ISREG(path.lstat().st_mode):
        raise BundleError(f"{path} is not a plain file: a bundle holds no links, pipes or devices.")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # it may have been exchanged just now
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(f"{path} is not a plain file.")
        yield file


def read_own(folder: Path, name: str, most: int) -> bytes:
    """All of one of the bundle's files. Raises BundleError if it has more than `most` bytes, or OSError."""
    with open_own(folder, name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise BundleError(f"{folder / name} has more than the {most / 1e6:g} MB that it can have in a bundle.")
    return data


def check_file(folder: Path, name: str, expected: dict[str, Any]) -> None:
    """Hold a file to the card's {sha256, bytes}. Raises BundleError."""
    path = folder / name
    try:
        with open_own(folder, name) as file:
            size = os.fstat(file.fileno()).st_size
            if size != expected["bytes"]:
                raise BundleError(f"{path} has {size} bytes instead of {expected['bytes']}.")
            if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                raise BundleError(f"{path} was changed: its sha256 is not the one in {CARD}.")
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{path} is missing.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error


def tensor_places(folder: Path) -> Places:
    """Byte offset in weights.safetensors and length of every tensor (8 bytes of header length, header, data).

    Raises ValueError, TypeError, KeyError or AttributeError for a header that is none.
    """
    with open_own(folder, WEIGHTS) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise ValueError(f"its header has {length:,} bytes, more than the {MOST_HEADER_BYTES:,} of any bundle")
        header = strict_json.loads(file.read(length), MOST_PARTS)
    if not all(map(is_name, header)):
        raise ValueError("it has tensors whose names cannot be shown")
    spans = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return {name: (8 + length + start, end - start) for name, (start, end) in spans.items()}
