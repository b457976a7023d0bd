"""app.image against an independent version: full decode, ImageOps.exif_transpose, torchvision v2 resize and crop."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

from app.errors import Refusal
from app.formats import sniff
from app.image import Preprocess, fit, model_input, read_photo
from app.structure import MAX_SCANS
from tests.photos import encode, real_photos, upright

PREPROCESS = Preprocess()
ENOUGH = 2 * PREPROCESS.resize


def prepared(data: bytes) -> np.ndarray:
    return model_input(read_photo(data, enough=ENOUGH), PREPROCESS)


def independent(image: Image.Image) -> np.ndarray:
    """Upright RGB → the centre 7/8 square, resized to 224 by torchvision (which needs whole coordinates)."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    side = min(image.size) * 7 / 8
    left, top = (image.width - side) / 2, (image.height - side) / 2
    assert side == int(side)
    assert left == int(left)
    assert top == int(top)
    resized = v2.functional.resized_crop(tensor, int(top), int(left), int(side), int(side), [224, 224], antialias=True)
    return resized.permute(1, 2, 0).numpy()


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape == (224, 224, 3)
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def grey16(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def with_alpha(image: Image.Image) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(image.size)
    image.putalpha(ramp)
    return image


def on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def palette_with_transparency() -> bytes:
    image = upright().quantize(64)
    return encode(image, "PNG", transparency=bytes(range(0, 256, 4)))


ADOBE = b"Adobe\0d\0\0\0\0"  # then how colours are stored: 0 as they are, 2 as YCCK

PICTURES = {
    "JPEG": lambda: encode(upright(), "JPEG", quality=92),
    "JPEG progressive": lambda: encode(upright("flower.jpg"), "JPEG", progressive=True),
    "JPEG grey": lambda: encode(upright().convert("L"), "JPEG"),
    "JPEG CMYK": lambda: encode(upright().convert("CMYK"), "JPEG"),
    "JPEG YCCK": lambda: encode(upright().convert("CMYK"), "JPEG").replace(
        b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"
    ),
    "JPEG large": lambda: encode(upright().resize((2560, 1664)), "JPEG"),
    "MPO": lambda: encode(upright(), "MPO", save_all=True, append_images=[upright("flower.jpg")]),
    "PNG": lambda: encode(upright(), "PNG"),
    "PNG 1": lambda: encode(upright().convert("1"), "PNG"),
    "PNG L": lambda: encode(upright().convert("L"), "PNG"),
    "PNG LA": lambda: encode(with_alpha(upright()).convert("LA"), "PNG"),
    "PNG RGBA": lambda: encode(with_alpha(upright()), "PNG"),
    "PNG P": lambda: encode(upright().quantize(64), "PNG"),
    "PNG P transparent": palette_with_transparency,
    "PNG RGB with a transparent colour": lambda: encode(upright(), "PNG", transparency=(255, 255, 255)),
    "WEBP": lambda: encode(upright(), "WEBP", quality=90),
    "WEBP RGBA": lambda: encode(with_alpha(upright()), "WEBP", lossless=True),
    "GIF": lambda: encode(upright().quantize(128), "GIF"),
    "BMP": lambda: encode(upright(), "BMP"),
    "AVIF": lambda: encode(upright(), "AVIF", quality=80),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_are_those_of_an_independent_version(name: str) -> None:
    data = PICTURES[name]()
    full = Image.open(io.BytesIO(data))
    full = on_white(full) if full.has_transparency_data else full.convert("RGB")
    assert mean_difference(prepared(data), independent(ImageOps.exif_transpose(full))) <= 0.5


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    twin = upright().convert("L").convert("RGB")
    assert mean_difference(prepared(encode(grey16(upright()), "PNG")), independent(twin)) <= 0.5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_upright_photo(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(upright(), kind, exif=exif.tobytes(), **({"quality": 95} if kind != "PNG" else {}))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert mean_difference(prepared(data), independent(turned)) <= 0.5
    found = read_photo(data, enough=ENOUGH)
    assert (found.width, found.height) == turned.size
    assert [note["code"] for note in found.notes] == (["rotated"] if orientation > 1 else [])


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_impossible_orientations_are_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(prepared(encode(upright(), "PNG", exif=exif.tobytes())), prepared(encode(upright(), "PNG")))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning:PIL")
def test_corrupt_exif_is_ignored() -> None:
    data = encode(upright(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert np.array_equal(prepared(data), prepared(encode(upright(), "JPEG")))


@pytest.mark.parametrize("path", real_photos(), ids=lambda path: path.name)
def test_decoding_a_jpeg_at_reduced_scale_hardly_changes_the_pixels(path) -> None:  # type: ignore[no-untyped-def]
    large = Image.open(path).convert("RGB").resize((2048, 1536), Image.Resampling.BICUBIC)
    data = encode(large, "JPEG", quality=90)
    found = read_photo(data, enough=ENOUGH)
    assert found.shrink == 2
    assert found.notes == ({"code": "scaled_down", "text": "read at 1/2 of its width and height"},)
    whole = np.asarray(read_photo(data, enough=10**6).stored)
    assert whole.shape == (1536, 2048, 3)
    assert mean_difference(prepared(data), independent(Image.fromarray(whole))) <= 0.5


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [upright(name).quantize(64) if kind == "GIF" else upright(name) for name in ("china.jpg", "flower.jpg")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    found = read_photo(data, enough=ENOUGH)
    assert found.notes == ({"code": "first_frame", "text": "first frame of 2"},)
    assert mean_difference(model_input(found, PREPROCESS), independent(frames[0].convert("RGB"))) <= 0.5


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (20000, 1), (1, 20000), (223, 225), (7, 5)])
def test_odd_sizes_work(size: tuple[int, int]) -> None:
    assert prepared(encode(Image.new("RGB", size, (10, 200, 30)), "PNG")).mean(axis=(0, 1)).tolist() == [10, 200, 30]


def test_fit_keeps_the_whole_photo_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = read_photo(encode(upright(), "JPEG", exif=exif.tobytes()), enough=ENOUGH)
    assert fit(found, 256).size == (256, round(256 * 640 / 416))


NOT_IMAGES = {
    "empty": b"",
    "text": b"BM is how this text begins, and it is no bitmap",
    "html": b"<!doctype html><title>404</title>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0",
    "pdf": b"%PDF-1.7",
    "zip": b"PK\x03\x04" + bytes(40),
    "tiff": b"II*\0" + bytes(40),
    "psd": b"8BPS" + bytes(40),
    "ico": b"\0\0\1\0" + bytes(40),
    "mp4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
    "riff, but a wave": b"RIFF\0\0\0\0WAVEfmt ",
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_what_is_no_image_is_415(name: str) -> None:
    assert sniff(NOT_IMAGES[name]) is None
    assert refused(NOT_IMAGES[name]) == ("not_an_image", 415)


def refused(data: bytes, **limits: int) -> tuple[str, int]:
    with pytest.raises(Refusal) as caught:
        read_photo(data, enough=ENOUGH, **limits)
    assert caught.value.message.endswith(".")
    return caught.value.code, caught.value.status


def png_claiming(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize("size", [(2**31 - 1, 1), (65535, 65535), (50_000_001, 1)])
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    assert refused(png_claiming(*size)) == ("too_many_pixels", 413)


def test_the_pixel_limit_is_inclusive() -> None:
    data = encode(upright(), "PNG")
    assert read_photo(data, enough=ENOUGH, max_pixels=640 * 416).width == 640
    assert refused(data, max_pixels=640 * 416 - 1) == ("too_many_pixels", 413)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_a_truncated_photo_is_422(kind: str, percent: int) -> None:
    image = upright().quantize(64) if kind == "GIF" else upright()
    data = encode(image, kind)
    assert refused(data[: len(data) * percent // 100]) == ("broken_image", 422)


def test_a_jpeg_with_thousands_of_scans_is_refused() -> None:
    data = encode(upright(size=(64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 10_000 + data[-2:]
    assert refused(bomb) == ("broken_image", 422)


def test_a_marker_without_a_segment_does_not_hide_scans() -> None:
    data = encode(upright(size=(64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    for marker in (b"\xff\x01", b"\xff\xd0", b"\xff\xff\xff\x01"):
        bomb = data[:last] + (marker + data[last:-2]) * 10_000 + data[-2:]
        assert refused(bomb) == ("broken_image", 422)


def test_scan_markers_outside_the_image_are_not_counted() -> None:
    exif_thumbnail = b"Exif\0\0" + b"\xff\xda\0\x02" * (2 * MAX_SCANS)
    data = encode(upright(), "JPEG")
    segment = b"\xff\xe5" + struct.pack(">H", len(exif_thumbnail) + 2) + exif_thumbnail
    video_after_the_image = b"\xff\xda" * (2 * MAX_SCANS)
    assert np.array_equal(prepared(data[:2] + segment + data[2:] + video_after_the_image), prepared(data))
