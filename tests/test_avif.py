"""AVIF files whose container says less than their AV1 data holds."""

from __future__ import annotations

import struct

import pytest
from PIL import Image

from app.avif import decoded_pixels
from bench.worst import observe_alone
from tests.photos import encode


def avif(size: tuple[int, int], **options: object) -> bytes:
    return encode(Image.new("RGB", size, (9, 99, 200)), "AVIF", speed=10, **options)


def says(data: bytes, size: tuple[int, int]) -> bytes:
    """The same with another size in its container."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", *size) + data[at + 8 :]


def with_frames(data: bytes, times: int) -> bytes:
    """The same with its AV1 data so often in a row, as one item; libavif decodes all of it."""
    at = data.index(b"mdat") + 4
    units = data[at:]
    location = data.index(b"iloc")
    length = data.index(struct.pack(">I", len(units)), location)
    longer = data[:length] + struct.pack(">I", times * len(units)) + data[length + 4 : at - 8]
    return longer + struct.pack(">I4s", 8 + times * len(units), b"mdat") + times * units


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (1000, 701)])
def test_an_honest_file_has_what_it_says(size: tuple[int, int]) -> None:
    pixels = size[0] * size[1]
    assert decoded_pixels(avif(size)) == (pixels, pixels)


def test_alpha_and_the_first_frame_of_a_sequence_count() -> None:
    assert decoded_pixels(encode(Image.new("RGBA", (64, 48), (1, 2, 3, 99)), "AVIF")) == (64 * 48, 2 * 64 * 48)
    frames = [Image.new("RGB", (64, 48), (number, 0, 0)) for number in range(9)]
    largest, total = decoded_pixels(encode(frames[0], "AVIF", save_all=True, append_images=frames[1:]))
    assert largest == 64 * 48
    assert total <= 3 * largest


def test_many_frames_for_one_picture_are_refused_unread() -> None:
    one = avif((3000, 3000))
    assert decoded_pixels(with_frames(one, 4)) == (9_000_000, 36_000_000)
    assert observe_alone(with_frames(one, 1)).verdict == "answered"
    assert observe_alone(with_frames(one, 4)).verdict == "too_many_pixels"


@pytest.mark.parametrize("share", range(5, 100, 5))
def test_what_is_cut_off_is_damaged(share: int) -> None:
    data = avif((64, 48))
    with pytest.raises((ValueError, IndexError, struct.error)):
        decoded_pixels(data[: len(data) * share // 100 - 30 if share > 90 else len(data) * share // 100])


def test_boxes_without_end_are_refused() -> None:
    head = avif((8, 8))[:32]
    for boxes in (b"\0\0\0\x08meta" * 100_000, b"\0\0\0\x10free" + bytes(8), struct.pack(">I4s", 8, b"meta") * 9000):
        with pytest.raises((ValueError, IndexError, struct.error)):
            decoded_pixels(head + boxes)
