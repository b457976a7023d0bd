"""The bundle: model.json, weights.safetensors, model.onnx, golden/. Reads and checks; runs nothing.

No pickle, TorchScript or other format that can hold code is ever opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from app import card as cards
from app import graph, model_card, outside
from app.answer import Calibration
from app.bundle_files import check_file, read_own, tensor_places
from app.card import CARD, GRAPH, REFERENCE, WEIGHTS
from app.errors import BundleError
from app.image import Preprocess

# What reading something that no export wrote can raise.
FAULTS = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class GoldenPhoto:
    """A photo in the bundle and the probability that each class must get, in the order of the bundle's classes."""

    path: Path
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are all present and unchanged. `card` is model.json as it stands."""

    folder: Path
    card: dict[str, Any]
    name: str
    version: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    precision: str
    calibration: Calibration
    usual: dict[str, float]
    expected: cards.Expected
    tolerance: float
    golden: tuple[GoldenPhoto, ...]

    @property
    def graph(self) -> Path:
        return self.folder / GRAPH

    def weights(self) -> dict[str, Array]:
        """Every tensor of weights.safetensors by name, as stored."""
        return load_file(self.folder / WEIGHTS)

    def reference(self) -> Array | None:
        """Features of photos that trained, unit rows [M, 512] float32; None if the bundle cannot tell what is outside.

        Raises BundleError.
        """
        if self.calibration.outside_below is None:
            return None
        path = self.folder / REFERENCE
        try:
            return outside.read(read_own(self.folder, REFERENCE, cards.MOST_BYTES[REFERENCE]))
        except (SafetensorError, *FAULTS) as error:
            raise BundleError(f"{path} does not hold features as an export writes them: {_reason(error)}.") from error


def read_bundle(folder: Path) -> Bundle:
    """Read and check a bundle: card, files, sizes, sha256, version, tensors, graph. Raises BundleError."""
    card = _read_card(folder)
    try:
        bundle = _parse(folder, card)
    except FAULTS as error:
        raise BundleError(f"{folder / CARD} is not a complete bundle card: {_reason(error)}.") from error
    for name, expected in card["files"].items():
        check_file(folder, name, expected)
    if bundle.version != content_version(card):
        raise BundleError(
            f"{folder / CARD} says version {bundle.version}, but its content makes {content_version(card)}: "
            "the card was changed after the export."
        )
    places = _check_tensors(bundle)
    try:
        data = read_own(folder, GRAPH, cards.MOST_BYTES[GRAPH])
        graph.check(data, places, len(bundle.classes), bundle.preprocess.size)
    except FAULTS as error:
        raise BundleError(f"{bundle.graph} is not a graph that an export writes: {_reason(error)}.") from error
    return bundle


def content_version(card: dict[str, Any]) -> str:
    """First 12 hex digits of sha256 over the card as canonical JSON, without `version`."""
    content = {key: value for key, value in card.items() if key != "version"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def file_entry(path: Path) -> dict[str, Any]:
    """What the card's `files` says of one file: {sha256, bytes}."""
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def float_weights(weights: dict[str, Array]) -> dict[str, Array]:
    """The weights as float32: each int8 tensor times its `<name>_scale`, one scale per output channel."""
    floats = {}
    for name, array in weights.items():
        if array.dtype == np.int8:
            scale = weights[f"{name}_scale"].reshape(array.shape[0], *[1] * (array.ndim - 1))
            floats[name] = array.astype(np.float32) * scale
        elif not name.endswith(".weight_scale"):
            floats[name] = array
    return floats


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        return cards.load(read_own(folder, CARD, cards.MOST_CARD_BYTES))
    except FileNotFoundError:
        what = "has no model.json" if folder.is_dir() else "does not exist"
        raise BundleError(f"{folder} {what}: give the folder of a bundle, such as models/bears.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BundleError(f"{path} is {_reason(error)}.") from error


def _parse(folder: Path, card: dict[str, Any]) -> Bundle:
    """What the card says; none of its files is looked at."""
    classes = cards.check_classes(card["classes"])
    golden = cards.read_golden(card["golden"], classes)
    cards.check_files(card["files"], list(golden))
    cards.check_shown(card)
    if not cards.is_name(card["name"]) or "/" in card["name"]:  # it is a part of addresses
        raise ValueError(f"name must be printable, of up to {cards.MOST_NAME_BYTES} bytes, without /")
    if card["precision"] not in cards.PRECISIONS:
        raise ValueError(f"precision must be {' or '.join(cards.PRECISIONS)}")
    if not re.fullmatch("[0-9a-f]{12}", card["version"]):
        raise ValueError("version must be 12 hex digits")
    found = Bundle(
        folder=folder,
        card=card,
        name=card["name"],
        version=card["version"],
        classes=classes,
        preprocess=cards.read_preprocess(card["preprocess"]),
        precision=card["precision"],
        calibration=cards.read_calibration(card),
        usual=cards.read_usual(card),
        expected=cards.read_expected(card, classes),
        tolerance=cards.within(card["golden"]["tolerance"], 1e-9, cards.MOST_TOLERANCE, "tolerance"),
        golden=tuple(GoldenPhoto(folder / file, row) for file, row in golden.items()),
    )
    model_card.in_words(card)  # raises for what no export writes, and what no page could show
    return found


def _check_tensors(bundle: Bundle) -> graph.Places:
    """Hold the tensors to the card; returns where each lies."""
    path = bundle.folder / WEIGHTS
    try:
        places = tensor_places(bundle.folder)  # which bounds the header, before a library reads it
        weights = bundle.weights()
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is not a safetensors file: {_reason(error)}.") from error
    except FAULTS as error:
        raise BundleError(f"{path} holds tensors that no bundle has: {_reason(error)}.") from error
    shape = weights["fc.weight"].shape if "fc.weight" in weights else None
    if shape != (len(bundle.classes), 512):
        raise BundleError(f"{path}: fc.weight has shape {shape}, but {CARD} names {len(bundle.classes)} classes.")
    for name, expected in zip(("scale", "shift"), bundle.preprocess.scale_and_shift(), strict=True):
        found = weights.get(name, np.zeros(0))
        if found.size != expected.size or not np.allclose(found.ravel(), expected, rtol=1e-5, atol=0):
            raise BundleError(f"{path} normalises with another mean or std than {CARD} says.")
    return places


def _reason(error: Exception) -> str:
    """What went wrong, as a part of a sentence: in one line, whatever a file put into it."""
    text = str(error) if type(error) in (ValueError, SafetensorError) else f"{type(error).__name__} {error}"
    return "".join(c if c.isprintable() else " " for c in text)[:300].strip().rstrip(".")
