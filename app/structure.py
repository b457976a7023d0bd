"""Bounds on a file's structure, checked before a decoder sees it.

Decoders take minutes over, or gigabytes for, small files made to that end: thousands of scans, millions of segments.
Each walk here ends at its bound, and where a file is merely damaged it leaves the verdict to the decoder.
"""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass

from app.avif import decoded_pixels
from app.errors import Refusal

# The worst photo that is read takes less than 300 MB and a second of a core (`python -m bench.worst`); some is spared.
MAX_BYTES = 270e6
MAX_NS = 0.85e9
MAX_SIDE = 100_000  # Pillow keeps a pointer of 8 bytes for each row, and two rows of a PNG beside the picture

# jpegtran's progressive script has 10 scans, mozjpeg's at most 16; each costs a pass over all coefficients.
MAX_SCANS = 32
MAX_SCAN_PIXELS = 600_000_000  # scans times pixels: about a second of one core
MAX_SEGMENTS = 2_000  # a 64 MB profile split over APP2 segments would have 1,000
MAX_CHUNKS = 25_000  # a 20 MB PNG written in the usual 8 KB pieces has 2,500, an animation of 10,000 frames 20,000
MAX_RLE_PIXELS = 2_000_000  # Pillow unpacks run-length BMPs in Python, a microsecond a run
BYTES_PER_BLOCK = 64  # on average, of a GIF's data blocks; encoders fill them to 255
MAX_COUNTED_BLOCKS = 20_000  # to count a GIF's pictures: 5 MB of full ones

MAX_TAKEN_APART = 1_000_000  # bytes of a JPEG's head that Pillow takes apart: EXIF, tables, Photoshop's blocks
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types

