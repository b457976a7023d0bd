"""What model.json may say. A card can come from a stranger, so each value is held to its kind and its bounds.

That goes for all that is computed with, compared, logged or shown; what else an export notes need only be JSON that
can be sent on.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app import strict_json
from app.answer import VERDICTS, Calibration
from app.image import MAX_SIZE, Preprocess

FORMAT = 1
CARD, GRAPH, WEIGHTS = "model.json", "model.onnx", "weights.safetensors"
REFERENCE = "reference.safetensors"  # features of photos that trained, where the bundle can tell what is outside
PRECISIONS = ("int8", "f32")

# A thousand classes with a hundred golden photos make a card of 4.8 MB with some 120,000 parts. The smallest parts take
# 30 times their text in memory.
MOST_CARD_BYTES = 16_000_000
MOST_PARTS = 500_000
MOST_DEPTH = 20  # of lists and objects in each other; an export writes 7
MOST_CLASSES = 2_000  # whose card still has room for long names
MOST_NAME_BYTES = 200  # a class was a folder's name; file systems take 255

# Fewer golden photos, or ones held less tightly, would let a changed bundle pass; each takes its time at every start.
FEWEST_GOLDEN, MOST_GOLDEN = 6, 100
MOST_TOLERANCE = 0.01
TEMPERATURES = (0.01, 100.0)  # networks are calibrated with 0.5 to 5 (Guo et al. 2017)

QUANTILES = ("0.05", "0.25", "0.5", "0.75", "0.95")  # of similarity, in the card and at /metrics

# Of app/doctor.py's measures. Sharpness is at most that of a chessboard of single pixels: (8 · 128)² / 128².
USUAL = {"short_side": (0, MAX_SIZE), "sharpness": (0, 64), "brightness": (0, 255), "variety": (0, 128)}

# A ResNet34 has 85 MB in float32 and 2 KB a class more, its graph 50 to 100 KB; a photo is as large as an upload.
MOST_BYTES = {GRAPH: 1_000_000, WEIGHTS: 100_000_000, REFERENCE: 1_000_000}
MOST_PHOTO_BYTES = 20_000_000

# Characters that pass for printable and take up no room: Unicode's Default_Ignorable_Code_Point, and blank Braille.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


@dataclass(frozen=True)
class Expected:
    """What answers would be like to photos like those that trained. `photos`: how many of each class trained ({} if
    unknown); `confidence`, `similarity`: their mean and QUANTILES out of fold (None and {} if unknown)."""

    photos: dict[str, int]
    confidence: float | None
    similarity: dict[str, float]


def load(data: bytes) -> dict[str, Any]:
    """The card that these bytes are. Raises ValueError."""
    card = strict_json.loads(data, MOST_PARTS)
    if not isinstance(card, dict) or type(card.get("format")) is not int or card["format"] != FORMAT:
        raise ValueError(f"not a bundle of format {FORMAT}, the only one this version reads")
    _check_depth(card, MOST_DEPTH)
    # 1e999 and a lone surrogate could be loaded, but never sent
    json.dumps(card, ensure_ascii=False, allow_nan=False).encode()
    return card


def check_classes(classes: object) -> tuple[str, ...]:
    """The class names, which whoever reads them must be able to tell apart. Raises ValueError."""
    wanted = f"classes must be 2 to {MOST_CLASSES:,} different printable names of up to {MOST_NAME_BYTES} bytes"
    if not isinstance(classes, list | tuple) or not 2 <= len(classes) <= MOST_CLASSES or not all(map(is_name, classes)):
        raise ValueError(wanted)
    looks = {look(name) for name in classes}
    if len(looks) < len(classes):
        raise ValueError(f"{wanted}; two of them look the same")
    if looks_taken := {each.casefold() for each in looks} & set(VERDICTS):
        raise ValueError(f"{wanted}; {looks_taken.pop()!r} is an answer of the service's own")
    return tuple(classes)


def is_name(value: object) -> bool:
    """Whether it is a name that can be shown in a line: printable, not blank, not endless."""
    shown = isinstance(value, str) and value.isprintable() and look(value) != ""
    return shown and len(str(value).encode()) <= MOST_NAME_BYTES


def look(name: str) -> str:
    """What tells a name from others on a screen: characters as Unicode's NFKC has them, without invisible ones; spaces
    as one. Letters of different scripts that are drawn alike are not told of."""
    plain = INVISIBLE.sub("", unicodedata.normalize("NFKC", INVISIBLE.sub("", name)))
    return " ".join(plain.split())


def read_preprocess(value: dict[str, Any]) -> Preprocess:
    """How photos become pixels. Raises KeyError, TypeError or ValueError."""
    if type(value["size"]) is not int or type(value["resize"]) is not int:
        raise ValueError("size and resize must be whole numbers")
    for number in value["mean"]:
        within(number, -10, 10, "a mean")
    for number in value["std"]:
        within(number, 0.001, 10, "a std")
    return Preprocess.from_json(value)


def read_calibration(card: dict[str, Any]) -> Calibration:
    """The card's `calibration`; without one, that of a network as it is. Raises TypeError or ValueError."""
    found = _optional(card, "calibration", dict) or {}
    bounds = {"temperature": TEMPERATURES, "unsure_below": (0, 1), "outside_below": (-1, 1)}
    values = {key: within(found[key], *span, key) for key, span in bounds.items() if key in found}
    if "outside_below" in values and REFERENCE not in card["files"]:
        raise ValueError(f"what is outside cannot be told without {REFERENCE}")
    return Calibration(**values)


def read_usual(card: dict[str, Any]) -> dict[str, float]:
    """What nearly all photos that trained reach, by app/doctor.py's measures; {} if the card does not say."""
    found = _optional(card, "usual", dict) or {}
    return {name: within(found[name], *span, name) for name, span in USUAL.items() if name in found}


