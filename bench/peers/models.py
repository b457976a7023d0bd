"""The model as the peers take it: photo bytes → pixels → predictions, on one of three engines.

All three hold the weights of models/bears and end in the same predictions. Imports no peer.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from app.answer import Predictions, predictions, probabilities
from app.bundle import Bundle, read_bundle
from app.image import model_input, read_photo

BUNDLE = Path("models/bears")
F32_GRAPH = Path(".venv-peers/bears-f32/model.onnx")

Array = np.ndarray[Any, np.dtype[Any]]


class Model(Protocol):
    """Can be called from several threads at once."""

    def pixels(self, photo: bytes) -> Array:
        """The network's input for one photo."""

    def predict(self, batch: Array) -> list[Predictions]:
        """Predictions for each of a batch of inputs."""


class Int8:
    """tellapart's own decode and engine: the int8 graph through OpenVINO, `threads` streams of one thread."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        from app.engine import OpenVinoEngine

        self.bundle, self.engine = bundle, OpenVinoEngine(bundle.graph, threads)

    def pixels(self, photo: bytes) -> Array:
        """uint8 [224, 224, 3]."""
        preprocess = self.bundle.preprocess
        return model_input(read_photo(photo, enough=2 * preprocess.resize), preprocess)

    def predict(self, batch: Array) -> list[Predictions]:
        """uint8 [N, 224, 224, 3] → predictions."""
        return ranked(self.bundle, self.engine.infer(batch).logits)


class Onnx(Int8):
    """The float32 graph through ONNX Runtime, `threads` threads an inference; tellapart's decode."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        import onnxruntime

        self.bundle = bundle
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(F32_GRAPH, options, providers=["CPUExecutionProvider"])

    def predict(self, batch: Array) -> list[Predictions]:
        """uint8 [N, 224, 224, 3] → predictions."""
        logits = self.session.run(["logits"], {self.session.get_inputs()[0].name: batch})[0]
        return ranked(self.bundle, logits)


class Torch:
    """torchvision's ResNet34, eager, with torchvision's transforms, as the peers' own examples have it."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        import torch
        from torchvision.models import resnet34
        from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

        from tests.bundles import resnet_state

        torch.set_num_threads(threads)
        normalise = Normalize(bundle.preprocess.mean, bundle.preprocess.std)
        self.transform = Compose([Resize(256), CenterCrop(224), ToTensor(), normalise])
        self.model = resnet34(num_classes=len(bundle.classes))
        self.model.load_state_dict(resnet_state(bundle))
        self.model.eval()
        self.torch, self.bundle = torch, bundle

    def pixels(self, photo: bytes) -> Array:
        """float32 [3, 224, 224]."""
        return np.asarray(self.transform(Image.open(io.BytesIO(photo)).convert("RGB")))

    def predict(self, batch: Array) -> list[Predictions]:
        """float32 [N, 3, 224, 224] → predictions."""
        with self.torch.inference_mode():
            return ranked(self.bundle, self.model(self.torch.from_numpy(batch)).numpy())


ENGINES: dict[str, type[Int8] | type[Torch]] = {"int8": Int8, "onnx": Onnx, "torch": Torch}


def load(engine: str, threads: int) -> Model:
    """The model on one of ENGINES, warmed up; `threads` as the engine takes it."""
    bundle = read_bundle(BUNDLE)
    model = ENGINES[engine](bundle, threads)
    classify(model, bundle.golden[0].path.read_bytes())
    return model


def classify(model: Model, photo: bytes) -> Predictions:
    """Predictions for one photo."""
    return model.predict(model.pixels(photo)[None])[0]


def ranked(bundle: Bundle, logits: Array) -> list[Predictions]:
    """Logits [N, C] → each photo's classes, most probable first."""
    return [predictions(bundle.classes, row) for row in probabilities(logits, bundle.calibration.temperature)]
