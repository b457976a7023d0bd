"""Protocol buffers without a library: the fields of one message (https://protobuf.dev/programming-guides/encoding).

Stricter than the format: a field that is not expected, or is encoded otherwise than its own writers do, is refused, so
that whoever reads the message after us cannot find another one in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VARINT, BYTES = 0, 2  # how a field is encoded: a whole number; text, bytes, a message, or packed numbers
SIGN = 1 << 63

# Number of a field → its name and encoding.
Message = Mapping[int, tuple[str, int]]


def fields(data: bytes, message: Message) -> dict[str, list[Any]]:
    """The values of each field that `message` knows, in order: whole numbers (int64) or bytes. Raises ValueError."""
    found: dict[str, list[Any]] = {name: [] for name, _ in message.values()}
    position = 0
    while position < len(data):
        tag, position = varint(data, position)
        name, encoding = message.get(tag >> 3, ("", -1))
        if tag & 7 != encoding:
            raise ValueError(f"it has a field {tag >> 3} of kind {tag & 7}, which no export writes")
        value, position = varint(data, position)
        if encoding == BYTES:
            start, position = position, position + value
            if position > len(data):
                raise ValueError("it is cut short")
            found[name].append(data[start:position])
        else:
            found[name].append(value - 2 * (value & SIGN))
    return found


def varints(data: bytes) -> list[int]:
    """Packed whole numbers (int64). Raises ValueError."""
    found, position = [], 0
    while position < len(data):
        value, position = varint(data, position)
        found.append(value - 2 * (value & SIGN))
    return found


def varint(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, and the position after it. Raises ValueError."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it is cut short")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80 and value < 1 << 64:
            return value, position
    raise ValueError("it has a number of more than 64 bits")


def one(values: list[Any], what: str) -> Any:
    """The value of a field that must be there once: of two, readers take the last, or merge them. Raises ValueError."""
    if len(values) != 1:
        raise ValueError(f"it has {len(values)} of {what} instead of one")
    return values[0]
