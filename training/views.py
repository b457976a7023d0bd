"""Views of photos on which two graphs are compared, and what engines answer to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from app.answer import Floats, probabilities
from app.engine import Engine
from app.errors import Refusal
from app.image import Pixels, Preprocess, fit, model_input, read_photo
from training.parallel import each

# What makes the views of one photo, when its turn comes.
Views = Callable[[], Iterable[Pixels]]


def photo_views(path: Path, preprocess: Preprocess, count: int) -> Iterator[Pixels]:
    """`count` views of one photo, uint8 [size, size, 3]: as served, mirrored, then random crops, every other mirrored.

    The crops depend on the file's name alone. None at all if the photo cannot be read.
    """
    try:
        photo = read_photo(path.read_bytes(), enough=2 * preprocess.resize)
    except Refusal:
        return
    served, whole = model_input(photo, preprocess), np.asarray(fit(photo, preprocess.resize))
    random = np.random.default_rng(list(path.name.encode()))
    for number in range(count):
        view = served if number < 2 else _random_crop(whole, preprocess.size, random)
        yield np.ascontiguousarray(view[:, ::-1]) if number % 2 else view


def _random_crop(whole: Pixels, size: int, random: np.random.Generator) -> Pixels:
    top, left = (int(random.integers(side - size + 1)) for side in whole.shape[:2])
    return np.ascontiguousarray(whole[top : top + size, left : left + size])


def ask(engines: Sequence[Engine], photos: Sequence[Views], advance: Callable[[], None]) -> list[Floats]:
    """Probabilities [V, C] of each engine on all V views of `photos`, in order.

    As many photos at once as there are cores; each is decoded only when its turn comes. `advance` is called after each
    photo.
    """

    def one(photo: Views) -> list[list[Floats]]:
        return [[probabilities(engine.infer(view[None]).logits[0]) for engine in engines] for view in photo()]

    answered = [row for rows in each(one, photos, advance) for row in rows]
    return [np.stack(rows) for rows in zip(*answered, strict=True)]
