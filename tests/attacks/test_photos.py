"""Oddities among photos: formats that Pillow would read, animations of 10,000 frames, modes against their RGB twin."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from app.errors import Refusal
from app.image import Preprocess, model_input, read_photo
from app.settings import ROOT
from bench.worst_photos import chunk, overlapping_exif
from tests.attacks.decoding import SIZE
from tests.drawings import bear
from tests.photos import encode, photo, upright

OURS = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "AVIF"}
Image.init()
HANG_S = 5.0


def prepared(data: bytes) -> np.ndarray:
    return model_input(read_photo(data, enough=512), Preprocess())


def refused(data: bytes) -> tuple[str, int]:
    with pytest.raises(Refusal) as caught:
        read_photo(data, enough=512)
    return caught.value.code, caught.value.status


def others() -> dict[str, bytes]:
    """A picture in each format that Pillow reads and writes and we do not read, in the first mode that it takes."""
    found: dict[str, bytes] = {}
    for kind in sorted(set(Image.SAVE) & set(Image.OPEN) - OURS - {"HEIF"}):
        for mode in ("RGB", "L", "1", "P", "F"):
            with suppress(OSError, ValueError, KeyError, NotImplementedError), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of formats that Pillow will drop
                found[kind] = encode(bear("black", 0, SIZE).convert(mode), kind)
                break
    return found


OTHERS = others()


@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_of_pillow_are_no_images_here(kind: str) -> None:
    assert refused(OTHERS[kind]) == ("not_an_image", 415)


def test_there_are_other_formats() -> None:
    assert len(OTHERS) >= 10
    assert all(OTHERS.values())


@pytest.mark.parametrize("percent", range(5, 100, 5))
@pytest.mark.parametrize("options", [{"progressive": True}, {"optimize": True}])
def test_a_jpeg_cut_short_is_refused(percent: int, options: dict[str, bool]) -> None:
    data = encode(bear("teddys", 2), "JPEG", **options)
    assert refused(data[: len(data) * percent // 100]) == ("broken_image", 422)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "AVIF"])
@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_a_photo_cut_short_is_refused(kind: str, percent: int) -> None:
    data = encode(bear("teddys", 2).quantize(64) if kind == "GIF" else bear("teddys", 2), kind)
    assert refused(data[: len(data) * percent // 100]) == ("broken_image", 422)


def frames_of_png(count: int) -> bytes:
    data = encode(bear("black", 0, SIZE), "PNG")
    start, pixels = data.index(b"IDAT") - 4, zlib.compress(bytes(4))
    control = b"".join(struct.pack(">II", *pair) for pair in ((1, 1), (0, 0)))
    more = b"".join(
        chunk(b"fcTL", struct.pack(">I", 2 * n + 1) + control + b"\0\1\0\1\0\0")
        + chunk(b"fdAT", struct.pack(">I", 2 * n + 2) + pixels)
        for n in range(count)
    )
    first = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, *SIZE, 0, 0, 1, 1, 0, 0))
    head = data[:start] + chunk(b"acTL", struct.pack(">II", count + 1, 0)) + first
    return head + data[start:-12] + more + data[-12:]


def frames_of_gif(count: int) -> bytes:
    data = encode(bear("black", 0, SIZE).quantize(16), "GIF")
    return data[:-1] + (b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0") * count + b";"


def frames_of_webp(count: int) -> bytes:
    two = [bear("black", n, SIZE) for n in range(2)]
    data = encode(two[0], "WEBP", save_all=True, append_images=two[1:], lossless=True)
    start = data.index(b"ANMF", data.index(b"ANMF") + 4)
    found = data[:start] + data[start:] * count
    return found[:4] + struct.pack("<I", len(found) - 8) + found[8:]


def frames_of_avif(count: int) -> bytes:
    frames = [Image.new("RGB", (64, 64), (n % 256, 9, 9)) for n in range(count)]
    return encode(frames[0], "AVIF", save_all=True, append_images=frames[1:], speed=10)


@pytest.mark.parametrize(
    ("make", "count"),
    [(frames_of_png, 10_000), (frames_of_gif, 10_000), (frames_of_webp, 10_000), (frames_of_avif, 300)],
)
def test_of_an_animation_only_the_first_frame_is_read(make, count: int) -> None:  # type: ignore[no-untyped-def]
    data = make(count)
    started = time.process_time()
    found = read_photo(data, enough=512)
    assert time.process_time() - started < HANG_S / 5
    assert [note["code"] for note in found.notes] == ["first_frame"]


def test_a_count_of_frames_that_no_file_can_hold_is_not_repeated() -> None:
    true, false = (chunk(b"acTL", struct.pack(">II", count, 0)) for count in (3, 2**31 - 1))
    data = frames_of_png(2)
    texts = [read_photo(each, enough=512).notes[0]["text"] for each in (data, data.replace(true, false))]
    assert texts == ["first frame of 3", "first frame of an animation"]


def test_ten_thousand_scans_are_counted_before_they_are_decoded() -> None:
    data = encode(upright(size=(64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 10_000 + data[-2:]
    times = []
    for _ in range(5):
        started = time.process_time()
        assert refused(bomb) == ("broken_image", 422)
        times.append(time.process_time() - started)
    assert min(times) < 0.05


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_compressed_bombs_in_a_png_are_refused(kind: bytes) -> None:
    data = encode(upright(), "PNG")
    head = {b"zTXt": b"key\0\0", b"iTXt": b"key\0\1\0\0\0", b"iCCP": b"name\0\0"}[kind]
    bomb = chunk(kind, head + zlib.compress(bytes(50_000_000), 9))
    started = time.process_time()
    assert refused(data[:33] + bomb + data[33:]) == ("broken_image", 422)
    assert time.process_time() - started < HANG_S / 5


def grey16_png(grey: np.ndarray, transparent: int) -> bytes:
    data = encode(Image.fromarray(grey), "PNG")
    return data[:33] + chunk(b"tRNS", struct.pack(">H", transparent)) + data[33:]


def test_a_transparent_16_bit_grey_is_white() -> None:
    grey = np.full((300, 300), 0x1234, np.uint16)
    grey[:, 150:] = 0x8000
    found = prepared(grey16_png(grey, 0x1234))
    assert found[:, :100].min() == 255
    assert (found[:, 130:] == 0x80).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P"])
def test_strips_join_without_a_seam(mode: str) -> None:
    """More pixels than one strip: what is flattened in several is what is flattened at once."""
    picture = Image.open(io.BytesIO(photo("china.jpg"))).convert("RGB").resize((1600, 1300))
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture = picture.quantize(64) if mode == "P" else picture.convert(mode)
    options = (
        {"transparency": {"RGB": (255, 255, 255), "L": 255, "P": bytes(range(64))}[mode]} if mode in "RGBLP" else {}
    )
    data = encode(picture, "PNG", **options)
    whole = Image.open(io.BytesIO(data)).convert("RGBA")
    twin = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    difference = np.abs(prepared(data).astype(int) - prepared(encode(twin, "PNG")))
    assert difference.max() <= 1


def test_pillow_says_nothing_of_strangers_files() -> None:
    """Its warnings would be lines on stderr in a stranger's words, and each wording be remembered for ever."""
    code = (
        "import sys; from app.image import read_photo; from PIL import TiffImagePlugin as t;"
        "read_photo(sys.stdin.buffer.read(), enough=512);"
        "print(len(set(getattr(t, '__warningregistry__', ())) - {'version'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=overlapping_exif(5000), cwd=ROOT, capture_output=True, check=True
    )
    assert (int(done.stdout), done.stderr) == (0, b"")
