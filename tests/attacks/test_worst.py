"""The dearest photos that are still read, each decoded in a process of its own: what they cost has a bound."""

from __future__ import annotations

import pytest
from PIL import Image

from app.errors import Refusal
from app.formats import MOST_BYTES, MOST_PIXELS
from app.image import read_photo
from bench.worst import cases, encode, measure, sides, smooth

MAX_MB = 300
HANG_S = 5  # of CPU; the bar is one, and bench.worst shows it
CASES = cases()
# Those that are soon made; bench.worst has the rest.
HERE = [
    "JPEG, progressive, 4:4:4",
    "JPEG, progressive, CMYK",
    "JPEG, progressive, long",
    "PNG, 16 bits, alpha, interlaced",
    "PNG, grey, alpha",
    "PNG, 16 bits, grey",
    "WebP, animated",
    "AVIF, alpha",
    "GIF, transparent",
    "BMP, two colours",
]


@pytest.mark.parametrize("name", HERE)
def test_the_worst_photo_of_its_kind_keeps_within_bounds(name: str) -> None:
    found = measure(CASES[name]())
    assert "×" in found["answer"]
    assert found["mb"] <= MAX_MB
    assert found["cpu_s"] <= HANG_S


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "GIF"])
def test_one_line_more_is_refused_unread(kind: str) -> None:
    width = sides(MOST_PIXELS[kind])[0]
    height = MOST_PIXELS[kind] // width + 1
    found = measure(encode(Image.new("L", (width, height)).convert("RGB"), kind))
    assert found["answer"] == "too_many_pixels"
    assert found["mb"] < 2


def test_the_message_names_the_limit_of_the_kind_or_the_operators() -> None:
    large = encode(Image.new("RGB", (5000, 3300)), "WEBP")
    with pytest.raises(Refusal, match="5000 × 3300 pixels; the limit for WEBP is 16 megapixels"):
        read_photo(large, enough=512)
    with pytest.raises(Refusal, match="the limit is 2 megapixels"):
        read_photo(large, enough=512, max_pixels=2_000_000)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((7600, 5700), {"subsampling": 0}),  # 6 bytes of coefficients a pixel
        ((28_000, 950), {"subsampling": 0}),  # too low to be scaled down: 4 more, of pixels
        ((44_000, 900), {}),
    ],
)
def test_a_progressive_jpeg_that_would_be_held_whole_is_refused(size: tuple[int, int], options: dict[str, int]) -> None:
    found = measure(encode(smooth(size), "JPEG", quality=70, progressive=True, **options))
    assert found["answer"] == "too_many_pixels"
    assert found["mb"] < 2


def test_an_ordinary_photo_of_a_phone_is_read_progressive_or_not() -> None:
    for progressive in (False, True):
        found = measure(encode(smooth((8064, 6048)), "JPEG", quality=70, progressive=progressive))
        assert found["answer"] == "8064 × 6048"


def test_a_jpeg_whose_components_come_one_after_another_counts_as_held() -> None:
    """Its first scan has one component of three, so the decoder keeps them all, progressive or not."""
    data = encode(smooth((28_000, 950)), "JPEG", quality=70, subsampling=0)
    start = data.index(b"\xff\xda")
    one_first = data[: start + 4] + b"\x01" + data[start + 5 :]
    assert measure(data)["answer"] == "28000 × 950"
    assert measure(one_first)["answer"] == "too_many_pixels"


def test_more_bytes_than_its_decoder_takes_in_a_second_are_refused() -> None:
    small = encode(Image.new("RGB", (64, 64)), "AVIF")
    found = measure(small + bytes(MOST_BYTES["AVIF"]))
    assert found["answer"] == "too_large"
