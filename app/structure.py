"""Bounds on a file's structure, checked before a decoder sees it.

Decoders take minutes over, or gigabytes for, small files made to that end: thousands of scans, millions of segments.
Each walk here ends at its bound, and where a file is merely damaged it leaves the verdict to the decoder.
"""

from __future__ import annotations

import re
import struct

from app.errors import Refusal

# jpegtran's progressive script has 10 scans, mozjpeg's at most 16; each costs a pass over all coefficients.
MAX_SCANS = 32
MAX_SCAN_PIXELS = 600_000_000  # scans times pixels: about a second of one core
MAX_PARSED_BYTES = 1_000_000  # of EXIF data and tables, which Pillow takes apart in Python: 50 to 90 ns a byte
MAX_SEGMENTS = 2_000  # a 64 MB profile split over APP2 segments would have 1,000
MAX_CHUNKS = 25_000  # a 20 MB PNG written in the usual 8 KB pieces has 2,500, an animation of 10,000 frames 20,000
MAX_RLE_PIXELS = 3_000_000  # Pillow unpacks run-length BMPs in Python, 0.3 µs a run
BYTES_PER_BLOCK = 64  # on average, of a GIF's data blocks; encoders fill them to 255

# Start-of-frame markers: huffman-coded ones, and the arithmetic-coded ones that no camera writes and that can make a
# full-size picture, scan after scan, out of no data at all.
FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7))
QUANTISATION, APP1 = 0xDB, 0xE1
ARITHMETIC = frozenset((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
# FF begins a segment unless 00 (a plain FF byte), FF (fill), 01 or D0 to D8 (markers without a segment) follow.
# One FF only: `\xff+` would take quadratic time over a long run of them.
MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)


def check(data: bytes, kind: str) -> None:
    """Refuse a photo of that format whose structure alone would cost more than any honest one's. Raises Refusal."""
    walks = {"JPEG": _check_jpeg, "PNG": _check_png, "GIF": _check_gif, "BMP": _check_bmp}
    if kind in walks:
        try:
            walks[kind](data)
        except (struct.error, IndexError):
            return  # it ends too early: the decoder will say so


def _absurd(kind: str, what: str) -> Refusal:
    return Refusal("broken_image", f"This {kind} file {what}, which no camera or editor writes.")


def _check_jpeg(data: bytes) -> None:
    _check_jpeg_head(data)
    segments = scans = pixels = parsed = 0
    position = 2
    while (found := MARKER.search(data, position)) is not None:
        marker, position = data[found.end() - 1], found.end()
        if marker == 0xD9:
            return
        segments += 1
        scans += marker == 0xDA
        if marker in ARITHMETIC:
            raise _absurd("JPEG", "uses arithmetic coding")
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            pixels = width * height
        length = struct.unpack_from(">H", data, position)[0]
        parsed += length * _is_parsed(marker, data[position + 2 : position + 6])
        _check_sums(segments, scans, pixels, parsed)
        position += length


def _is_parsed(marker: int, begin: bytes) -> bool:
    return marker == QUANTISATION or (marker == APP1 and begin == b"Exif")


def _check_sums(segments: int, scans: int, pixels: int, parsed: int) -> None:
    if scans > MAX_SCANS or segments > MAX_SEGMENTS:
        raise _absurd("JPEG", f"has more than {MAX_SCANS} scans or {MAX_SEGMENTS} segments")
    if scans * pixels > MAX_SCAN_PIXELS:
        raise Refusal("too_many_pixels", f"This JPEG file has {scans} scans of {pixels / 1e6:.0f} megapixels each.")
    if parsed > MAX_PARSED_BYTES:
        raise _absurd("JPEG", "has more than a megabyte of EXIF data and tables")


def _check_jpeg_head(data: bytes) -> None:
    """Bound what Pillow skips byte by byte before the first scan: fill bytes, stuffing, markers without a segment."""
    position = 0
    for _ in range(2 * MAX_SEGMENTS):
        if data[position] != 0xFF or data[position + 1] == 0xDA:
            return
        if data[position + 1] in (0x00, 0x01, 0xFF, *range(0xD0, 0xDA)):
            position += 1 if data[position + 1] == 0xFF else 2
        else:
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    raise _absurd("JPEG", "has thousands of segments and fill bytes before its first scan")


def coefficient_bytes(data: bytes) -> int:
    """How much a decoder must hold of a JPEG until its last scan is read: two bytes for each sample of each component
    if its scans refine one another, or if the first one has not all components; else 0. For files that `check` let
    pass."""
    position, pixels, components, progressive = 2, 0, b"", False
    while (found := MARKER.search(data, position)) is not None:
        marker, position = data[found.end() - 1], found.end()
        if marker == 0xDA:
            whole = data[position + 2] == len(components) // 3
            return 0 if whole and not progressive else 2 * pixels * _samples(components) // 1000
        if marker in FRAMES:
            progressive = marker not in (0xC0, 0xC1)
            height, width = struct.unpack_from(">HH", data, position + 3)
            pixels = width * height
            components = data[position + 8 : position + 8 + 3 * data[position + 7]]
        position += struct.unpack_from(">H", data, position)[0]
    return 0


def _samples(components: bytes) -> int:
    """Samples of a thousand pixels, all components together, by their sampling factors."""
    factors = [(each >> 4) * (each & 15) for each in components[1::3]]
    return sum(1000 * factor // max(factors) for factor in factors)


def _check_png(data: bytes) -> None:
    position = 8
    for _ in range(MAX_CHUNKS):
        if data[position + 4 : position + 8] in (b"IEND", b""):
            return
        position += 12 + struct.unpack_from(">I", data, position)[0]
    raise _absurd("PNG", f"has more than {MAX_CHUNKS} chunks")


def _check_gif(data: bytes) -> None:
    """Bound the blocks before the second picture, which is as far as anything reads."""
    blocks, pictures = 1_000 + len(data) // BYTES_PER_BLOCK, 0
    position = 13 + _colour_table(data[10])
    while pictures < 2:
        if data[position] == 0x21:  # an extension: a label, then blocks
            position += 2
        elif data[position] == 0x2C:  # a picture: 9 bytes, perhaps a colour table, the code size, then blocks
            pictures += 1
            position += 11 + _colour_table(data[position + 9])
        else:
            return
        while (size := data[position]) and blocks:
            position, blocks = position + 1 + size, blocks - 1
        position, blocks = position + 1, blocks - 1
        if blocks <= 0:
            raise _absurd("GIF", "is made of thousands of tiny blocks")


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _check_bmp(data: bytes) -> None:
    header, width, height = struct.unpack_from("<Iii", data, 14)
    compression = struct.unpack_from("<I", data, 30)[0] if header >= 40 else 0
    if compression in (1, 2) and abs(width * height) > MAX_RLE_PIXELS:
        limit = MAX_RLE_PIXELS / 1e6
        raise Refusal("too_many_pixels", f"Run-length compressed BMP photos are read up to {limit:g} megapixels.")
