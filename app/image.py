"""Photo bytes → upright RGB → the network's input. The only code that prepares pixels for serving and validation.

Knows nothing of the web, the engine or the classes. Memory stays near one decoded copy of the photo: pixels are turned,
flattened and converted after the one resample wherever that gives the same answer.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import AvifImagePlugin, Image, ImageOps, PngImagePlugin

from app import structure
from app.errors import Refusal
from app.formats import HEIC, sniff

# Our own limit is checked on the header, for every format, before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# One photo, one core: how many are decoded at once is for admission to say.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
PngImagePlugin.MAX_TEXT_MEMORY = 8 << 20  # characters of up to 4 bytes; Pillow would take eight times as many
# What Pillow thinks of bad metadata would go to stderr in a stranger's words, and each wording be remembered for ever.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAX_PIXELS = 50_000_000
MAX_SIZE = 2048  # of the network's input, a side
STRIP = 1_000_000  # pixels that are flattened at a time

TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPS_SIDES = (5, 6, 7, 8)
TURNED = {3: "180°", 6: "90° clockwise", 8: "90° anticlockwise"}

Box = tuple[float, float, float, float]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Preprocess:
    """How a photo becomes the network's input; travels with the weights in model.json.

    The centre square of side min(w, h) · size / resize, one antialiased bilinear resample to size × size; then, inside
    the network, (pixel / 255 - mean) / std per RGB channel. Defaults: torchvision's ImageNet recipe.
    """

    size: int = 224
    resize: int = 256
    interpolation: str = "bilinear"
    antialias: bool = True
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preprocess:
        """Read what dataclasses.asdict wrote as JSON. Raises KeyError, TypeError or ValueError."""
        mean, std = (tuple(float(number) for number in value[name]) for name in ("mean", "std"))
        found = cls(**{**value, "mean": mean, "std": std})
        if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise ValueError("mean and std must be three numbers each, std above 0")
        if not 1 <= found.size <= found.resize <= MAX_SIZE:
            raise ValueError(f"size and resize must be from 1 to {MAX_SIZE}, resize no less than size")
        if found.interpolation != "bilinear" or found.antialias is not True:
            raise ValueError("only antialiased bilinear resampling is known")
        return found

    def scale_and_shift(self) -> tuple[Floats, Floats]:
        """float32 [3] each: the normalisation written as pixel · scale - shift."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / (255 * std)).astype(np.float32), (mean / std).astype(np.float32)


@dataclass(frozen=True)
class Photo:
    """A decoded photo. `stored` holds the pixels as the file stores them (not yet upright, perhaps scaled down by a
    whole `shrink` while decoding); `width` and `height` are the upright original's, in pixels."""

    stored: Image.Image
    shrink: int
    orientation: int
    format: str
    width: int
    height: int
    notes: tuple[dict[str, str], ...]

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height as the file stores it, before `shrink`."""
        sides = (self.width, self.height)
        return (sides[1], sides[0]) if self.orientation in SWAPS_SIDES else sides


def read_photo(data: bytes, *, enough: int, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode photo bytes; a JPEG is decoded at 1/2, 1/4 or 1/8 scale while both sides stay ≥ `enough` pixels.

    Raises Refusal: not_an_image (415), too_many_pixels (413), broken_image (422). Whatever a decoder throws is the
    photo's fault.
    """
    kind = sniff(data)
    if kind is None or (kind == "HEIF" and not HEIC):
        raise _not_an_image(data, kind)
    try:
        cost = structure.check(data, kind)
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            whole, picture = image.size, 0.0
            structure.check_size(whole, max_pixels)
            if kind == "JPEG":
                image.draft(None, (enough, enough))
                picture = _picture_bytes(image, whole)
            structure.check_size(whole, cost.limit(len(data), picture), cost.what)
            return _load(image, data, kind, whole)
    except Refusal:
        raise
    except Exception as error:  # Pillow raises ten kinds of exception on bad files, MemoryError included
        raise Refusal(
            "broken_image",
            f"This {kind} file is damaged and cannot be read.",
            detail=f"{type(error).__name__}: {error}",
        ) from error


def model_input(photo: Photo, preprocess: Preprocess) -> Pixels:
    """The network's input: uint8 [size, size, 3], RGB, upright."""
    box = seen_square(*photo.stored_size, preprocess)
    return np.asarray(resample(photo, box, (preprocess.size, preprocess.size)))


