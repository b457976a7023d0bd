"""Which image formats are read, told from the first bytes, and how large a photo of each may be."""

from __future__ import annotations

import struct

from PIL import AvifImagePlugin, Image

try:
    from pillow_heif import register_heif_opener
except ImportError:  # the optional extra `heic`; its wheel bundles GPL code, so it is not in the container
    HEIC = False
else:
    register_heif_opener(thumbnails=False)
    HEIC = True

# Our own limits are checked on the header, for every format, before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# A photo is decoded on the core that it was given; more threads would take others' and need more memory.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# So that the worst photo takes no more than 300 MB and a second of one core (`python -m bench.worst`). Bytes a pixel:
# WebP 17 (two canvases, and two copies on the way), AVIF 17 (12 bits, alpha), PNG 10 (grey with alpha), GIF 7, HEIF 10.
# Nanoseconds a pixel: PNG 36 (16 bits with alpha), AVIF 32 and 70 more for each byte of the file. HEIF, which only an
# extra reads, takes 1.1 s at its limit, and 2.5 s with alpha. A JPEG is scaled down as it is decoded: MAX_HELD_BYTES.
MOST_PIXELS = {"WEBP": 16_000_000, "AVIF": 12_500_000, "HEIF": 25_000_000, "PNG": 25_000_000, "GIF": 25_000_000}
MOST_BYTES = {"AVIF": 8_000_000}
# Of a JPEG whose coefficients are all kept until the last scan: those, and the pixels that come of them.
MAX_HELD_BYTES = 256_000_000


def sniff(data: bytes) -> str | None:
    """Name the image format from the first bytes, as Pillow calls it; None if it is none that we read."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and data[14:18] in (struct.pack("<I", n) for n in (12, 40, 52, 56, 64, 108, 124)):
        return "BMP"
    if data[4:8] == b"ftyp":
        return _sniff_heif(data)
    return None


def _sniff_heif(data: bytes) -> str | None:
    brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIF" if any(brand in brands for brand in (b"heic", b"heix", b"mif1", b"hevc", b"msf1")) else None
