"""Which image formats are read, told from the first bytes."""

from __future__ import annotations

import struct

try:
    from pillow_heif import register_heif_opener
except ImportError:  # the optional extra `heic`; its wheel bundles GPL code, so it is not in the container
    HEIC = False
else:
    register_heif_opener(thumbnails=False)
    HEIC = True


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
