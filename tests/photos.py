"""Real photos for tests, from packages that ship them, and pictures made to order."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

# scikit-learn's two are CC BY 2.0 (see README.txt beside them), scikit-image's are in the public domain or CC0.
SKLEARN = ("china.jpg", "flower.jpg")
SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg")


def _folder(package: str, *parts: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package}: install the test group")
    return Path(spec.origin).parent.joinpath(*parts)


def real_photos() -> list[Path]:
    """Eight photos, JPEG and PNG."""
    sklearn, skimage = _folder("sklearn", "datasets", "images"), _folder("skimage", "data")
    return [sklearn / name for name in SKLEARN] + [skimage / name for name in SKIMAGE]


def photo(name: str = "china.jpg") -> bytes:
    """One of the real photos by name."""
    return next(path for path in real_photos() if path.name == name).read_bytes()


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as a file of that kind."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def upright(name: str = "china.jpg", size: tuple[int, int] = (640, 416)) -> Image.Image:
    """A real photo as RGB, cut to `size` from its top left."""
    return Image.open(io.BytesIO(photo(name))).convert("RGB").crop((0, 0, *size))
