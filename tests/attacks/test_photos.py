"""Files made to be dear, odd or something else than they seem, through the real decoder in a process of its own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO

import pytest
from PIL import Image

from app.errors import Refusal
from app.formats import sniff
from app.image import read_photo
from bench.worst import encode, measure, rough
from tests.test_structure import chunk

MAX_MB = 300
HANG_S = 5  # of CPU; the bar is one
OURS = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "AVIF"}
MIB = 2**20
BOMB = 256 * MIB


def other_formats() -> list[str]:
    Image.init()
    return sorted(Image.SAVE.keys() - OURS)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", other_formats())
def test_every_other_format_that_pillow_writes_is_none_of_ours(kind: str) -> None:
    picture = rough((64, 64))
    for mode in ("RGB", "L", "1", "F"):
        out = BytesIO()
        try:
            picture.convert(mode).save(out, kind)
        except (OSError, ValueError, KeyError, ImportError, AttributeError):
            continue  # not in this mode, or not in this build
        assert sniff(out.getvalue()) is None
        with pytest.raises(Refusal) as caught:
            read_photo(out.getvalue(), enough=512)
        assert (caught.value.code, caught.value.status) == ("not_an_image", 415)


def png_with(*chunks: bytes) -> bytes:
    data = encode(rough((64, 64)), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


@cache
def bomb(size: int) -> bytes:
    """So many zero bytes, deflated; a piece at a time, as they would not fit otherwise."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


def ftyp(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"miaf"


def frames(kind: str, count: int, **options: object) -> bytes:
    """An animation of small frames, no two neighbours alike."""
    shown = [Image.new("RGB", (16, 16), (number % 256, 0, 255 * (number % 2))) for number in range(count)]
    return encode(shown[0], kind, save_all=True, append_images=shown[1:], **options)


DEAR: dict[str, Callable[[], bytes]] = {
    "zTXt of 256 MB": lambda: png_with(chunk(b"zTXt", b"a\0\0" + bomb(BOMB))),
    "iTXt of 256 MB": lambda: png_with(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb(BOMB))),
    "a thousand zTXt of 1 MB": lambda: png_with(*[chunk(b"zTXt", b"a\0\0" + bomb(MIB))] * 1000),
    "iCCP of 256 MB": lambda: png_with(chunk(b"iCCP", b"a\0\0" + bomb(BOMB))),
    "IDAT of 256 MB for 64 × 64": lambda: png_with()[:33]
    + chunk(b"IDAT", bomb(BOMB))
    + chunk(b"IEND"),
    "JPEG with 12 MB of profile": lambda: encode(rough((64, 64)), "JPEG", icc_profile=bytes(12_000_000)),
    "JPEG with a large comment": lambda: encode(rough((64, 64)), "JPEG", comment=bytes(65_000)),
    "GIF of 10,000 frames": lambda: frames("GIF", 10_000),
    "APNG of 10,000 frames": lambda: frames("PNG", 10_000),
    "WebP of 2,000 frames": lambda: frames("WEBP", 2_000, method=0),
    "AVIF of 60 frames": lambda: frames("AVIF", 60, speed=10),
    "JPEG without a line": lambda: encode(rough((64, 64)), "JPEG").replace(struct.pack(">HH", 64, 64), bytes(4), 1),
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
    found = measure(DEAR[name]())
    assert "×" in found["answer"] or found["answer"] in {"broken_image", "too_many_pixels", "not_an_image"}
    assert found["mb"] <= MAX_MB
    assert found["cpu_s"] <= HANG_S


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_of_an_animation_the_first_frame_is_read(kind: str) -> None:
    found = read_photo(frames(kind, 5), enough=512)
    assert [note["code"] for note in found.notes] == ["first_frame"]
    assert found.stored.convert("RGB").getpixel((8, 8))[2] < 40  # the second one is blue
