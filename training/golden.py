"""Golden photos: a few that every loaded copy of a bundle must answer as the exported one did."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.card import FEWEST_GOLDEN, MOST_GOLDEN
from app.classifier import Classifier
from app.errors import Refusal
from app.image import Photo, fit, read_photo
from training.errors import TrainingError
from training.files import write_bytes
from training.parallel import each

TOLERANCE = 1e-3
MOST = 12
# So many classes have a golden photo each, of a thousand too: every start of the service replays them, and each has a
# probability per class in the card (docs/DECISIONS.md).
MOST_CLASSES = MOST_GOLDEN
SHORT_SIDE = 256
# A photo that is 100 % one class would not notice a small change of the preprocessing; half sure notices most.
MOST_TELLING = 0.5


@dataclass(frozen=True)
class Candidate:
    """A possible golden photo: its bytes and the probability of each class, in the bundle's order."""

    data: bytes
    suffix: str
    row: tuple[float, ...]

    @property
    def leader(self) -> int:
        return int(np.argmax(self.row))

    @property
    def lead(self) -> float:
        second, first = sorted(self.row)[-2:]
        return first - second


def choose(classifier: Classifier, files: Sequence[Path], shrink: bool, advance: Callable[[], None]) -> list[Candidate]:
    """The 6 to 12 most telling of `files` (more if there are more classes); `advance` is called after each file.

    Each class (of more than a hundred: a hundred) leads by ≥ 4 × tolerance in one of them, so that no two can be
    swapped unseen. `shrink` re-encodes them small. Raises TrainingError if some class leads in none, or if there are
    too few.
    """
    asked = each(lambda path: _candidate(classifier, path, shrink), files, advance)
    candidates = [candidate for candidate in asked if candidate is not None]
    clear = [c for c in candidates if c.lead >= 4 * TOLERANCE]
    telling = sorted(clear, key=lambda c: abs(c.lead - MOST_TELLING))
    classes = classifier.bundle.classes
    led: dict[int, Candidate] = {}
    for candidate in telling:
        led.setdefault(candidate.leader, candidate)
    if len(led) < min(len(classes), MOST_CLASSES):
        never = [name for index, name in enumerate(classes) if index not in led]
        others = f" or {len(never) - 1} other classes" if len(never) > 1 else ""
        raise TrainingError(
            f"The network answers {never[0]!r}{others} to none of {len(candidates)} photos, so no golden photo can "
            "stand for it: train longer or on more photos of it, or give photos that it names so with --golden FOLDER."
        )
    chosen = [candidate for _, candidate in sorted(list(led.items())[:MOST_CLASSES])]
    rest = [c for c in telling if all(c is not other for other in chosen)]
    wanted = max(FEWEST_GOLDEN, min(MOST, 2 * len(classes)))
    chosen += rest[: max(0, wanted - len(chosen))]
    if len(chosen) < FEWEST_GOLDEN:
        raise TrainingError(f"Only {len(chosen)} photos can be golden; {FEWEST_GOLDEN} are needed: --golden FOLDER.")
    return chosen


def _candidate(classifier: Classifier, path: Path, shrink: bool) -> Candidate | None:
    data = path.read_bytes()
    try:
        if shrink:
            data = _small_jpeg(read_photo(data, enough=2 * SHORT_SIDE))
        found = dict(classifier.classify(data).predictions)
    except Refusal:
        return None  # broken photos were reported when training began
    suffix = ".jpg" if shrink else path.suffix.lower()
    return Candidate(data, suffix, tuple(found[name] for name in classifier.bundle.classes))


def _small_jpeg(photo: Photo) -> bytes:
    out = io.BytesIO()
    fit(photo, SHORT_SIDE).save(out, "JPEG", quality=90)
    return out.getvalue()


def write(chosen: Sequence[Candidate], classes: Sequence[str], folder: Path, examples: bool) -> dict[str, object]:
    """Write the photos to folder/golden/ and return what the card's `golden` says of them.

    `examples`: whether the service may show them to everyone who opens its page.
    """
    photos = []
    for number, candidate in enumerate(chosen, 1):
        file = f"golden/{number:02}{candidate.suffix}"
        write_bytes(folder / file, candidate.data)
        photos.append({"file": file, "probabilities": dict(zip(classes, candidate.row, strict=True))})
    return {"tolerance": TOLERANCE, "examples": examples, "photos": photos}
