"""An answer as the JSON that the API promises, with what the caller asked for on top."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.bundle import Bundle
from app.classifier import Answer
from app.errors import Refusal
from app.image import Photo, Preprocess, fit, seen_square

THUMBNAIL = 320  # longest side in pixels


@dataclass(frozen=True)
class Options:
    """What a caller may ask for: only the first `top_k` classes; a heat map for `explain` (a class's name, or "1": the
    first class); a thumbnail."""

    top_k: int | None = None
    explain: str = ""
    thumbnail: bool = False

    @classmethod
    def parse(cls, query: Mapping[str, str], classes: Sequence[str]) -> Options:
        """Read the query parameters top_k, explain and thumbnail. Raises Refusal("bad_request")."""
        top_k = query.get("top_k")
        if top_k is not None and not (top_k.isascii() and top_k.isdigit() and int(top_k[:9]) > 0):
            raise Refusal("bad_request", "top_k must be a whole number from 1.")
        explain = query.get("explain")
        if explain not in (None, "0", "1", *classes):
            raise Refusal("bad_request", "explain must be 1 or the name of one of the classes.")
        thumbnail = query.get("thumbnail", "0")
        if thumbnail not in ("0", "1"):
            raise Refusal("bad_request", "thumbnail must be 0 or 1.")
        wanted = "" if explain is None or (explain == "0" and explain not in classes) else explain
        return cls(int(top_k[:9]) if top_k else None, wanted, thumbnail == "1")


def as_json(answer: Answer, bundle: Bundle, options: Options) -> dict[str, Any]:
    """The answer's JSON object: predictions (all classes, descending, as pairs), verdict, model, image, extras."""
    photo = answer.photo
    result: dict[str, Any] = {
        "predictions": answer.predictions[: options.top_k],
        "verdict": answer.verdict,
        "model": {"name": bundle.name, "version": bundle.version},
        "image": {"format": photo.format, "width": photo.width, "height": photo.height, "notes": list(answer.notes)},
    }
    if options.explain:
        name = options.explain if options.explain in bundle.classes else answer.predictions[0][0]
        grid = _heatmap(answer, bundle.classes.index(name))
        result["heatmap"] = {"class": name, "grid": grid, "box": _box(photo, bundle.preprocess)}
    if options.thumbnail:
        result["thumbnail"] = thumbnail(photo)
    return result


def thumbnail(photo: Photo) -> str:
    """The upright photo, at most 320 pixels a side, re-encoded without metadata, as a data: URI."""
    short = max(1, round(THUMBNAIL * min(photo.width, photo.height) / max(photo.width, photo.height)))
    out = io.BytesIO()
    fit(photo, short, ratio=float("inf")).save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _heatmap(answer: Answer, index: int) -> list[list[float]]:
    """ReLU(class activation map) / its maximum, [7][7], rows from the top; all 0 where nothing speaks for the class."""
    cam = np.maximum(answer.outputs.cam[0, index], 0)
    return [[round(float(v), 4) for v in row] for row in cam / max(float(cam.max()), 1e-9)]


def _box(photo: Photo, preprocess: Preprocess) -> list[float]:
    """Where the grid lies: left, top, width and height as shares of the upright photo's width and height."""
    width, height = photo.width, photo.height
    left, top, right, bottom = seen_square(width, height, preprocess)
    return [round(v, 6) for v in (left / width, top / height, (right - left) / width, (bottom - top) / height)]