def seen_square(width: int, height: int, preprocess: Preprocess) -> Box:
    """What the network sees of a photo: left, top, right, bottom in pixels; the same of it upright and as stored."""
    side = min(width, height) * preprocess.size / preprocess.resize
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def fit(photo: Photo, short: int, ratio: float = 2.0) -> Image.Image:
    """The upright photo scaled so that its short side is `short` pixels; of a long side, the middle `ratio` · short.

    Without metadata, so that it can be saved and shown.
    """
    width, height = photo.stored_size
    longest = min(width, height) * ratio
    left, top = max(0.0, (width - longest) / 2), max(0.0, (height - longest) / 2)
    scale = short / min(width, height)
    size = max(1, round((width - 2 * left) * scale)), max(1, round((height - 2 * top) * scale))
    image = resample(photo, (left, top, width - left, height - top), size)
    image.info = {}  # Pillow would write a JPEG's comment into the copy
    return image


def resample(photo: Photo, box: Box, size: tuple[int, int]) -> Image.Image:
    """Cut `box` (pixels of the stored original) to `size` in one antialiased step; returns upright RGB."""
    left, top, right, bottom = (edge / photo.shrink for edge in box)
    within = (left, top, right, bottom)
    image = photo.stored
    if image.mode == "RGBA":  # opaque by now; channel by channel, as Pillow would premultiply a second full copy
        bands = [image.getchannel(c).resize(size, Image.Resampling.BILINEAR, within) for c in "RGB"]
        image = Image.merge("RGB", bands)
    else:
        image = image.resize(size, Image.Resampling.BILINEAR, within).convert("RGB")
    return image.transpose(TRANSPOSE[photo.orientation]) if photo.orientation in TRANSPOSE else image


def _load(image: Image.Image, data: bytes, kind: str, whole: tuple[int, int]) -> Photo:
    width, height = whole
    notes = []
    if kind != "JPEG" and _is_animated(image):
        frames = _frames(image, data, kind)
        notes.append({"code": "first_frame", "text": f"first frame of {frames or 'an animation'}"})
    image.load()
    shrink = max(1, round(width / image.width))
    if shrink > 1:
        notes.append({"code": "scaled_down", "text": f"read at 1/{shrink} of its width and height"})
    orientation = _orientation(image)
    if orientation in TRANSPOSE:
        turn = TURNED.get(orientation, "and mirrored" if orientation in SWAPS_SIDES else "by mirroring")
        notes.append({"code": "rotated", "text": f"turned upright {turn}, as its EXIF data says"})
    if image.has_transparency_data:
        notes.append({"code": "alpha_on_white", "text": "transparent parts shown on white"})
    if orientation in SWAPS_SIDES:
        width, height = height, width
    return Photo(_flat(image), shrink, orientation, kind, width, height, tuple(notes))


def _flat(image: Image.Image) -> Image.Image:
    """Pixels that can be averaged: L, RGB, or RGBA already composited on white in place (alpha to be ignored).

    In strips, so that no second copy of the photo is needed.
    """
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image
    grey = image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")
    here = image.mode in ("L", "RGB", "RGBA")
    flat = image if here else Image.new("L" if grey else "RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        flat.paste(_flat_strip(image.crop(box)), box)
    flat.info.pop("transparency", None)
    return flat


def _flat_strip(strip: Image.Image) -> Image.Image:
    if strip.mode.startswith("I"):  # scaled to 8 bits; Pillow's own convert would clip at 255
        values = np.asarray(strip)
        grey = (values.clip(0, 65535) >> 8).astype(np.uint8)
        grey[values == strip.info.get("transparency", -1)] = 255
        return Image.fromarray(grey)
    if strip.has_transparency_data:
        strip = strip.convert("RGBA")
        strip.paste((255, 255, 255), mask=ImageOps.invert(strip.getchannel("A")))
    return strip


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 (a damaged second frame says nothing about the first)
        return True


def _frames(image: Image.Image, data: bytes, kind: str) -> int | None:
    """How many pictures an animation has; None if that cannot be told at little cost."""
    if kind == "GIF":
        return structure.gif_frames(data)
    claimed: int | None = getattr(image, "n_frames", None)  # of a PNG no more than what its header says
    return claimed if claimed is not None and claimed <= structure.MAX_CHUNKS else None


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # noqa: BLE001 (corrupt EXIF is ignored: the pixels are still good)
        return 1
    return value if value in TRANSPOSE else 1


def _picture_bytes(image: Image.Image, whole: tuple[int, int]) -> float:
    """Of a JPEG at the scale that it is decoded at: bytes for each pixel of the `whole`, conversion included."""
    return {"L": 1, "RGB": 4}.get(image.mode, 8) * image.width * image.height / (whole[0] * whole[1])


def _not_an_image(data: bytes, kind: str | None) -> Refusal:
    if not data:
        return Refusal("not_an_image", "This file is empty.")
    if kind == "HEIF":
        return Refusal("not_an_image", "This is a HEIC photo, which this service does not read.")
    return Refusal("not_an_image", "This is not an image in a format that this service reads.")
