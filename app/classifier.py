"""Photo bytes → answer: decode, engine and answer in one call, the same for the service, the commands and training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app import answer, doctor, outside
from app.bundle import Bundle, GoldenPhoto, read_bundle
from app.engine import Engine, OpenVinoEngine, Outputs
from app.errors import BundleError, SettingError
from app.image import MAX_PIXELS, Photo, Pixels, model_input, read_photo

# An int8 bundle's golden answers were made with integer arithmetic; torch computes the same weights in float.
TORCH_INT8_TOLERANCE = 0.05


@dataclass(frozen=True)
class Judgement:
    """What the network makes of pixels. Times in seconds."""

    predictions: answer.Predictions
    verdict: str
    similarity: float | None  # to the photos that trained; None where the bundle cannot tell
    outputs: Outputs
    infer_s: float


@dataclass(frozen=True)
class Answer(Judgement):
    """What one photo got."""

    photo: Photo
    notes: tuple[dict[str, str], ...]  # what was done to the photo, and what may hurt its answer
    decode_s: float


class Abandoned(Exception):
    """Nobody waits for this answer any more."""


class Classifier:
    """A bundle on an engine. Immutable and safe to call from any number of threads at once. Raises BundleError."""

    def __init__(self, bundle: Bundle, engine: Engine, max_pixels: int = MAX_PIXELS) -> None:
        self.bundle = bundle
        self.engine = engine
        self.max_pixels = max_pixels
        self._reference = bundle.reference()

    def classify(self, data: bytes, wanted: Callable[[], bool] = lambda: True) -> Answer:
        """Answer for one photo's bytes; takes milliseconds, so never on the event loop.

        Raises Refusal, or Abandoned where the answer is not `wanted` any more once the photo is decoded.
        """
        started = time.perf_counter()
        preprocess = self.bundle.preprocess
        photo = read_photo(data, enough=2 * preprocess.resize, max_pixels=self.max_pixels)
        pixels = model_input(photo, preprocess)
        notes = (*photo.notes, *doctor.notes(doctor.measure(photo, pixels), self.bundle.usual))
        if not wanted():
            raise Abandoned
        decode_s = time.perf_counter() - started
        return Answer(**vars(self.judge(pixels)), photo=photo, notes=notes, decode_s=decode_s)

    def judge(self, pixels: Pixels) -> Judgement:
        """The same for the network's input, uint8 [size, size, 3] RGB, upright, however it was made."""
        started = time.perf_counter()
        outputs = self.engine.infer(pixels[None])
        row = answer.probabilities(outputs.logits[0], self.bundle.calibration.temperature)
        ranked = answer.predictions(self.bundle.classes, row)
        near = None if self._reference is None else float(outside.similarity(outputs.features, self._reference)[0])
        verdict = answer.verdict(ranked, near, self.bundle.calibration)
        return Judgement(ranked, verdict, near, outputs, time.perf_counter() - started)


def create_engine(name: str, bundle: Bundle, streams: int) -> Engine:
    """The engine `openvino` or `torch` with the bundle loaded. Raises BundleError; SettingError without torch."""
    if name == "openvino":
        return OpenVinoEngine(bundle.graph, streams)
    try:  # only now, as torch takes seconds to import
        from app.engine_torch import TorchEngine
    except ImportError as error:
        raise SettingError(f"The torch engine needs the train extra of pyproject.toml: {error}.") from error
    return TorchEngine(bundle, streams)


def load_classifier(folder: Path, engine: str, streams: int, max_pixels: int = MAX_PIXELS) -> Classifier:
    """Read and check the bundle, start the engine, replay the golden photos (which warms up). Raises BundleError."""
    bundle = read_bundle(folder)
    started = create_engine(engine, bundle, streams)
    own = Classifier(bundle, started)  # whatever limit the operator sets for the photos of others
    for golden in bundle.golden:
        replay(own, golden)
    return Classifier(bundle, started, max_pixels)


def replay(classifier: Classifier, golden: GoldenPhoto) -> float:
    """How far a golden photo's probabilities are from those recorded, at most. Raises BundleError past tolerance."""
    bundle = classifier.bundle
    loose = classifier.engine.name == "torch" and bundle.precision == "int8"
    tolerance = TORCH_INT8_TOLERANCE if loose else bundle.tolerance
    try:
        found = dict(classifier.classify(golden.path.read_bytes()).predictions)
    except Exception as error:  # a card that fits its files can still break any step
        reason = " ".join(str(error).split()).rstrip(".")
        raise BundleError(f"Golden photo {golden.path} cannot be classified: {reason}.") from error
    row = np.array([found[name] for name in bundle.classes])
    differences = np.abs(row - golden.probabilities)
    worst = int(differences.argmax())
    if not differences[worst] <= tolerance:
        raise BundleError(
            f"Golden photo {golden.path} gives {bundle.classes[worst]!r} {row[worst]:.4f} instead of "
            f"{golden.probabilities[worst]:.4f}: weights, graph, classes or preprocessing are not those of the export."
        )
    return float(differences[worst])
