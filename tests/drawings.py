"""Bears drawn by the project: golden photos and test photos that nobody else has rights in.

`python -m tests.drawings FOLDER` draws a few dozen as JPEG, the pool that the bundled model's golden photos come from.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (360, 288)
SCALE = 2  # drawn larger, then scaled down, so that edges are smooth

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Kind:
    """What a kind of bear looks like."""

    fur: Colour
    muzzle: Colour
    ear: float  # radius, relative to the head's
    indoors: bool
    bow: bool


KINDS = {
    "black": Kind(fur=(30, 27, 29), muzzle=(128, 92, 66), ear=0.36, indoors=False, bow=False),
    "grizzly": Kind(fur=(128, 88, 52), muzzle=(172, 132, 92), ear=0.3, indoors=False, bow=False),
    "teddys": Kind(fur=(206, 160, 104), muzzle=(236, 210, 170), ear=0.48, indoors=True, bow=True),
}


def bear(kind: str, seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A bear of that kind, RGB; the same for the same seed."""
    random = np.random.default_rng([seed, *kind.encode()])
    look = KINDS[kind]
    width, height = size[0] * SCALE, size[1] * SCALE
    image = Image.fromarray(_background(look, width, height, random))
    x = width * random.uniform(0.35, 0.65)
    y, head = height * random.uniform(0.34, 0.42), height * random.uniform(0.17, 0.24)
    _furry(image, (x, y + 2.1 * head), (1.35 * head, 1.5 * head), look.fur, random)
    for side in (-1, 1):
        _furry(image, (x + side * 1.15 * head, y + 2.9 * head), (0.5 * head, 0.75 * head), look.fur, random)
        _furry(image, (x + side * 0.78 * head, y - 0.72 * head), (look.ear * head,) * 2, look.fur, random)
    _furry(image, (x, y), (1.08 * head, head), look.fur, random)
    _furry(image, (x, y + 0.38 * head), (0.5 * head, 0.42 * head), look.muzzle, random)
    _face(ImageDraw.Draw(image), x, y, head, bow=look.bow)
    image = image.filter(ImageFilter.GaussianBlur(1.2)).resize(size, Image.Resampling.LANCZOS)
    noise = random.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 88) -> bytes:
    """The picture as a JPEG file's bytes."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _background(look: Kind, width: int, height: int, random: np.random.Generator) -> np.ndarray:
    sky, ground = ((214, 198, 180), (150, 110, 80)) if look.indoors else ((176, 200, 214), (84, 112, 58))
    horizon = int(height * random.uniform(0.45, 0.7))
    tint = random.normal(0, 12, 3)
    rows = np.empty((height, width, 3))
    rows[:horizon], rows[horizon:] = np.array(sky) + tint, np.array(ground) + tint
    grain = random.normal(0, 1, (height // 8, width // 8)).repeat(8, 0).repeat(8, 1)
    rows[: grain.shape[0], : grain.shape[1]] += grain[..., None] * (4 if look.indoors else 14)
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
    for angle, distance in zip(angles, distances, strict=True):
        cos, sin = np.cos(angle), np.sin(angle)
        light = 18 * (-cos - sin) * distance + random.normal(0, 10)
        shade = tuple(int(np.clip(c + light, 0, 255)) for c in colour)
        start = (x + rx * distance * cos, y + ry * distance * sin)
        end = (start[0] + 9 * cos + random.normal(0, 2), start[1] + 9 * sin + random.normal(0, 2))
        draw.line((start, end), fill=shade, width=2)


def _face(draw: ImageDraw.ImageDraw, x: float, y: float, head: float, *, bow: bool) -> None:
    dark, light = (22, 18, 18), (235, 235, 235)
    for side in (-1, 1):
        _dot(draw, x + side * 0.4 * head, y - 0.12 * head, 0.11 * head, dark)
        _dot(draw, x + side * 0.4 * head - 0.03 * head, y - 0.15 * head, 0.03 * head, light)
    draw.ellipse((x - 0.2 * head, y + 0.1 * head, x + 0.2 * head, y + 0.34 * head), fill=dark)
    draw.arc((x - 0.24 * head, y + 0.3 * head, x + 0.24 * head, y + 0.62 * head), 10, 170, fill=dark, width=4)
    if bow:
        for side in (-1, 1):
            tip, knot = x + side * 0.7 * head, y + 1.05 * head
            draw.polygon([(x, knot), (tip, knot - 0.28 * head), (tip, knot + 0.28 * head)], fill=(178, 34, 44))
        _dot(draw, x, y + 1.05 * head, 0.13 * head, (140, 24, 34))


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
