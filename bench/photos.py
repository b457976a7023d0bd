"""The photos that are measured with."""

from __future__ import annotations

from PIL import Image

from tests.photos import encode, real_photos

PHOTOS = 56
SIZE = (640, 427)
FORMATS = ("JPEG", "PNG", "WEBP")
MEGAPIXELS = {0.3: (640, 427), 2: (1732, 1155), 12: (4243, 2828)}  # 3 : 2


def photos() -> list[bytes]:
    """56 distinct JPEGs of 640 × 427, cut from the real photos that the test packages ship."""
    found = []
    for path in real_photos():
        image = Image.open(path).convert("RGB")
        scale = max(1.4 * SIZE[0] / image.width, 1.4 * SIZE[1] / image.height)
        large = image.resize((round(image.width * scale), round(image.height * scale)))
        for number in range(PHOTOS // len(real_photos())):
            left = number * (large.width - SIZE[0]) // 7
            top = (6 - number) * (large.height - SIZE[1]) // 7
            found.append(encode(large.crop((left, top, left + SIZE[0], top + SIZE[1])), "JPEG", quality=90))
    return found


def of_size(megapixels: float, kind: str) -> bytes:
    """One real photo, scaled to that many megapixels, as a file of that format; JPEG and WebP at quality 90."""
    image = Image.open(real_photos()[0]).convert("RGB").resize(MEGAPIXELS[megapixels], Image.Resampling.LANCZOS)
    return encode(image, kind) if kind == "PNG" else encode(image, kind, quality=90)
