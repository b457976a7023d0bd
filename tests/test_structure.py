"""Small files made to cost minutes or gigabytes are refused in milliseconds; honest ones pass."""

from __future__ import annotations

import io
import struct
import time
import zlib

import pytest
from PIL import Image

from app.errors import Refusal
from app.image import read_photo
from app.structure import MAX_SEGMENTS, check, gif_frames
from tests.photos import encode, real_photos, upright

HANG_S = 2.5  # each takes milliseconds; unbounded, all of them take longer


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def jpeg_frame(marker: int, width: int, height: int) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
GIF_HEAD = b"GIF89a\x10\x00\x10\x00\x00\x00\x00"
BOMBS = {
    "a run of FF, quadratic for a greedy pattern": b"\xff\xd8" + b"\xff" * 4_000_000 + b"\0" + b"\xff\xda" * 40,
    "fill bytes": b"\xff\xd8" + b"\xff" * 9_000_000 + encode(upright(), "JPEG")[2:],
    "stuffing": b"\xff\xd8" + b"\xff\x00" * 4_000_000 + encode(upright(), "JPEG")[2:],
    "empty APP5 segments": b"\xff\xd8" + b"\xff\xe5\x00\x02" * 4_000_000 + encode(upright(), "JPEG")[2:],
    "empty comments": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 4_000_000 + encode(upright(), "JPEG")[2:],
    "arithmetic coding": b"\xff\xd8" + jpeg_frame(0xCA, 65500, 763) + SCAN * 32 + b"\xff\xd9",
    "13 scans of 50 megapixels": b"\xff\xd8" + jpeg_frame(0xC2, 7000, 7000) + SCAN * 13 + b"\xff\xd9",
    "EXIF, piece by piece": b"\xff\xd8"
    + segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 290
    + encode(upright(), "JPEG")[2:],
    "tables": b"\xff\xd8" + segment(0xDB, (b"\0" + bytes(range(1, 65))) * 1000) * 290 + encode(upright(), "JPEG")[2:],
    "PNG chunks": encode(upright(), "PNG")[:33] + chunk(b"teSt") * 1_500_000 + encode(upright(), "PNG")[33:],
    "GIF comment": GIF_HEAD + b"\x21\xfe" + b"\x01a" * 9_000_000 + b"\x00;",
    "GIF extensions": GIF_HEAD + b"\x21\xfe\x00" * 6_000_000 + b";",
    "BMP runs": b"BM"
    + struct.pack("<IHHIIiiHHIIIIII", 0, 0, 0, 54, 40, 7000, 7000, 1, 8, 1, 0, 0, 0, 0, 0)
    + b"\x01\x05" * 9_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_structural_bombs_are_refused_at_once(name: str) -> None:
    started = time.perf_counter()
    with pytest.raises(Refusal) as caught:
        read_photo(BOMBS[name], enough=512)
    assert time.perf_counter() - started < HANG_S
    assert caught.value.status in (413, 422)


@pytest.mark.parametrize("path", real_photos(), ids=lambda path: path.name)
def test_real_photos_pass(path) -> None:  # type: ignore[no-untyped-def]
    data = path.read_bytes()
    check(data, "JPEG" if path.suffix == ".jpg" else "PNG")


HONEST = {
    "progressive JPEG": lambda: encode(upright(), "JPEG", progressive=True),
    "JPEG with restart markers": lambda: encode(upright(), "JPEG", restart_marker_blocks=1),
    "JPEG with a large profile": lambda: encode(upright(), "JPEG", icc_profile=bytes(3_000_000)),
    "JPEG with some fill bytes": lambda: b"\xff\xd8" + b"\xff" * 100 + encode(upright(), "JPEG")[2:],
    "GIF of many frames": lambda: encode(
        upright().quantize(8), "GIF", save_all=True, append_images=[upright("flower.jpg").quantize(8)] * 20
    ),
    "GIF of noise": lambda: encode(Image.effect_noise((900, 900), 90), "GIF"),
    "interlaced PNG chunks": lambda: encode(Image.effect_noise((1500, 1500), 90), "PNG", compress_level=0),
    "BMP": lambda: encode(upright(), "BMP"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_files_pass(name: str) -> None:
    found = read_photo(HONEST[name](), enough=512)
    assert found.width > 0


def test_bounds_are_inclusive() -> None:
    data = encode(upright(), "JPEG")
    own = 0
    position = 2
    while data[position + 1] != 0xDA:
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
        own += 1
    spare = MAX_SEGMENTS - own - 1  # the scan is one too
    check(b"\xff\xd8" + b"\xff\xe5\x00\x02" * spare + data[2:], "JPEG")
    with pytest.raises(Refusal):
        check(b"\xff\xd8" + b"\xff\xe5\x00\x02" * (spare + 1) + data[2:], "JPEG")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_walk_survives_any_truncation(kind: str) -> None:
    data = encode(upright(size=(32, 32)).quantize(8) if kind == "GIF" else upright(size=(32, 32)), kind)
    for end in range(len(data)):
        try:
            check(data[:end], kind)
        except Refusal:
            pytest.fail(f"{kind} cut at {end} is damaged, not absurd")


def test_the_run_length_bound_spares_small_bitmaps() -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "BMP")
    assert read_photo(out.getvalue(), enough=512).width == 64


def gif(pictures: int, blocks: int = 1) -> bytes:
    """A GIF of so many pictures of one pixel, in so many blocks each."""
    comment = b"\x21\xfe\x02ab\x00"
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02" + b"\x02\x4c\x01" * blocks + b"\x00"
    return GIF_HEAD + comment + picture * pictures + b";"


@pytest.mark.parametrize("pictures", [1, 2, 500])
def test_a_gifs_pictures_are_counted(pictures: int) -> None:
    assert gif_frames(gif(pictures)) == pictures
    with Image.open(io.BytesIO(gif(pictures))) as image:
        assert image.n_frames == pictures


@pytest.mark.parametrize(
    "data",
    [gif(2)[:-1], gif(2)[:30], gif(2)[:-1] + b"\x00;", gif(3, 7_000), gif(20_000), gif(1, 1_000_000)],
    ids=["no end", "cut off", "rubbish", "many blocks", "many pictures", "blocks without end"],
)
def test_pictures_of_which_nothing_can_be_said_are_not_counted(data: bytes) -> None:
    started = time.process_time()
    assert gif_frames(data) is None
    assert time.process_time() - started < HANG_S / 10