def read_expected(card: dict[str, Any], classes: Sequence[str]) -> Expected:
    """What training knows of answers, as far as the card says it. Raises TypeError or ValueError."""
    found = _optional(card, "calibration", dict) or {}
    data = _optional(_optional(card, "training", dict) or {}, "data", dict) or {}
    sides = _rows(_optional(data, "photos", dict) or {}, "photos")
    photos = {name: int(sum(within(n, 0, 1e9, "a count of photos") for n in sides[name].values())) for name in sides}
    known = photos.keys() == set(classes) and any(photos.values())  # of no photos at all there are no shares
    likeness = _optional(found, "similarity", dict) or {}
    return Expected(
        photos={name: photos[name] for name in classes} if known else {},
        confidence=within(found["confidence"], 0, 1, "confidence") if "confidence" in found else None,
        similarity={name: within(likeness[name], -1, 1, "a similarity") for name in QUANTILES if name in likeness},
    )


def read_golden(golden: dict[str, Any], classes: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """The golden photos' files, with the probability of each class in the order of `classes`. Raises ValueError, …"""
    found: dict[str, tuple[float, ...]] = {}
    for photo in golden["photos"]:
        name, probabilities = photo["file"], photo["probabilities"]
        folder, _, file = str(name).partition("/")
        if not is_name(name) or folder != "golden" or "/" in file or file in ("", ".", ".."):
            raise ValueError("a golden photo must be a file in golden/")
        if probabilities.keys() != set(classes):
            raise ValueError(f"{name} must have a probability for each class")
        row = tuple(within(probabilities[each], 0, 1, f"a probability of {name}") for each in classes)
        if abs(sum(row) - 1) > 1e-3:
            raise ValueError(f"the probabilities of {name} must add up to 1")
        found[name] = row
    if type(golden.get("examples", False)) is not bool:
        raise ValueError("examples must be true or false")
    if not FEWEST_GOLDEN <= len(found) == len(golden["photos"]) <= MOST_GOLDEN:
        raise ValueError(f"{FEWEST_GOLDEN} to {MOST_GOLDEN} different golden photos are needed")
    return found


def check_files(files: dict[str, Any], golden: Sequence[str]) -> None:
    """`files` must list what a bundle has and nothing else, with hashes, and sizes that a bundle can have. Raises
    ValueError, …"""
    for name in (GRAPH, WEIGHTS, *golden):
        if name not in files:
            raise ValueError(f"{name} is not among its files")
    if strangers := files.keys() - {GRAPH, WEIGHTS, REFERENCE, *golden}:
        raise ValueError(f"it lists {min(strangers)[:60]!r}, which no bundle has")
    for name, entry in files.items():
        within(entry["bytes"], 1, MOST_BYTES.get(name, MOST_PHOTO_BYTES), f"the size of {name}")
        if type(entry["bytes"]) is not int or not re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
            raise ValueError(f"size and sha256 of {name} are needed")


def check_shown(card: dict[str, Any]) -> None:
    """What the page about the model and `check` show must be of the kind that an export writes. Raises ValueError, …"""
    training, metrics = (_optional(card, key, dict) or {} for key in ("training", "metrics"))
    for place, keys in ((card, ("about", "architecture")), (training, ("lane", "measured", "date"))):
        for key in keys:
            _optional(place, key, str)
    if weights := _optional(training, "weights", dict):
        _optional(weights, "seen", str)
        if not isinstance(weights.get("source"), str):
            raise ValueError("the source of its weights must be text")
    for precision, rate in (_optional(metrics, "validation", dict) or {}).items():
        if precision not in PRECISIONS:
            raise ValueError(f"errors are told of {' and '.join(PRECISIONS)} alone")
        within(rate["error_rate"], 0, 1, "an error rate")
        for each in (rate, *_rows(_optional(rate, "per_class", dict) or {}, "per_class").values()):
            within(each["errors"], 0, within(each["photos"], 0, 1e9, "a count of photos"), "a count of errors")
            low, high = each["wilson95"]
            within(high, within(low, 0, 1, "an error rate"), 1, "an error rate")
    calibration = _optional(card, "calibration", dict) or {}
    for key in ("photos", "errors", "unsure_photos", "unsure_errors", "rejected"):
        within(calibration.get(key, 0), 0, 1e9, f"{key} of the calibration")
    for each in _rows((_optional(calibration, "after", dict) or {"bins": []})["bins"], "bins"):
        for key, most in (("photos", 1e9), ("confidence", 1), ("right", 1)):
            within(each[key], 0, most, f"{key} of a bin")


def within(value: object, low: float, high: float, what: str) -> float:
    """The value, if it is a number from `low` to `high`; True is none. Raises ValueError."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{what} must be a number from {low:,} to {high:,}")
    return float(value)


def _optional(place: dict[str, Any], key: str, kind: type) -> Any:
    """The value of a key that may be missing or null, but is else of that kind. Raises ValueError."""
    value = place.get(key)
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{key} must be {'an object' if kind is dict else 'text'}")
    return value


def _rows(found: Any, what: str) -> Any:
    """Rows of a table on the page, if they are no more than there may be classes. Raises TypeError or ValueError."""
    if len(found) > MOST_CLASSES:
        raise ValueError(f"{what} must have at most {MOST_CLASSES:,} entries")
    return found


def _check_depth(value: dict[str, Any] | list[Any], most: int) -> None:
    """Refuse what is too deep for whoever writes it as JSON again, further down on the stack."""
    if most == 0:
        raise ValueError(f"not JSON of at most {MOST_DEPTH} lists and objects in each other")
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            _check_depth(each, most - 1)
