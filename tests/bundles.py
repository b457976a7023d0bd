"""Copies of the shipped bundle, changed as a fault or an attacker might change them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from app.bundle import CARD, WEIGHTS, content_version, file_entry
from app.settings import ROOT

SHIPPED = ROOT / "models" / "bears"


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


def change_tensor(bundle: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change one tensor in place (its bytes stay where the graph points) and make the card fit."""
    weights = load_file(bundle / WEIGHTS)
    before = weights[name].tobytes()
    data = (bundle / WEIGHTS).read_bytes()
    assert data.count(before) == 1
    (bundle / WEIGHTS).write_bytes(data.replace(before, change(weights[name]).astype(weights[name].dtype).tobytes()))
    change_card(bundle, lambda card: None)