# Start-of-frame markers: huffman-coded ones, and the arithmetic-coded ones that no camera writes and that can make a
# full-size picture, scan after scan, out of no data at all.
FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7))
ARITHMETIC = frozenset((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
# FF begins a segment unless 00 (a plain FF byte), FF (fill), 01 or D0 to D8 (markers without a segment) follow.
# One FF only: `\xff+` would take quadratic time over a long run of them.
MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)


@dataclass(frozen=True)
class Cost:
    """What decoding and scaling take at worst: bytes at the peak and nanoseconds for each pixel, and nanoseconds for
    each byte of the file. Measured with bench.worst; of JPEG `bytes` is what is held beside the picture."""

    what: str
    bytes: float
    ns: float
    ns_per_file_byte: float = 0

    def limit(self, file_bytes: int, picture: float = 0) -> float:
        """Pixels that may be decoded, where the picture itself takes `picture` bytes a pixel."""
        ns = MAX_NS - self.ns_per_file_byte * file_bytes
        return max(0.0, min(MAX_BYTES / (self.bytes + picture), ns / self.ns))


# WebP: libwebp's canvas for animations, twice, a copy of it and the picture, 4 bytes each. AVIF: with alpha and film
# grain, 12 bits and no subsampling. GIF: indices, what Pillow prepares for disposal, and the picture.
GIF = Cost("GIF", 6, 22)
AVIF = Cost("AVIF", 21.5, 20, 65)
COSTS = {
    "GIF": GIF,
    "AVIF": AVIF,
    "BMP": Cost("BMP", 5, 10),
    "WEBP": Cost("WebP", 17, 50),
    # 46 ns in truth, 100 with alpha; but telephones make photos of 24 megapixels, and only an extra reads them.
    "HEIF": Cost("HEIC", 10, 34),
}


def check(data: bytes, kind: str) -> Cost:
    """Refuse a photo of that format whose structure alone would cost more than any honest one's. Raises Refusal.

    Returns what its pixels will cost; of a file that ends too early, some cost: the decoder will say so.
    """
    walks = {"JPEG": _check_jpeg, "PNG": _check_png, "GIF": _check_gif, "BMP": _check_bmp, "WEBP": _check_webp}
    if kind == "AVIF":
        return _check_avif(data)
    try:
        found = walks[kind](data) if kind in walks else None
    except (struct.error, IndexError):
        found = None
    return found or COSTS.get(kind, AVIF)


def check_size(size: tuple[int, int], limit: float, what: str = "") -> None:
    """Refuse more pixels than `limit`, or sides past MAX_SIDE. Raises Refusal."""
    width, height = size
    says = f"This photo says it is {width} × {height} pixels;"
    if width * height > limit:
        whose = f" for such {what} photos" if what else ""
        raise Refusal("too_many_pixels", f"{says} the limit{whose} is {int(limit / 1e5) / 10:g} megapixels.")
    if max(size) > MAX_SIDE:
        raise Refusal("too_many_pixels", f"{says} the limit is {MAX_SIDE} pixels a side.")


def _absurd(kind: str, what: str) -> Refusal:
    return Refusal("broken_image", f"This {kind} file {what}, which no camera or editor writes.")


def _check_jpeg(data: bytes) -> Cost:
    _check_jpeg_head(data)
    segments = scans = pixels = 0
    shares: dict[int, float] = {}
    progressive = buffered = False
    position = 2
    while (found := MARKER.search(data, position)) is not None:
        marker, position = data[found.end() - 1], found.end()
        if marker == 0xD9:
            break
        segments += 1
        scans += marker == 0xDA
        if marker in ARITHMETIC:
            raise _absurd("JPEG", "uses arithmetic coding")
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            pixels, shares = max(pixels, width * height), _shares(data, position)
            progressive = progressive or marker not in (0xC0, 0xC1)
        if marker == 0xDA:  # several scans, or one of some colours only: libjpeg holds all coefficients, 2 bytes each
            buffered = buffered or progressive or data[position + 2] < len(shares)
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            raise _absurd("JPEG", f"has more than {MAX_SCANS} scans or {MAX_SEGMENTS} segments")
        if scans * pixels > MAX_SCAN_PIXELS:
            raise Refusal("too_many_pixels", f"This JPEG file has {scans} scans of {pixels / 1e6:.0f} megapixels each.")
        position += struct.unpack_from(">H", data, position)[0]
    return Cost("progressive JPEG", 2 * sum(shares.values()), 15) if buffered else Cost("JPEG", 0, 15)


def _shares(data: bytes, position: int) -> dict[int, float]:
    """Of each colour in a frame: its samples, as a share of the photo's pixels."""
    factors = [data[position + 9 + 3 * n] for n in range(data[position + 7])]
    areas = [(factor >> 4) * (factor & 15) for factor in factors]
    largest = max((f >> 4 for f in factors), default=1) * max((f & 15 for f in factors), default=1)
    return {n: area / max(1, largest) for n, area in enumerate(areas)}


def _check_jpeg_head(data: bytes) -> None:
    """Bound what Pillow goes through before the first scan: fill bytes, stuffing, markers without a segment, and the
    segments that it takes apart, some of them in quadratic time."""
    position = taken_apart = 0
    for _ in range(2 * MAX_SEGMENTS):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xDA:
            return
        if marker in (0x00, 0x01, 0xFF, *range(0xD0, 0xDA)):
            position += 1 if marker == 0xFF else 2
            continue
        size = struct.unpack_from(">H", data, position + 2)[0]
        if marker in (0xDB, 0xED) or (marker == 0xE1 and data[position + 4 : position + 8] == b"Exif"):
            taken_apart += size
        if taken_apart > MAX_TAKEN_APART:
            raise _absurd("JPEG", "has more than a megabyte of EXIF data and tables")
        position += 2 + size
    raise _absurd("JPEG", "has thousands of segments and fill bytes before its first scan")


def _check_png(data: bytes) -> Cost:
    position, head, transparent = 8, (8, 6), False
    for _ in range(MAX_CHUNKS):
        size, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IHDR":
            head = data[position + 16], data[position + 17]
        transparent = transparent or kind == b"tRNS"
        if kind == b"IEND" or position + 12 + size >= len(data):
            return _png_cost(*head, transparent)
        position += 12 + size
    raise _absurd("PNG", f"has more than {MAX_CHUNKS} chunks")


def _png_cost(depth: int, colour: int, transparent: bool) -> Cost:
    """Inflating and unfiltering go by the bytes of the rows; transparency by the pixels."""
    raw = CHANNELS.get(colour, 4) * max(depth, 8) / 8
    transparent = transparent or colour in (4, 6)
    what = ("transparent " if transparent else "") + ("16-bit PNG" if depth == 16 else "PNG")
    return Cost(what, 5, 4.4 * raw + (17.5 if transparent else 3))


def _check_webp(data: bytes) -> None:
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        size = struct.unpack_from("<I", data, position + 4)[0]
        position += 8 + size + (size & 1)
    raise _absurd("WebP", f"has more than {MAX_CHUNKS} chunks")


def _check_avif(data: bytes) -> Cost:
    """What is not understood here is refused, as what is decoded would not be bounded otherwise."""
    try:
        largest, together = decoded_pixels(data)
    except (ValueError, IndexError, struct.error) as error:
        raise Refusal("broken_image", "This AVIF file is damaged and cannot be read.", detail=str(error)) from error
    limit = AVIF.limit(len(data))
    if largest > limit or together > 2.5 * limit:  # colours, alpha and a gain map of half its size
        raise Refusal(
            "too_many_pixels",
            f"This AVIF file holds {together / 1e6:.1f} megapixels of frames; "
            f"the limit for such AVIF photos is {int(limit / 1e5) / 10:g} megapixels.",
        )
    return AVIF


def _check_gif(data: bytes) -> None:
    """Bound the blocks before the second picture, which is as far as anything reads, and the size of the first, which
    Pillow fills while it opens the file."""
    blocks, pictures = 1_000 + len(data) // BYTES_PER_BLOCK, 0
    position = 13 + _colour_table(data[10])
    while pictures < 2:
        if data[position] == 0x21:  # an extension: a label, then blocks
            position += 2
        elif data[position] == 0x2C:  # a picture: 9 bytes, perhaps a colour table, the code size, then blocks
            pictures += 1
            left, top, width, height = struct.unpack_from("<HHHH", data, position + 1)
            if pictures == 1:
                check_size((left + width, top + height), GIF.limit(len(data)), "GIF")
            position += 11 + _colour_table(data[position + 9])
        else:
            return
        while (size := data[position]) and blocks:
            position, blocks = position + 1 + size, blocks - 1
        position, blocks = position + 1, blocks - 1
        if blocks <= 0:
            raise _absurd("GIF", "is made of thousands of tiny blocks")


def gif_frames(data: bytes) -> int | None:
    """How many pictures a GIF holds; None if it is damaged, or too large to be walked through in 5 ms."""
    pictures, position = 0, 13 + _colour_table(data[10])
    left = MAX_COUNTED_BLOCKS
    with contextlib.suppress(IndexError):
        while left > 0 and (kind := data[position]) in (0x21, 0x2C):
            pictures += kind == 0x2C
            position += 2 if kind == 0x21 else 11 + _colour_table(data[position + 9])
            while (size := data[position]) and left > 0:
                position, left = position + 1 + size, left - 1
            position, left = position + 1, left - 1
        if data[position] == 0x3B and left > 0:
            return pictures
    return None


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _check_bmp(data: bytes) -> None:
    header, width, height = struct.unpack_from("<Iii", data, 14)
    compression = struct.unpack_from("<I", data, 30)[0] if header >= 40 else 0
    if compression in (1, 2) and abs(width * height) > MAX_RLE_PIXELS:
        limit = MAX_RLE_PIXELS / 1e6
        raise Refusal("too_many_pixels", f"Run-length compressed BMP photos are read up to {limit:g} megapixels.")
