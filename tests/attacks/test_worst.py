"""The worst photos that are still read stay within a second and 300 MB; what would not is refused by its header.

All of them, with their figures: `python -m bench.worst`. Here those that are made quickly. Memory is held to the bar
itself, time to five times its bar, as machines are busy at times.
"""

from __future__ import annotations

import struct
import time

import pytest

from app.avif import decoded_pixels
from app.errors import Refusal
from app.image import read_photo
from bench import worst_photos as made
from bench.worst import BAR_MB, BAR_S, observe_alone
from tests.photos import encode, upright

READ = (
    "JPEG, progressive 4:4:4, 43 MP",
    "JPEG, progressive, 35000 × 763",
    "JPEG, 32 scans, 18 MP",
    "PNG, RGB and a transparent colour, 27 MP",
    "PNG, 500 × 100000",
    "WebP, 15.8 MP, canvas",
    "GIF, 38 MP",
    "AVIF, 12 MP, film grain",
    "JPEG, EXIF that lies",
)
TOO_LARGE = {
    "progressive 4:4:4": lambda: made.jpeg(7071, 7071),
    "progressive CMYK": lambda: made.jpeg(6000, 6000, 4),
    "progressive and too narrow to be decoded at a smaller scale": lambda: made.jpeg(65500, 763),
    "baseline, but one colour in the first scan": lambda: made.jpeg(7071, 7071, mark=0xC0).replace(
        b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00", b"\xff\xda\x00\x08\x01\x01\x00", 1
    ),
    "RGBA PNG": lambda: made.png(5100, 5100, 6),
    "16-bit RGBA PNG": lambda: made.png(4300, 4300, 6, 16),
    "PNG of a long side": lambda: made.png(100_001, 1),
    "PNG of a high side": lambda: made.png(1, 100_001),
    "WebP": lambda: made.animated_webp(4100, 4100),
    "AVIF whose data is larger than it says": lambda: made.lying_avif(4096, 64),
    "GIF whose disposal Pillow prepares for": made.disposed_gif,
}


@pytest.mark.parametrize("name", READ)
def test_the_worst_are_read_within_bounds(name: str) -> None:
    seen = observe_alone(made.KINDS[name]())
    assert seen.verdict == "answered"
    assert seen.grown_mb < BAR_MB
    assert seen.cpu_s < 5 * BAR_S


@pytest.mark.parametrize("name", TOO_LARGE)
def test_worse_ones_are_refused_by_the_header(name: str) -> None:
    data = TOO_LARGE[name]()
    seen = observe_alone(data)
    assert seen.verdict == "too_many_pixels"
    assert seen.grown_mb < 40
    assert seen.cpu_s < 0.5
    with pytest.raises(Refusal, match=r"limit .*(megapixels|pixels a side)\.$"):
        read_photo(data, enough=512)


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        (0xE1, b"Exif\0\0" + bytes(10_000)),
        (0xDB, (b"\0" + b"\1" * 64) * 1000),
        (0xED, b"Photoshop 3.0\0" + bytes(9000)),
    ],
)
def test_megabytes_of_what_pillow_takes_apart_are_refused(marker: int, content: bytes) -> None:
    assert observe_alone(made.segments(marker, content, 900_000)).verdict == "answered"
    seen = observe_alone(made.segments(marker, content, 20_000_000))
    assert (seen.verdict, seen.cpu_s < 0.5) == ("broken_image", True)


def test_texts_that_unpack_to_gigabytes_are_refused() -> None:
    seen = observe_alone(made.texts(60))
    assert seen.verdict == "broken_image"
    assert seen.grown_mb < BAR_MB / 3
    assert observe_alone(made.texts(5)).verdict == "answered"


def test_an_avif_says_what_it_decodes() -> None:
    opaque = encode(upright(), "AVIF", speed=10)
    ghost = upright()
    ghost.putalpha(90)
    assert decoded_pixels(opaque) == (640 * 416, 640 * 416)
    assert decoded_pixels(encode(ghost, "AVIF", speed=10)) == (640 * 416, 2 * 640 * 416)


def test_hidden_frames_of_an_avif_are_counted() -> None:
    """libavif decodes each frame of an item to show one: the AVIF kin of a JPEG with 10,000 scans."""
    data = encode(upright(), "AVIF", speed=10)
    media = data.index(b"mdat") - 4
    units = data[media + 8 :]
    frame = units[units.index(b"\x32") :]  # OBU_FRAME with a size, after the sequence header
    many = units + frame * 2_000
    place = data.index(struct.pack(">I", len(units)), data.index(b"iloc"))
    bomb = data[:place] + struct.pack(">I", len(many)) + data[place + 4 : media]
    bomb += struct.pack(">I", len(many) + 8) + b"mdat" + many
    started = time.process_time()
    with pytest.raises(Refusal, match="megapixels of frames"):
        read_photo(bomb, enough=512)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("cut", range(0, 100, 5))
def test_an_avif_that_is_not_understood_is_refused(cut: int) -> None:
    data = encode(upright(), "AVIF", speed=10)
    with pytest.raises(Refusal, match="damaged"):
        read_photo(data[: max(40, len(data) * cut // 100)], enough=512)
