"""Photos decoded once through app.image; augmented for training, untouched for validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from app.errors import Refusal
from app.image import Photo, Preprocess, model_input, read_photo, resample
from training.recipe import Augmentation
from training.split import Row

MARGIN = 48  # pixels around the crop that rotation and warp may draw from before they meet the patch's edge


@dataclass(frozen=True)
class Photos:
    """Decoded photos. `views`: what the service would see, uint8 [N, 3, size, size]; `wide`: the photo at short side
    `resize`, uint8 [3, H, W] each, to be cropped from (empty if not asked for); `labels`: int64 [N]."""

    rows: tuple[Row, ...]
    labels: Tensor
    views: Tensor
    wide: tuple[Tensor, ...]


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

    `advance` is called after each photo.
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
    labels = torch.tensor([classes.index(row.label) for row in kept], dtype=torch.int64)
    empty = torch.empty(0, 3, preprocess.size, preprocess.size, dtype=torch.uint8)
    return Photos(tuple(kept), labels, torch.stack(views) if views else empty, tuple(wholes)), broken


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


def batches(photos: Photos, augmentation: Augmentation, size: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of augmented training photos in random order: pixels uint8 [B, 3, size, size], labels int64 [B].

    Batches are of nearly equal size (at most `batch_size`), since a tiny last one would upset batch norm. All
    randomness is torch's global generator's.
    """
    order = torch.randperm(len(photos.labels))
    for chosen in order.tensor_split(math.ceil(len(order) / batch_size)):
        pixels = [augment(photos.wide[index], augmentation, size) for index in chosen.tolist()]
        yield torch.stack(pixels), photos.labels[chosen]


def augment(photo: Tensor, augmentation: Augmentation, size: int) -> Tensor:
    """A random view of a photo: uint8 [3, H, W] → uint8 [3, size, size].

    Geometry is one resample of a patch; the patch is padded by reflection, so that no corner is ever black.
    """
    padded = functional.pad(photo, [MARGIN] * 4, padding_mode="reflect")
    patch_size = size + 2 * MARGIN
    patch = v2.RandomCrop(patch_size)(padded) if augmentation.crop else functional.center_crop(padded, [patch_size])
    if torch.rand(()) < augmentation.flip:
        patch = functional.horizontal_flip(patch)
    corners = [[MARGIN, MARGIN], [MARGIN + size, MARGIN], [MARGIN + size, MARGIN + size], [MARGIN, MARGIN + size]]
    moved = move_corners(corners, augmentation)
    if moved != corners:
        patch = functional.perspective(patch, corners, moved)
    view: Tensor = functional.center_crop(patch, [size])
    if torch.rand(()) < augmentation.probability:
        view = v2.ColorJitter(augmentation.lighting, augmentation.lighting)(view)
    return view


def move_corners(corners: list[list[int]], augmentation: Augmentation) -> list[list[float]]:
    """Where a square's corners (pixels, clockwise from top left) go under a random rotation, zoom and warp.

    The warp moves the two ends of each side along it, each side by its own amount: fastai v1 `symmetric_warp`.
    """

    def amount(low: float, high: float, neutral: float) -> float:
        happens, where = torch.rand(2).tolist()
        return low + (high - low) * where if happens < augmentation.probability else neutral

    centre = (corners[0][0] + corners[2][0]) / 2
    half = centre - corners[0][0]
    angle = math.radians(amount(-augmentation.rotate, augmentation.rotate, 0.0))
    zoom = amount(1.0, augmentation.zoom, 1.0)
    top, bottom, left, right = (amount(-augmentation.warp, augmentation.warp, 0.0) for _ in range(4))
    warped = [[-1 - top, -1 - left], [1 + top, -1 - right], [1 + bottom, 1 + right], [-1 - bottom, 1 + left]]
    cos, sin = zoom * half * math.cos(angle), zoom * half * math.sin(angle)
    return [[centre + cos * x - sin * y, centre + sin * x + cos * y] for x, y in warped]
