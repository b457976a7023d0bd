"""Which photos look alike: a perceptual fingerprint of each, and groups of fingerprints that hardly differ."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from app.errors import Refusal
from app.image import Photo, read_photo, resample
from training.parallel import each

# Bits of 64 in which the fingerprints of two copies of one photo may differ.
DISTANCE = 8
SIDE = 32  # imagehash.phash's own: 8 × 8 frequencies of a 32 × 32 picture
ENOUGH = 64  # pixels a side that a JPEG is decoded to at least, to be scaled down to SIDE
# In grey levels of 255: below it a picture's frequencies are rounding and JPEG noise.
FLAT = 2.0
BLOCK = 256  # fingerprints compared with all others at a time: 256 × 16,000 × 8 bytes are 33 MB

Indices = np.ndarray[Any, np.dtype[np.int64]]


def fingerprint(photo: Photo) -> int:
    """64 bits that hardly change when a photo is scaled, re-encoded or slightly cropped; its mirror image is another.

    imagehash.phash of the whole upright photo squeezed to a square. A flat picture has no frequencies to compare, so
    its bits are a checksum: only equal ones match.
    """
    small = resample(photo, (0, 0, *photo.stored_size), (SIDE, SIDE)).convert("L")
    pixels = np.asarray(small)
    if pixels.std() < FLAT:
        return int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:8], "big")
    return int(str(imagehash.phash(small)), 16)


def fingerprints(data: Path, files: Sequence[str], advance: Callable[[], None]) -> list[int | None]:
    """The fingerprint of each file below DATA, None where it is no photo that can be read; `advance` after each."""

    def one(file: str) -> int | None:
        try:
            return fingerprint(read_photo((data / file).read_bytes(), enough=ENOUGH))
        except (Refusal, OSError):
            return None

    return each(one, files, advance)


def groups(fingerprints: Sequence[int], within: int = DISTANCE) -> list[list[int]]:
    """Groups of two and more indices, linked by pairs that differ in at most `within` bits; all in ascending order."""
    different, place = np.unique(np.array(fingerprints, dtype=np.uint64), return_inverse=True)
    left, right = _pairs(different, within)
    linked = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(len(different), len(different)))
    _, component = connected_components(linked, directed=False)
    members: dict[int, list[int]] = {}
    for index, label in enumerate(component[place].tolist()):
        members.setdefault(label, []).append(index)
    return [group for group in members.values() if len(group) > 1]


def _pairs(values: np.ndarray[Any, np.dtype[np.uint64]], within: int) -> tuple[Indices, Indices]:
    """Both ends of every pair of `values` that differ in at most `within` bits."""
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(values), BLOCK):
        # each with those from its own block on: the earlier ones have met it already
        bits = np.bitwise_count(values[start : start + BLOCK, None] ^ values[None, start:])
        rows, columns = np.nonzero(bits <= within)
        left.append(rows + start)
        right.append(columns + start)
    return np.concatenate(left), np.concatenate(right)
