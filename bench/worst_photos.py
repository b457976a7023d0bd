"""The worst photos of each kind, made with Pillow, or byte by byte where Pillow cannot write them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file of that kind."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def grain(width: int, height: int, mode: str = "RGB", strength: float = 40) -> Image.Image:
    """A picture of noise: a tile of it, repeated, as noise takes long to make."""
    random = np.random.default_rng(0)
    bands = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    tile = random.normal(128, strength, (512, 512, bands)).clip(0, 255).astype(np.uint8)
    picture = np.tile(tile, (height // 512 + 1, width // 512 + 1, 1))[:height, :width]
    return Image.fromarray(picture[..., 0] if mode == "L" else picture, mode)


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, colour: int = 2, depth: int = 8, noise: int = 0, interlace: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG whose rows are all filtered by Paeth, its slowest; the first `noise` bytes are random."""
    row = 1 + (width * CHANNELS[colour] * depth + 7) // 8
    rows = height if not interlace else 2 * height + 8
    pack, random = zlib.compressobj(1), np.random.default_rng(0)
    step = max(1, 4_000_000 // row)
    parts = []
    for top in range(0, rows, step):
        block = np.zeros((min(step, rows - top), row), np.uint8)
        if noise > 0:
            block[:] = random.integers(0, 256, block.shape, np.uint8)
            noise -= block.size
        if not interlace:
            block[:, 0] = 4
        elif noise > -block.size:
            block[:] = 4
        parts.append(pack.compress(block.tobytes()))
    data = b"".join([*parts, pack.flush()])
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND")


def jpeg(width: int, height: int, parts: int = 3, scans: int = 2, sampling: int = 0x11, mark: int = 0xC2) -> bytes:
    """A flat progressive JPEG of `parts` colours in `scans` scans at least one, its blocks a bit each or less.

    The first scan holds the first coefficients, the others (each of one colour) refine: every block is looked at.
    """
    factors = bytes(v for n in range(parts) for v in (n + 1, sampling if n == 0 else 0x11, 0))
    frame = struct.pack(">HBHHB", 8 + 3 * parts, 8, height, width, parts) + factors
    table = b"\xff\xc4\x00\x14\x00\x01" + bytes(15) + b"\x00"
    runs = b"\xff\xc4\x00\x14\x10\x01" + bytes(15) + b"\xe0"
    blocks = (width // 8 + 1) * (height // 8 + 1) * parts
    chosen = bytes(v for n in range(parts) for v in (n + 1, 0))
    first = b"\xff\xda" + struct.pack(">HB", 6 + 2 * parts, parts) + chosen + b"\x00\x00\x00" + bytes(blocks // 8 + 64)
    many = (blocks // 16384 + 2) * b"\x7e\x7c"  # 0 and a long run, so that no byte is FF
    later = b"".join(
        b"\xff\xda\x00\x08\x01" + bytes((n % parts + 1, 0, 1, 63, 0x01 if n < parts else 0x10)) + many
        for n in range(scans - 1)
    )
    tables = b"\xff\xdb\x00\x43\x00" + b"\x01" * 64
    return b"\xff\xd8" + tables + b"\xff" + bytes((mark,)) + frame + table + runs + first + later + b"\xff\xd9"


def animated_webp(width: int, height: int) -> bytes:
    """A few bytes whose canvas is large and whose frames are small."""
    frames = [Image.new("RGBA", (16, 16), c) for c in ("red", "blue")]
    data = bytearray(save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def gif(width: int, height: int) -> bytes:
    """Noise of two colours with transparency, to be disposed of (which Pillow prepares for while it opens the file)."""
    picture = Image.fromarray((np.asarray(grain(width, height, "L")) > 128).astype(np.uint8), "P")
    picture.putpalette([10, 20, 30, 200, 210, 220])
    return save(picture, "GIF", transparency=0, disposal=2)


def bmp_runs(width: int, height: int) -> bytes:
    """A bitmap of runs one pixel long."""
    head = struct.pack("<IHHIIiiHHIIIIII", 0, 0, 0, 1078, 40, width, height, 1, 8, 1, 0, 0, 0, 0, 0)
    return b"BM" + head + bytes(range(256)) * 4 + b"\x01\x05" * (width * height) + b"\0\1"


def lying_avif(side: int, says: int) -> bytes:
    """AV1 data of one size in a container that says another."""
    data = save(Image.new("RGB", (side, side), (9, 99, 9)), "AVIF", speed=10)
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", says, says) + data[place + 8 :]


def disposed_gif(side: int = 65535) -> bytes:
    """43 bytes; Pillow would fill 4.3 GB while it opens them."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(range(6)) + b"\x21\xf9\x04\x09\0\0\0\0"
    return head + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\0;"


def segments(marker: int, content: bytes, total: int) -> bytes:
    """A small JPEG with `total` bytes of such segments before its picture."""
    one = b"\xff" + bytes((marker,)) + struct.pack(">H", len(content) + 2) + content
    return b"\xff\xd8" + one * (total // len(one)) + save(grain(64, 64), "JPEG")[2:]


def texts(number: int) -> bytes:
    """A PNG with texts of a million characters, 4 bytes each in Python, in a few hundred bytes each."""
    text = zlib.compress(("a" * 1_000_000 + "\U0001f43b").encode(), 9)
    return png(5000, 5000, extra=b"".join(chunk(b"iTXt", b"k%d\0\1\0\0\0" % n + text) for n in range(number)))


def overlapping_exif(entries: int) -> bytes:
    """EXIF of thousands of values that each claim the whole of it, all of them other than they say."""
    directory = b"II*\0\x08\0\0\0" + struct.pack("<H", entries)
    directory += b"".join(struct.pack("<HHII", n, 7, 40_000 + n, 30_000) for n in range(1000, 1000 + entries))
    return segments(0xE1, b"Exif\0\0" + directory + bytes(4), len(directory) + 14)


FLAT_WEBP = {"lossless": True, "quality": 0, "method": 0}
TRANSPARENT = chunk(b"tRNS", bytes(6))
KINDS: dict[str, Callable[[], bytes]] = {
    "JPEG, 48 MP, from a phone": lambda: save(grain(8000, 6000), "JPEG", quality=75),
    "JPEG, 65500 × 763": lambda: save(grain(65500, 763), "JPEG", quality=75),
    "JPEG, CMYK, 44000 × 700": lambda: save(grain(44000, 700, "CMYK", 20), "JPEG", quality=60),
    "JPEG, progressive 4:2:0, 48 MP": lambda: save(grain(8000, 6000), "JPEG", quality=70, progressive=True),
    "JPEG, progressive 4:4:4, 43 MP": lambda: jpeg(6560, 6560),
    "JPEG, progressive CMYK, 33 MP": lambda: jpeg(5700, 5700, 4),
    "JPEG, progressive, 35000 × 763": lambda: jpeg(35000, 763),
    "JPEG, one colour a scan, 43 MP": lambda: jpeg(6560, 6560, 3, 12),
    "JPEG, 32 scans, 18 MP": lambda: jpeg(4300, 4300, 3, 32),
    "PNG, RGB, 50 MP": lambda: png(7071, 7071, noise=19_000_000),
    "PNG, RGB interlaced, 50 MP": lambda: png(7071, 7071, interlace=1),
    "PNG, RGB 16-bit, 28 MP": lambda: png(5300, 5300, 2, 16, noise=19_000_000),
    "PNG, RGBA, 24 MP": lambda: png(4900, 4900, 6, noise=19_000_000),
    "PNG, RGBA 16-bit, 16 MP": lambda: png(4000, 4000, 6, 16, noise=19_000_000),
    "PNG, RGB and a transparent colour, 27 MP": lambda: png(5200, 5200, extra=TRANSPARENT),
    "PNG, L and a transparent colour, 38 MP": lambda: png(6200, 6200, 0, extra=chunk(b"tRNS", bytes(2))),
    "PNG, LA, 32 MP": lambda: png(5680, 5680, 4, noise=19_000_000),
    "PNG, L 16-bit, 50 MP": lambda: png(7071, 7071, 0, 16, noise=19_000_000),
    "PNG, 100000 × 500": lambda: png(100_000, 500),
    "PNG, 500 × 100000": lambda: png(500, 100_000),
    "PNG, texts": lambda: texts(20),
    "WebP, 15.8 MP, grain": lambda: save(grain(3980, 3980), "WEBP", quality=85, method=0),
    "WebP, 15.8 MP, lossless": lambda: save(grain(3980, 3980, strength=8), "WEBP", **FLAT_WEBP),
    "WebP, 15.8 MP, canvas": lambda: animated_webp(3980, 3980),
    "AVIF, 12 MP, grain": lambda: save(grain(4000, 3000), "AVIF", quality=75, speed=10),
    "AVIF, 8 MP, 4:4:4 with alpha": lambda: save(
        grain(3260, 2450, "RGBA"), "AVIF", quality=65, speed=10, subsampling="4:4:4"
    ),
    "AVIF, 12 MP, film grain": lambda: save(
        grain(4000, 3000, "RGB", 4), "AVIF", quality=50, speed=10, advanced={"film-grain-test": "1"}
    ),
    "AVIF, 16384², says 64²": lambda: lying_avif(16384, 64),
    "GIF, 38 MP": lambda: gif(6180, 6180),
    "GIF, 65535², 43 bytes": disposed_gif,
    "BMP, runs, 2 MP": lambda: bmp_runs(1414, 1414),
    "JPEG, EXIF that lies": lambda: overlapping_exif(5000),
    "JPEG, 20 MB of EXIF": lambda: segments(0xE1, b"Exif\0\0" + bytes(10_000), 20_000_000),
    "JPEG, 20 MB of tables": lambda: segments(0xDB, (b"\0" + b"\1" * 64) * 1000, 20_000_000),
    "JPEG, 20 MB of Photoshop's blocks": lambda: segments(
        0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000, 20_000_000
    ),
}
