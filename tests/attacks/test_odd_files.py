"""Files made to be dear, odd or something else than they seem, through the real decoder in a process of its own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache

import pytest

from bench.worst import BAR_MB, BAR_S, observe_alone
from bench.worst_photos import chunk, grain, save

MIB = 2**20
BOMB = 256 * MIB


def png_with(*chunks: bytes) -> bytes:
    data = save(grain(64, 64), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


@cache
def bomb(size: int) -> bytes:
    """So many zero bytes, deflated; a piece at a time, as they would not fit otherwise."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


def ftyp(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"miaf"


DEAR: dict[str, Callable[[], bytes]] = {
    "zTXt of 256 MB": lambda: png_with(chunk(b"zTXt", b"a\0\0" + bomb(BOMB))),
    "iTXt of 256 MB": lambda: png_with(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb(BOMB))),
    "a thousand zTXt of 1 MB": lambda: png_with(*[chunk(b"zTXt", b"a\0\0" + bomb(MIB))] * 1000),
    "iCCP of 256 MB": lambda: png_with(chunk(b"iCCP", b"a\0\0" + bomb(BOMB))),
    "IDAT of 256 MB for 64 × 64": lambda: png_with()[:33]
    + chunk(b"IDAT", bomb(BOMB))
    + chunk(b"IEND"),
    "JPEG with 12 MB of profile": lambda: save(grain(64, 64), "JPEG", icc_profile=bytes(12_000_000)),
    "JPEG with a large comment": lambda: save(grain(64, 64), "JPEG", comment=bytes(65_000)),
    "JPEG without a line": lambda: save(grain(64, 64), "JPEG").replace(struct.pack(">HH", 64, 64), bytes(4), 1),
    "PNG without a column": lambda: b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 9, 8, 2, 0, 0, 0))
    + chunk(b"IEND"),
    "GIF of no size": lambda: b"GIF89a" + bytes(7) + b",\0\0\0\0\0\0\0\0\0\x02\0;",
    "BMP upside down, of 2³¹ lines": lambda: b"BM"
    + struct.pack("<IHHIIiiHHIIIIII", 0, 0, 0, 54, 40, 1, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    "WebP of 2¹⁴ × 2¹⁴ in 30 bytes": lambda: b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\x3f\0\xff\x3f\0",
    "AVIF with nothing in it": lambda: ftyp(b"avif"),
    "AVIF with boxes in boxes": lambda: ftyp(b"avif")
    + struct.pack(">I4sI", 6 * MIB + 12, b"meta", 0)
    + 768 * 1024 * b"\0\0\0\x08meta",
    "SVG, gzipped": lambda: zlib.compress(b"<svg/>"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEAR)
def test_a_dear_or_odd_file_keeps_within_bounds(name: str) -> None:
    found = observe_alone(DEAR[name]())
    assert found.verdict in {"answered", "broken_image", "too_many_pixels", "not_an_image"}
    assert found.grown_mb < BAR_MB
    assert found.cpu_s < 5 * BAR_S
