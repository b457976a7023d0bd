"""reference.safetensors: what the exported graph sees in photos that trained, to tell by what is like none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from app import outside
from app.card import REFERENCE
from app.engine import Engine
from app.image import Preprocess
from training.files import write_bytes
from training.folders import TRAIN, Row
from training.parallel import each
from training.run_folder import Run
from training.views import photo_views


def rows(run: Run) -> list[Row]:
    """The photos that trained the network which was kept, at most as many as a bundle takes, each class in turn.

    Those are all of them where the photos were judged in folds.
    """
    trained = [row for row in run.rows if row.fold or row.split == TRAIN]
    return [trained[place] for place in outside.evenly([row.label for row in trained])]


def write(
    folder: Path, engine: Engine, files: Sequence[Path], preprocess: Preprocess, advance: Callable[[], None]
) -> None:
    """Write what `engine` sees in the photos, float16 [M, 512] at length 1; `advance` is called after each.

    From the graph that will serve, as an int8 network's features are not quite those of the one that was trained.
    """

    def look(file: Path) -> list[outside.Floats]:
        return [engine.infer(view[None]).features[0] for view in photo_views(file, preprocess, 1)]

    found = [features for seen in each(look, files, advance) for features in seen]
    write_bytes(folder / REFERENCE, outside.write(np.stack(found)))
