"""Photos drawn for these tests: discs, squares and stripes on noise."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

Draw = Callable[..., Path]


def picture(shape: str, seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A photo-like picture: the same seed gives the same pixels."""
    chance = random.Random(f"{shape} {seed}")
    image = Image.new("RGB", size, tuple(chance.randrange(60, 200) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = chance.randrange(size[0]), chance.randrange(size[1])
        pen.rectangle((x, y, x + 6, y + 6), fill=tuple(chance.randrange(256) for _ in range(3)))
    ink = tuple(chance.randrange(0, 60) for _ in range(3))
    left, top, side = chance.randrange(size[0] // 4), chance.randrange(size[1] // 4), min(size) // 2
    if shape == "disc":
        pen.ellipse((left, top, left + side, top + side), fill=ink)
    elif shape == "square":
        pen.rectangle((left, top, left + side, top + side), fill=ink)
    else:
        for line in range(0, size[1], 12):
            pen.line((0, line, size[0], line), fill=ink, width=4)
    return image


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """draw(disc=8, square=8): a DATA folder with so many photos per class; `into` names another folder below it."""

    def draw_photos(into: str = "data", first: int = 0, **counts: int) -> Path:
        for shape, count in counts.items():
            folder = tmp_path / into / shape
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(first, first + count):
                picture(shape, number).save(folder / f"{number:02}.jpg", quality=90)
        return tmp_path / into.split("/")[0]

    return draw_photos
