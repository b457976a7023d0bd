"""A network that was trained elsewhere: a torchvision ResNet34's state dict, from a file that nobody here has made.

Pickles run code when they are opened, so torch opens them with `weights_only`, which builds tensors and nothing else.
"""

from __future__ import annotations

import hashlib
import warnings
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.image import Preprocess
from training.errors import TrainingError
from training.model import Classifier, StartWeights, file_weights, load_body

# Where a state dict lies that was saved beside an optimizer's: Lightning, torchvision's scripts, PyTorch's tutorial.
ENTRIES = ("state_dict", "model", "model_state_dict")
# Batches that torch counted in training. Nothing here reads them, and older files lack them.
COUNTS = ".num_batches_tracked"


def read_network(path: Path, classes: Sequence[str]) -> tuple[Classifier, StartWeights]:
    """The network in `path`, in eval mode and float32, with one output per class. Raises TrainingError if there is none
    such, or if opening the file could run code."""
    content, start = read_file(path)
    network = Classifier(len(classes), Preprocess())
    counts = {name: n for name, n in network.state_dict().items() if name.endswith(COUNTS)}
    state = unwrapped(content, path.name) | counts
    load_body(network, state, path.name)
    load_head(network, state, path.name)
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise TrainingError(f"{path.name} holds numbers that are not finite, in {name}: its training went wrong.")
    return network.eval(), start


def read_file(path: Path) -> tuple[Any, StartWeights]:
    """What a safetensors file, or one that torch.save wrote, holds."""
    if not path.is_file():
        raise TrainingError(f"There is no file {path}.")
    content = path.read_bytes()
    if content[8:9] == b"{":  # safetensors: the length of a JSON header in 8 bytes, then the header
        return file_weights(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):  # torchvision's scripts save one
            warnings.simplefilter("ignore")  # about formats that are refused anyway
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(
            f"{path} is broken, or holds more than tensors, which could be code and was not run: "
            "save the state dict alone, as torch.save(model.state_dict(), FILE) does."
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    return found, StartWeights(path.name, sha256, f"file {path.name}, trained elsewhere", "the file does not say")


def unwrapped(content: Any, name: str) -> dict[str, Tensor]:
    """The state dict in what a file holds, by torchvision's names: without a dict around it, and without what
    DataParallel ("module."), torch.compile ("_orig_mod.") or a module of one's own put in front of the names."""
    if isinstance(content, Mapping):
        content = next((content[entry] for entry in ENTRIES if isinstance(content.get(entry), Mapping)), content)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise TrainingError(f"{name} holds no state dict: save one with torch.save(model.state_dict(), FILE).")
    for key, value in content.items():
        if not is_plain(value) and not key.endswith(COUNTS):
            raise TrainingError(f"{name} holds no state dict in floating point: {key} is no tensor of such numbers.")
    first = min((key for key in content if key.endswith("conv1.weight")), key=len, default="")
    prefix = first.removesuffix("conv1.weight")
    return {key.removeprefix(prefix): value for key, value in content.items()}


def is_plain(value: Any) -> bool:
    """Whether it is a tensor of floating-point numbers in memory: no quantised, sparse or empty shell of one."""
    is_tensor = isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
    return is_tensor and value.is_floating_point()


def load_head(network: Classifier, state: dict[str, Tensor], name: str) -> None:
    """Put the one layer of `fc` into the network's: fc.weight, or fc.1.weight where dropout stands before it."""
    given = {key: value for key, value in state.items() if key.startswith("fc.")}
    layer = next(iter(given), "").rpartition(".")[0]
    nothing = torch.empty(0)
    weight, bias = given.get(f"{layer}.weight", nothing), given.get(f"{layer}.bias", nothing)
    if len(given) != 2 or weight.shape[1:] != (512,) or bias.shape != weight.shape[:1]:
        raise TrainingError(
            f"The head of {name} is not one linear layer on ResNet34's 512 features, with a bias "
            "(fc.weight and fc.bias, or fc.1.weight and fc.1.bias after dropout)."
        )
    classes = network.fc.out_features
    if len(weight) != classes:
        raise TrainingError(f"The network in {name} tells {len(weight)} classes apart, but {classes} are named.")
    network.fc.load_state_dict({"weight": weight, "bias": bias})
