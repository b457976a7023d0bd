"""What may hurt the answer to a photo: cheap measures of it, held to what is usual among the photos that trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from app.image import Photo, Pixels

FLAT = 4.0  # variance of 255²: where there is next to nothing, nothing is blurred
STEP = 4  # rows looked at: every fourth tells the same and takes a quarter of the time

# measure → (code, words) where it is low: what is unlike those that trained need not be bad. Those that follow from
# another one come after it.
NOTES = {
    "short_side": ("tiny", "smaller than nearly all photos it learned from"),
    "sharpness": ("blurry", "less sharp than nearly all photos it learned from"),
    "brightness": ("dark", "darker than nearly all photos it learned from"),
    "variety": ("one_colour", "more of one colour than nearly all photos it learned from"),
}
FOLLOWS = {"sharpness": "short_side", "variety": "brightness"}  # enlarged photos are blurred, dark ones uniform


def measure(photo: Photo, pixels: Pixels) -> dict[str, float]:
    """What NOTES are about, of a photo and the network's input (uint8 [size, size, 3]) made of it.

    `short_side` in pixels of the original. `sharpness`: mean square of the Laplacian over the variance, of the green
    channel; by the variance alone (Pech-Pacheco et al. 2000) whatever is dark or pale would be blurred too.
    `brightness`: mean of green, 0 to 255. `variety`: standard deviation of the colour that varies most, 0 to 127.
    """
    green = pixels[..., 1].astype(np.int16)
    middle = green[1:-1:STEP, 1:-1]
    above, below = green[:-2:STEP, 1:-1], green[2::STEP, 1:-1]
    spread = float(middle.var(dtype=np.float32))
    edges = above + below + green[1:-1:STEP, :-2] + green[1:-1:STEP, 2:] - 4 * middle
    colours = pixels[::STEP, ::STEP].transpose(2, 0, 1).reshape(3, -1).astype(np.float32)
    return {
        "short_side": float(min(photo.width, photo.height)),
        "sharpness": float(np.square(edges, dtype=np.int32).mean()) / spread if spread > FLAT else math.inf,
        "brightness": float(middle.mean(dtype=np.float32)),
        "variety": float(colours.std(axis=1).max()),
    }


def notes(measured: Mapping[str, float], usual: Mapping[str, float]) -> Iterator[dict[str, str]]:
    """A note for each measure that is below `usual`, as the API has it; none of a consequence of another."""
    low = [name for name in NOTES if name in usual and measured[name] < usual[name]]
    for name in low:
        if FOLLOWS.get(name) not in low:
            code, text = NOTES[name]
            yield {"code": code, "text": text}
