"""What is bad or doubtful about photos, each by itself and in pairs. Looks; moves nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import Refusal
from app.image import Photo, fit, read_photo
from training.folders import Row
from training.parallel import each
from training.similar import fingerprint, groups

# Limits chosen by looking at 899 photos (bears, teddies, ants, bees); each flags at most 4 of any set of about 400.
SHORT = 256  # pixels of the short side at which sharpness is measured, so that large photos compare with small
TINY = 112  # pixels of the short side: half of the 224 that the network sees, so over twice enlarged
ODD = 2.5  # long side : short side: the centre square that the network sees shows less than 40 % of the photo
DARK = 30.0  # mean grey of 255; photos at dusk had 45 and more
PLAIN = 8.0  # standard deviation of grey; the dullest real photo had 16.7, a placeholder saying "Image" 4.0
BLURRY = 40.0  # variance of the Laplacian; sharp photos had 46 and more, blurred by 2 pixels of 256 about 7

BAD, CLOSED, NO_CLASS = "bad", "closed", "no class"
# finding → what a person should know, and do
MEANINGS = {
    BAD: "cannot be read as a photo.",
    CLOSED: "could not be opened, so nothing is known of it. Make it readable, then verify again.",
    NO_CLASS: "no photo either, in a folder that holds none: that is no class, so all in it stays.",
    "label conflict": "the same photo, or nearly, in two classes. Keep it in the right one; move the other away.",
    "both sides": "the same photo, or nearly, to train on and to validate on: the error will look too low. Keep one.",
    "exact duplicate": "the very same file twice. `split` keeps both on one side.",
    "near duplicate": "nearly the same photo twice. `split` keeps both on one side.",
    "plain": "nearly one colour all over, as a placeholder for a missing photo is.",
    "tiny": f"shorter side under {TINY} pixels, so there is little to see.",
    "blurry": "no sharp edge anywhere.",
    "dark": "very dark; fine if you can tell what it shows.",
    "odd shape": "very long or very tall; the network sees only the middle.",
}


@dataclass(frozen=True)
class Finding:
    """One row of verify.csv; `kind` is a key of MEANINGS, `other` the file it resembles, if any."""

    file: str
    label: str
    kind: str
    detail: str
    other: str = ""


@dataclass(frozen=True)
class Look:
    """What one look at a file gave: its content's hash, its fingerprint (None: no photo), and (kind, detail) of what is
    doubtful."""

    sha256: str = ""
    fingerprint: int | None = None
    doubts: tuple[tuple[str, str], ...] = ()


def look_at(data: Path, rows: Sequence[Row], advance: Callable[[], None]) -> list[Look]:
    """A look at each file; `advance` is called after each."""
    return each(lambda row: _look(data / row.file), rows, advance)


def _look(path: Path) -> Look:
    try:
        content = path.read_bytes()
    except OSError as error:
        return Look(doubts=((CLOSED, f"{error.strerror}."),))
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        photo = read_photo(content, enough=SHORT)
        return Look(sha256, fingerprint(photo), tuple(doubts(photo)))
    except Refusal as refusal:
        return Look(sha256, doubts=((BAD, refusal.message),))


def doubts(photo: Photo) -> Iterator[tuple[str, str]]:
    """What is doubtful about the photo by itself: (kind, a few words with the measured value)."""
    short, long = sorted((photo.width, photo.height))
    grey = np.asarray(fit(photo, min(short, SHORT)).convert("L"), dtype=np.float32)
    if short < TINY:
        yield "tiny", f"{photo.width} × {photo.height} pixels"
    if long > ODD * short:
        yield "odd shape", f"{photo.width} × {photo.height} pixels"
    if grey.mean() < DARK:
        yield "dark", f"mean brightness {grey.mean():.0f} of 255"
    if grey.std() < PLAIN:
        yield "plain", f"brightness varies by {grey.std():.1f} of 255"
    elif min(grey.shape) > 2 and sharpness(grey) < BLURRY:
        yield "blurry", f"sharpness {sharpness(grey):.0f}; most photos have over {BLURRY:.0f}"


def sharpness(grey: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000) of a picture, low where all is blurred."""
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


def find(rows: Sequence[Row], looks: Sequence[Look]) -> list[Finding]:
    """All findings, in the order of MEANINGS, then by file."""
    classes = {row.label for row, look in zip(rows, looks, strict=True) if look.fingerprint is not None}
    found = [
        Finding(row.file, row.label, NO_CLASS if kind == BAD and row.label not in classes else kind, detail)
        for row, look in zip(rows, looks, strict=True)
        for kind, detail in look.doubts
    ]
    found += _alike(rows, looks)
    kinds = list(MEANINGS)
    return sorted(found, key=lambda finding: (kinds.index(finding.kind), finding.file))


def _alike(rows: Sequence[Row], looks: Sequence[Look]) -> Iterator[Finding]:
    """Each photo that resembles an earlier one, with the one it resembles most, of its own class and side if any."""
    photos = [(row, look) for row, look in zip(rows, looks, strict=True) if look.fingerprint is not None]
    for group in groups([look.fingerprint for _, look in photos if look.fingerprint is not None]):
        # by place and content, so that a thousand equal files cost no more than two
        earlier: dict[tuple[str, str, str], int] = {}
        for index in group:
            row, look = photos[index]
            place = (row.label, row.split)
            if earlier:
                *_, nearest = min((_bits(look, photos[at][1]), place != key[:2], at) for key, at in earlier.items())
                yield _pair(row, photos[nearest][0], exact=_bits(look, photos[nearest][1]) < 0)
            earlier.setdefault((*place, look.sha256), index)


def _bits(left: Look, right: Look) -> int:
    """In how many bits two photos' fingerprints differ; -1 if they are the same file."""
    if left.sha256 == right.sha256 or left.fingerprint is None or right.fingerprint is None:
        return -1
    return (left.fingerprint ^ right.fingerprint).bit_count()


def _pair(row: Row, other: Row, *, exact: bool) -> Finding:
    alike = "the same file" if exact else "nearly the same photo"
    if row.label != other.label:
        both = f"{alike}, as {row.label} and as {other.label}"
        return Finding(row.file, row.label, "label conflict", both, other.file)
    if row.split != other.split:
        return Finding(row.file, row.label, "both sides", alike, other.file)
    return Finding(row.file, row.label, "exact duplicate" if exact else "near duplicate", alike, other.file)
