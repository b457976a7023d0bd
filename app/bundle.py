"""The bundle on disk: model.json, weights.safetensors, model.onnx, golden/. Reads and checks; runs nothing.

No pickle, TorchScript or other format that can hold code is ever opened.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from app.answer import VERDICTS
from app.errors import BundleError
from app.image import Preprocess

FORMAT = 1
CARD, GRAPH, WEIGHTS = "model.json", "model.onnx", "weights.safetensors"

# Fewer golden photos, or ones held less tightly, would let a changed bundle pass.
FEWEST_GOLDEN = 6
MOST_TOLERANCE = 0.01

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
    temperature: float
    tolerance: float
    golden: tuple[GoldenPhoto, ...]

    @property
    def graph(self) -> Path:
        return self.folder / GRAPH

    def weights(self) -> dict[str, Array]:
        """Every tensor of weights.safetensors by name, as stored."""
        return load_file(self.folder / WEIGHTS)


def read_bundle(folder: Path) -> Bundle:
    """Read and check a bundle: files, sizes, sha256, version, tensors against classes. Raises BundleError."""
    card = _read_card(folder)
    try:
        bundle = _parse(folder, card)
        _check_files(folder, card["files"])
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise BundleError(f"{folder / CARD} is not a complete bundle card: {type(error).__name__} {error}.") from error
    except OSError as error:
        raise BundleError(f"{error.filename or folder} cannot be read: {error.strerror}.") from error
    if bundle.version != content_version(card):
        raise BundleError(
            f"{folder / CARD} says version {bundle.version}, but its content makes {content_version(card)}: "
            "the card was changed after the export."
        )
    _check_tensors(bundle)
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
            scale = weights[f"{name}_scale"].reshape(-1, *[1] * (array.ndim - 1))
            floats[name] = array.astype(np.float32) * scale
        elif not name.endswith(".weight_scale"):
            floats[name] = array
    return floats


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    if path.exists() and not path.is_file():
        raise BundleError(f"{path} is not a file.")
    try:
        card = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        what = "has no model.json" if folder.is_dir() else "does not exist"
        raise BundleError(f"{folder} {what}: give the folder of a bundle, such as models/bears.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BundleError(f"{path} is not a bundle of format {FORMAT}, the only one this version reads.")
    return card


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _parse(folder: Path, card: dict[str, Any]) -> Bundle:
    classes = tuple(card["classes"])
    if not all(map(_is_name, classes)) or len({*classes, *VERDICTS}) != len(classes) + 2:
        raise ValueError(f"classes must be different printable names, none of them {' or '.join(VERDICTS)}")
    if len(classes) < 2:
        raise ValueError("at least two classes are needed")
    golden = tuple(
        GoldenPhoto(folder / photo["file"], tuple(float(photo["probabilities"][c]) for c in classes))
        for photo in card["golden"]["photos"]
    )
    if not _is_name(card["name"]):
        raise ValueError("name must be printable")
    json.dumps(card, ensure_ascii=False).encode()  # a lone surrogate could be loaded, but never sent
    tolerance = float(card["golden"]["tolerance"])
    if len(golden) < FEWEST_GOLDEN or not 0 < tolerance <= MOST_TOLERANCE:
        raise ValueError(f"{FEWEST_GOLDEN} golden photos are needed, and a tolerance of at most {MOST_TOLERANCE}")
    if any(photo["file"] not in card["files"] for photo in card["golden"]["photos"]):
        raise ValueError("a golden photo is not among its files")
    return Bundle(
        folder=folder,
        card=card,
        name=card["name"],
        version=str(card["version"]),
        classes=classes,
        preprocess=Preprocess.from_json(card["preprocess"]),
        precision=str(card["precision"]),
        temperature=float(card.get("calibration", {}).get("temperature", 1.0)),
        tolerance=tolerance,
        golden=golden,
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and value.strip() != ""


def _check_files(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    root = folder.resolve()
    for name in {GRAPH, WEIGHTS} - files.keys():
        raise BundleError(f"{folder / CARD} does not list {name}.")
    for name, expected in files.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(root):
            raise BundleError(f"{folder / CARD} lists {name!r}, which is outside the bundle.")
        if not path.is_file():
            raise BundleError(f"{folder / name} is missing.")
        if path.stat().st_size != expected["bytes"]:
            raise BundleError(f"{folder / name} has {path.stat().st_size} bytes instead of {expected['bytes']}.")
        if file_entry(path)["sha256"] != expected["sha256"]:
            raise BundleError(f"{folder / name} was changed: its sha256 is not the one in {CARD}.")


def _check_tensors(bundle: Bundle) -> None:
    path = bundle.folder / WEIGHTS
    try:
        weights = bundle.weights()
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path} is not a safetensors file: {error}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path} holds tensors that no bundle has: {type(error).__name__} {error}.") from error
    shape = weights["fc.weight"].shape if "fc.weight" in weights else None
    if shape != (len(bundle.classes), 512):
        raise BundleError(f"{path}: fc.weight has shape {shape}, but {CARD} names {len(bundle.classes)} classes.")
    for name, expected in zip(("scale", "shift"), bundle.preprocess.scale_and_shift(), strict=True):
        if name not in weights or not np.allclose(weights[name].ravel(), expected, rtol=1e-5, atol=0):
            raise BundleError(f"{path} normalises with another mean or std than {CARD} says.")
