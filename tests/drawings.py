"""Bears drawn by the project: golden photos and test photos that nobody else has rights in.

`python -m tests.drawings FOLDER` draws a few dozen as JPEG, the pool that the bundled model's golden photos come from.
"""

from __future__ import annotations

import io
import math
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

SIZE = (360, 288)
SCALE = 2  # drawn larger, then scaled down, so that edges are smooth

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Kind:
    """What a kind of bear looks like."""

    fur: Colour
    muzzle: Colour
    ear: float  # radius, relative to the head's
    toy: bool  # sits indoors and wears a bow; the others walk outdoors


KINDS = {
    "black": Kind(fur=(30, 27, 29), muzzle=(128, 92, 66), ear=0.36, toy=False),
    "grizzly": Kind(fur=(112, 78, 48), muzzle=(150, 112, 76), ear=0.3, toy=False),
    "teddys": Kind(fur=(206, 160, 104), muzzle=(236, 210, 170), ear=0.48, toy=True),
}


def bear(kind: str, seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A bear of that kind, RGB; the same for the same seed."""
    return _drawn(kind, seed, size).copy()


@cache
def _drawn(kind: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """That bear, drawn once: it takes a tenth of a second, and some are asked for a hundred times."""
    random = np.random.default_rng([seed, *kind.encode()])
    look = KINDS[kind]
    width, height = size[0] * SCALE, size[1] * SCALE
    image = Image.fromarray(_background(look, width, height, random))
    (_sitting if look.toy else _walking)(image, look, random)
    if random.random() < 0.5:
        image = ImageOps.mirror(image)
    image = image.filter(ImageFilter.GaussianBlur(1.2)).resize(size, Image.Resampling.LANCZOS)
    noise = random.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def _sitting(image: Image.Image, look: Kind, random: np.random.Generator) -> None:
    x = image.width * random.uniform(0.35, 0.65)
    y, head = image.height * random.uniform(0.34, 0.42), image.height * random.uniform(0.17, 0.24)
    _furry(image, (x, y + 2.1 * head), (1.35 * head, 1.5 * head), look.fur, random)
    for side in (-1, 1):
        _furry(image, (x + side * 1.15 * head, y + 2.9 * head), (0.5 * head, 0.75 * head), look.fur, random)
    _head(image, x, y, head, look, random)
    _bow(ImageDraw.Draw(image), x, y + 1.05 * head, head)


def _walking(image: Image.Image, look: Kind, random: np.random.Generator) -> None:
    body = image.height * random.uniform(0.21, 0.26)
    x, y = image.width * random.uniform(0.5, 0.58), image.height * random.uniform(0.48, 0.56)
    dark = tuple(int(0.75 * c) for c in look.fur)
    for leg, fur in ((-0.95, dark), (1.15, dark), (-1.25, look.fur), (0.85, look.fur)):
        _furry(image, (x + leg * body, y + 1.05 * body), (0.34 * body, 0.85 * body), fur, random)
    _furry(image, (x, y), (1.7 * body, 0.92 * body), look.fur, random)
    _furry(image, (x - 0.75 * body, y - 0.45 * body), (0.85 * body, 0.7 * body), look.fur, random)  # the hump
    _head(image, x - 1.75 * body, y - 0.25 * body, 0.62 * body, look, random)
    _grass(image, int(y + 1.2 * body), random)


def _grass(image: Image.Image, top: int, random: np.random.Generator) -> None:
    """Blades in front of the feet."""
    draw = ImageDraw.Draw(image)
    tint = random.uniform(-20, 20)
    for _ in range(900):
        x, y = random.uniform(0, image.width), random.uniform(top, image.height + 20)
        light = random.normal(0, 16)
        blade = _shade((122, 128, 62), light + tint)
        draw.line((x, y, x + random.normal(0, 8), y - random.uniform(14, 36)), fill=blade, width=2)


def _head(image: Image.Image, x: float, y: float, size: float, look: Kind, random: np.random.Generator) -> None:
    for side in (-1, 1):
        _furry(image, (x + side * 0.78 * size, y - 0.72 * size), (look.ear * size,) * 2, look.fur, random)
    _furry(image, (x, y), (1.08 * size, size), look.fur, random)
    _furry(image, (x, y + 0.38 * size), (0.5 * size, 0.42 * size), look.muzzle, random)
    _face(ImageDraw.Draw(image), x, y, size)


def jpeg(image: Image.Image, quality: int = 88) -> bytes:
    """The picture as a JPEG file's bytes."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _background(look: Kind, width: int, height: int, random: np.random.Generator) -> np.ndarray:
    sky, ground = ((214, 198, 180), (150, 110, 80)) if look.toy else ((176, 200, 214), (84, 112, 58))
    horizon = int(height * random.uniform(0.45, 0.7))
    tint = random.normal(0, 12, 3)
    rows = np.empty((height, width, 3))
    rows[:horizon], rows[horizon:] = np.array(sky) + tint, np.array(ground) + tint
    grain = random.normal(0, 1, (height // 8, width // 8)).repeat(8, 0).repeat(8, 1)
    rows[: grain.shape[0], : grain.shape[1]] += grain[..., None] * (4 if look.toy else 14)
    return rows.clip(0, 255).astype(np.uint8)


def _furry(
    image: Image.Image,
    centre: tuple[float, float],
    radii: tuple[float, ...],
    colour: Colour,
    random: np.random.Generator,
) -> None:
    """An ellipse filled with short strokes that point outwards, lit from the upper left."""
    draw = ImageDraw.Draw(image)
    (x, y), (rx, ry) = centre, radii
    draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=colour)
    count = int(rx * ry / 9)
    angles, distances = random.uniform(0, 2 * np.pi, count), np.sqrt(random.uniform(0, 1, count))
    chances = random.normal(0, (10, 2, 2), (count, 3)).tolist()
    for angle, distance, (glint, *ruffled) in zip(angles.tolist(), distances.tolist(), chances, strict=True):
        cos, sin = math.cos(angle), math.sin(angle)
        light = 18 * (-cos - sin) * distance + glint
        shade = _shade(colour, light)
        start = (x + rx * distance * cos, y + ry * distance * sin)
        end = (start[0] + 9 * cos + ruffled[0], start[1] + 9 * sin + ruffled[1])
        draw.line((start, end), fill=shade, width=2)


def _shade(colour: Colour, light: float) -> Colour:
    """The colour, lighter or darker by so much."""
    red, green, blue = (int(min(max(part + light, 0), 255)) for part in colour)
    return red, green, blue


def _face(draw: ImageDraw.ImageDraw, x: float, y: float, head: float) -> None:
    dark, light = (22, 18, 18), (235, 235, 235)
    for side in (-1, 1):
        _dot(draw, x + side * 0.4 * head, y - 0.12 * head, 0.11 * head, dark)
        _dot(draw, x + side * 0.4 * head - 0.03 * head, y - 0.15 * head, 0.03 * head, light)
    draw.ellipse((x - 0.2 * head, y + 0.1 * head, x + 0.2 * head, y + 0.34 * head), fill=dark)
    draw.arc((x - 0.24 * head, y + 0.3 * head, x + 0.24 * head, y + 0.62 * head), 10, 170, fill=dark, width=4)


def _bow(draw: ImageDraw.ImageDraw, x: float, y: float, head: float) -> None:
    for side in (-1, 1):
        tip = x + side * 0.7 * head
        draw.polygon([(x, y), (tip, y - 0.28 * head), (tip, y + 0.28 * head)], fill=(178, 34, 44))
    _dot(draw, x, y, 0.13 * head, (140, 24, 34))


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def main(folder: Path) -> None:
    """Draw the pool."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        for seed in range(16):
            (folder / f"{kind}-{seed:02}.jpg").write_bytes(jpeg(bear(kind, seed)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
