"""What AVIF files hold, read from their AV1 data, before libavif sees them.

The container's word is not enough: libavif decodes whatever size the AV1 data has, up to 16384 × 16384, and scales it
to what the container says, and it decodes every frame of an item to show the first. So sizes and frames are read here
as the decoder reads them (AV1 specification, 5.3 to 5.9; ISO/IEC 14496-12 for the boxes), and tables that it goes
through entry by entry are bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"iprp", b"ipco")
DATA = (b"mdat", b"idat", b"colr", b"free", b"skip")
TABLES = (b"stsz", b"stco", b"co64", b"stts", b"ctts", b"stss", b"stsc", b"sdtp")
MAX_SAMPLES = 20_000  # of a sequence
MAX_BOXES = 64_000  # bytes of boxes that describe; 256 tiles of a large photo have 12,000
MAX_OBUS = 10_000  # units of AV1 data in a file; a photo has three, or one more for each of its tiles


class Bits:
    """Bits of AV1 data, first one first. Raises IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def __call__(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError("AV1 data ends too early")
        return (self._value >> self._left) & ((1 << count) - 1)


def decoded_pixels(data: bytes) -> tuple[int, int]:
    """(pixels of the largest frame, pixels of all frames that are decoded for the first picture and its alpha).

    Raises ValueError, IndexError or struct.error where the file is damaged, or made to cost more than it shows.
    """
    extents = list(_extents(data))
    if sum(size for item in extents for _, size in item) > 2 * len(data):
        raise ValueError("items overlap")
    counted = [_frames(b"".join(data[start : start + size] for start, size in item)) for item in extents]
    if not any(frames and pixels for frames, pixels in counted):
        raise ValueError("no AV1 data")
    return max(pixels for _, pixels in counted), sum(frames * pixels for frames, pixels in counted)


def _extents(data: bytes) -> Iterator[list[tuple[int, int]]]:
    """Where the data of each AV1 item and of each track's first sample lies, in pieces of (start, size)."""
    described, av1 = 0, set()
    items: dict[int, tuple[int, list[tuple[int, int]]]] = {}
    first: dict[bytes, int] = {}
    inline = 0
    todo = [box for box in _boxes(data, 0, len(data)) if box[0] in (b"meta", b"moov")]
    while todo:
        kind, start, end = todo.pop(0)
        described += 8 if kind in DATA + TABLES + CONTAINERS + (b"meta",) else 8 + end - start
        if described > MAX_BOXES:
            raise ValueError("too many boxes")
        if kind in CONTAINERS or kind == b"meta":
            todo[:0] = _boxes(data, start + 4 * (kind == b"meta"), end)
        elif kind == b"idat":
            inline = start
        elif kind == b"iinf":
            av1 |= set(_av1_items(data, start, end))
        elif kind == b"iloc":
            items.update(_locations(data, start))
        elif kind == b"stsz":
            size, count = struct.unpack_from(">II", data, start + 4)
            if count > MAX_SAMPLES:
                raise ValueError("too many samples")
            first[kind] = size or struct.unpack_from(">I", data, start + 12)[0]
        elif kind in (b"stco", b"co64"):
            first[b"stco"] = struct.unpack_from(">I" if kind == b"stco" else ">Q", data, start + 8)[0]
        if len(first) == 2:
            yield [(first[b"stco"], first[b"stsz"])]
            first = {}
    for number, (method, pieces) in items.items():
        if number in av1:
            yield [(offset + (inline if method == 1 else 0), size or len(data)) for offset, size in pieces]


def _boxes(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the content, end) of each box."""
    while position + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1:
            size, start = struct.unpack_from(">Q", data, start)[0], start + 8
        stop = end if size == 0 else position + size
        if not start <= stop <= end:
            raise ValueError("a box does not fit")
        yield kind, start, stop
        position = stop


def _av1_items(data: bytes, start: int, end: int) -> Iterator[int]:
    for kind, entry, _ in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        if kind == b"infe":
            form = ">I2x4s" if data[entry] >= 3 else ">H2x4s"
            number, what = struct.unpack_from(form, data, entry + 4)
            if what == b"av01":
                yield number


def _locations(data: bytes, position: int) -> Iterator[tuple[int, tuple[int, list[tuple[int, int]]]]]:
    """Of each item of an `iloc` box: number, construction method, pieces of (offset, size)."""
    version, sizes, more = data[position], data[position + 4], data[position + 5]
    position += 6

    def number(size: int) -> int:
        nonlocal position
        if position + size > len(data):
            raise IndexError("iloc ends too early")
        position += size
        return int.from_bytes(data[position - size : position])

    wide = 4 if version >= 2 else 2
    for _ in range(number(wide)):
        item, method = number(wide), number(2) & 15 if version else 0
        number(2)
        base = number(more >> 4)
        pieces = []
        for _ in range(number(2)):
            number(more & 15 if version else 0)
            pieces.append((base + number(sizes >> 4), number(sizes & 15)))
        yield item, (method, pieces)


def _frames(units: bytes) -> tuple[int, int]:
    """(number of frames, pixels of the largest size that is announced) in AV1 data."""
    position = frames = pixels = 0
    for _ in range(MAX_OBUS):
        if position >= len(units):
            return frames, pixels
        head = units[position]
        position += 2 if head & 4 else 1
        size = len(units) - position
        if head & 2:
            size, position = _leb128(units, position)
        kind = head >> 3 & 15
        if kind == 1:  # a sequence header
            pixels = max(pixels, _size(Bits(units[position : position + min(size, 512)])))
        frames += kind in (3, 6, 7)  # a frame, or its header
        position += size
    raise ValueError("too many units")


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for n in range(8):
        value |= (data[position + n] & 127) << 7 * n
        if data[position + n] < 128:
            return value, position + n + 1
    raise ValueError("a size of more than eight bytes")


def _size(bits: Bits) -> int:
    """Largest width times height that a sequence header allows (AV1 specification, 5.5.1)."""
    bits(4)
    if bits(1):  # reduced_still_picture_header
        bits(5)
    else:
        _skip_operating_points(bits)
    wide, high = bits(4) + 1, bits(4) + 1
    return (bits(wide) + 1) * (bits(high) + 1)


def _skip_operating_points(bits: Bits) -> None:
    model = delay = 0
    if bits(1):  # timing_info
        bits(64)
        if bits(1):
            zeros = 0
            while not bits(1) and zeros < 32:
                zeros += 1
            bits(zeros if zeros < 32 else 0)
        model = bits(1)
        if model:
            delay = bits(5) + 1
            bits(42)
    initial = bits(1)
    for _ in range(bits(5) + 1):
        bits(12)
        if bits(5) > 7:
            bits(1)
        if model and bits(1):
            bits(2 * delay + 1)
        if initial and bits(1):
            bits(4)
