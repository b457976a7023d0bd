"""Photos decoded once through app.image: as the service sees them, and wide enough to be augmented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.errors import Refusal
from app.image import Photo, Preprocess, model_input, read_photo, resample
from training.augment import Cache
from training.errors import TrainingError
from training.folders import Row


@dataclass(frozen=True)
class Photos:
    """Decoded photos. `views`: what the service would see, uint8 [N, 3, size, size]; `cache`: the photos at short
    side `resize`, to be cropped from (empty if not asked for); `labels`: int64 [N]."""

    rows: tuple[Row, ...]
    labels: Tensor
    views: Tensor
    cache: Cache


def load(
    data: Path,
    rows: Sequence[Row],
    classes: Sequence[str],
    preprocess: Preprocess,
    *,
    wide: bool,
    advance: Callable[[], None],
) -> tuple[Photos, list[str]]:
    """Decode `rows`, several at a time; returns the photos and a sentence for each one left out because it is broken.

    `advance` is called after each photo. Raises TrainingError if all are broken; OSError.
    """

    def decode(row: Row) -> tuple[Tensor, Tensor | None] | str:
        try:
            photo = read_photo((data / row.file).read_bytes(), enough=2 * preprocess.resize)
        except Refusal as refusal:
            return f"{row.file} left out: {refusal.message}"
        whole = wide_view(photo, preprocess.resize) if wide else None
        return to_tensor(model_input(photo, preprocess)), whole

    kept, views, wholes, broken = [], [], [], []
    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        for row, decoded in zip(rows, pool.map(decode, rows), strict=True):
            advance()
            if isinstance(decoded, str):
                broken.append(decoded)
                continue
            kept.append(row)
            views.append(decoded[0])
            wholes += [decoded[1]] if decoded[1] is not None else []
    finally:
        pool.shutdown(cancel_futures=True)
    if broken and not kept:
        raise TrainingError(f"None of the {len(rows)} photos could be read; the first, {broken[0]}")
    labels = torch.tensor([classes.index(row.label) for row in kept], dtype=torch.int64)
    empty = torch.empty(0, 3, preprocess.size, preprocess.size, dtype=torch.uint8)
    return Photos(tuple(kept), labels, torch.stack(views) if views else empty, Cache.of(wholes)), broken


def wide_view(photo: Photo, short: int, ratio: int = 2) -> Tensor:
    """The upright photo with its short side scaled to `short` pixels; of a long side, the middle `ratio` · short.

    uint8 [3, H, W], both sides even and scaled alike, so that the centre crop falls on model_input's own pixels: half
    a pixel beside them (as `fit` may lie) makes a mean difference of 5 of 255, and 11 where the detail is fine.
    """
    width, height = photo.stored_size
    narrow = min(width, height)
    columns, lines = (min(side * short // narrow, ratio * short) // 2 * 2 for side in (width, height))
    left = max(0.0, (width - columns * narrow / short) / 2)
    top = max(0.0, (height - lines * narrow / short) / 2)
    return to_tensor(np.asarray(resample(photo, (left, top, width - left, height - top), (columns, lines))))


def to_tensor(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """uint8 [H, W, 3] → uint8 [3, H, W]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
