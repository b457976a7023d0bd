"""Copies of the shipped bundle, changed as a fault or an attacker might change them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torchvision.models import resnet34

from app.bundle import Bundle, content_version, file_entry, float_weights
from app.card import CARD, WEIGHTS
from app.settings import ROOT

# Other names for the classes: two of them exchanged; all of them new.
SWAPPED = {"black": "teddys", "grizzly": "grizzly", "teddys": "black"}
OTHERS = {"black": "kuma", "grizzly": "haiiroguma", "teddys": "nuigurumi"}

SHIPPED = Path(os.environ.get("TELLAPART_MODEL") or ROOT / "models" / "bears")


def resnet_state(bundle: Bundle) -> dict[str, torch.Tensor]:
    """The bundle's weights in torchvision's ResNet34, batch norm included: it takes over the folded biases."""
    state = resnet34(num_classes=len(bundle.classes)).state_dict()
    for name, array in float_weights(bundle.weights()).items():
        norm = name.replace("downsample.0.bias", "downsample.1.bias").replace("conv1.bias", "bn1.bias")
        state[norm.replace("conv2.bias", "bn2.bias")] = torch.from_numpy(array)
    return {name: tensor for name, tensor in state.items() if name not in ("scale", "shift")}


def copy(folder: Path) -> Path:
    """The shipped bundle in a folder of the test's own."""
    return Path(shutil.copytree(SHIPPED, folder / "bears"))


def change_card(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change model.json and give it the version and file hashes that fit, as a careful forger would."""
    card = json.loads((bundle / CARD).read_text())
    change(card)
    card["files"] = {name: file_entry(bundle / name) for name in card["files"] if (bundle / name).is_file()}
    card["version"] = content_version(card)
    (bundle / CARD).write_text(json.dumps(card))


def rename_classes(bundle: Path, names: dict[str, str]) -> None:
    """Give the classes other names, in the golden answers too: a valid bundle that tells something else."""

    def rename(card: dict[str, Any]) -> None:
        card["classes"] = [names[name] for name in card["classes"]]
        for photo in card["golden"]["photos"]:
            photo["probabilities"] = {names[name]: p for name, p in photo["probabilities"].items()}

    change_card(bundle, rename)


def change_tensor(bundle: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change one tensor in place (its bytes stay where the graph points) and make the card fit."""
    weights = load_file(bundle / WEIGHTS)
    before = weights[name].tobytes()
    data = (bundle / WEIGHTS).read_bytes()
    assert data.count(before) == 1
    (bundle / WEIGHTS).write_bytes(data.replace(before, change(weights[name]).astype(weights[name].dtype).tobytes()))
    change_card(bundle, lambda card: None)


def shelf(folder: Path) -> Path:
    """Four bundles in a folder: `bears` as shipped, `swapped`, `others` (see above), and `broken`, which is refused."""
    for name in ("bears", "swapped", "others", "broken"):
        shutil.copytree(SHIPPED, folder / name)
    rename_classes(folder / "swapped", SWAPPED)
    rename_classes(folder / "others", OTHERS)
    change_card(folder / "broken", lambda card: card["classes"].reverse())  # which only the golden photos tell
    return folder


def point(link: Path, target: Path) -> None:
    """Make a link lead elsewhere in one step, as `ln -sfn` and tools for deployment do."""
    new = link.with_name("new")
    new.symlink_to(target)
    new.rename(link)
