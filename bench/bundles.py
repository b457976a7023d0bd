"""The shipped bundle in float32, for engines and comparisons without integer arithmetic."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from app.bundle import float_weights, read_bundle
from app.classifier import Classifier
from app.engine import OpenVinoEngine
from app.engine_torch import Network
from app.settings import ROOT
from tests.bundles import change_card
from training import graph

INT8 = ROOT / "models" / "bears"


def f32_bundle(folder: Path) -> Path:
    """Write `folder`/bears-f32: the shipped bundle's weights as float32, with golden answers of its own."""
    made = Path(shutil.copytree(INT8, folder / "bears-f32"))
    shipped = read_bundle(INT8)
    network = Network(len(shipped.classes), shipped.preprocess)
    network.load_state_dict({n: torch.from_numpy(a) for n, a in float_weights(shipped.weights()).items()})
    graph.write(graph.to_onnx(network.eval(), shipped.preprocess), made)
    classifier = Classifier(shipped, OpenVinoEngine(made / "model.onnx", 1))

    def change(card: dict[str, Any]) -> None:
        card["precision"] = "f32"
        for photo in card["golden"]["photos"]:
            photo["probabilities"] = dict(classifier.classify((made / photo["file"]).read_bytes()).predictions)

    change_card(made, change)
    return made
