"""What photos are like that a network learns from, so that the service can tell of one that is worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from app import doctor
from app.errors import Refusal
from app.image import Preprocess, model_input, read_photo
from training.calibrate import FEWEST
from training.parallel import each

RARE = 0.01  # share of the photos that are told of


def lowest(files: Sequence[Path], preprocess: Preprocess, advance: Callable[[], None]) -> dict[str, float]:
    """By each of app/doctor.py's measures, what all but RARE of the photos reach; {} if they are fewer than FEWEST.

    A photo is small only where the network's input must be enlarged from it, however large the others are. `advance`
    is called after each photo; those that cannot be read are left out.
    """

    def look(file: Path) -> dict[str, float] | None:
        try:
            photo = read_photo(file.read_bytes(), enough=2 * preprocess.resize)
        except Refusal:
            return None
        return doctor.measure(photo, model_input(photo, preprocess))

    found = [measured for measured in each(look, files, advance) if measured is not None]
    if len(found) < FEWEST:
        return {}
    low = {name: float(np.quantile([one[name] for one in found], RARE, method="lower")) for name in doctor.NOTES}
    low["short_side"] = min(low["short_side"], float(preprocess.resize))
    return {name: value for name, value in low.items() if math.isfinite(value)}  # of blank pictures no sharpness is
