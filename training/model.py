"""torchvision's ResNet34 with a linear head of our own, and the weights it starts from."""

from __future__ import annotations

import hashlib
import http.client
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision.models import ResNet34_Weights
from torchvision.models.resnet import BasicBlock, ResNet

from app.image import Preprocess
from training.errors import TrainingError

SILENCE_S = 20.0  # after so long without a byte, the weights' download is given up


class Classifier(ResNet):
    """torchvision's resnet34 with normalisation inside; its state dict has exactly torchvision's names."""

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int, preprocess: Preprocess) -> None:
        super().__init__(BasicBlock, [3, 4, 6, 3], num_classes=classes)
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocess.std).view(1, 3, 1, 1), persistent=False)

    def feature_maps(self, pixels: Tensor) -> Tensor:
        """Pixels from 0 to 255, uint8 or float [N, 3, H, W] → float [N, 512, H / 32, W / 32], the last feature maps."""
        x = (pixels.to(self.mean.dtype) / 255 - self.mean) / self.std
        x = self.maxpool(self.relu(self.bn1(self.conv1(x.contiguous(memory_format=torch.channels_last)))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # type: ignore[no-any-return]

    def features(self, pixels: Tensor) -> Tensor:
        """Pixels as above → float [N, 512], what `fc` sees."""
        return torch.flatten(self.avgpool(self.feature_maps(pixels)), 1)

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Pixels [N, 3, H, W] → logits [N, C]. `keep` [N, 512] is dropout's choice, drawn by the caller, so
        that it does not depend on how a batch is shared out."""
        seen = self.features(pixels)
        return self.fc(seen if keep is None else seen * keep)  # type: ignore[no-any-return]

    def layer_groups(self) -> list[list[nn.Module]]:
        """Early body, late body, head: the three groups into which fastai v1 cuts a ResNet34."""
        early = [self.conv1, self.bn1, self.layer1, self.layer2]
        return [early, [self.layer3, self.layer4], [self.fc]]


IMAGENET = "the 1.28 million photos of ImageNet's 1,000 classes, with their labels"


@dataclass(frozen=True)
class StartWeights:
    """Where a run starts from, for run.json; `sha256` is "" for random weights. `seen`: what they had been trained on,
    which a photo that measures errors should not be part of."""

    name: str
    sha256: str
    source: str
    seen: str


def build(classes: int, preprocess: Preprocess, weights: str) -> tuple[Classifier, StartWeights]:
    """A Classifier whose body has `weights` ("imagenet", "none" or a safetensors file) and whose head is new.

    Random numbers come from torch's global generator. Raises TrainingError if the weights cannot be had or do not fit.
    """
    network = Classifier(classes, preprocess)
    network.to(memory_format=torch.channels_last)
    if weights == "none":
        begin_as_identity(network)
        return network, StartWeights("none", "", "random weights", "nothing")
    state, start = imagenet_weights() if weights == "imagenet" else file_weights(Path(weights))
    load_body(network, state, start.name)
    return network, start


def begin_as_identity(network: Classifier) -> None:
    """Let each block begin by passing on what it gets, as torchvision's `zero_init_residual` does: random weights under
    batch norms that keep their statistics would otherwise grow from block to block."""
    for name, module in network.named_modules():
        if name.endswith("bn2"):
            nn.init.zeros_(module.weight)


def imagenet_weights() -> tuple[dict[str, Tensor], StartWeights]:
    """torchvision's IMAGENET1K_V1, downloaded once into torch's cache and checked against the hash in its name."""
    url = ResNet34_Weights.IMAGENET1K_V1.url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not cached.exists():
        download(url, cached)
    sha256 = hashlib.sha256(cached.read_bytes()).hexdigest()
    if not sha256.startswith(hash_in(url)):  # torch itself opens whatever lies there
        raise TrainingError(f"{cached} is not what {url} gives, perhaps half of it: delete it, or fetch it again.")
    state = torch.load(cached, map_location="cpu", weights_only=True)
    return dict(state), StartWeights("imagenet", sha256, f"torchvision ResNet34 IMAGENET1K_V1, {url}", IMAGENET)


def download(url: str, path: Path) -> None:
    """Fetch one of torchvision's files; it gets its name only when it is complete. Raises TrainingError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_S)  # torch sets none, and would wait for ever
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_in(url), progress=sys.stderr.isatty())
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise TrainingError(
            f"torchvision's ImageNet weights could not be downloaded ({getattr(error, 'reason', error)}); "
            f"fetch {url} where there is a connection and put it into {path.parent}, "
            "or give a safetensors file with --weights FILE."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def hash_in(url: str) -> str:
    """The first digits of a file's sha256, which torchvision puts into its name: resnet34-b627a593.pth."""
    return Path(url).stem.rpartition("-")[2]


def file_weights(path: Path) -> tuple[dict[str, Tensor], StartWeights]:
    """The tensors of a safetensors file. No other format is opened: the usual ones are pickles, which run code."""
    if not path.is_file():
        raise TrainingError(f"--weights {path}: no such file; it takes imagenet, none, or a safetensors file.")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()  # an OSError says why; safe_open would only say that
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            told = file.metadata() or {}
    except SafetensorError as error:
        raise TrainingError(f"{path} is not a safetensors file, or broken ({error}).") from error
    made = told.get("made", "the file does not say how it was made")
    return state, StartWeights(
        path.name, sha256, f"file {path.name}: {made}", told.get("seen", "the file does not say")
    )


def load_body(network: Classifier, state: dict[str, Tensor], name: str) -> None:
    """Put `state` (torchvision's names, any float type) into the body; its `fc` is ignored, all else must fit."""
    body = {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}
    given = {key: value for key, value in state.items() if not key.startswith("fc.")}
    problems = wrong_names(body.keys() - given.keys(), "lacks") + wrong_names(given.keys() - body.keys(), "has unknown")
    problems += [
        f"{key} is {list(given[key].shape)}, not {list(value.shape)}"
        for key, value in body.items()
        if key in given and given[key].shape != value.shape
    ]
    if problems:
        raise TrainingError(f"The weights {name} are not a torchvision ResNet34's: {problems[0]}.")
    wrong = [key for key, value in given.items() if not torch.isfinite(value).all()]
    if wrong:
        raise TrainingError(f"The weights {name} hold numbers that are not finite, in {wrong[0]}: give other ones.")
    network.load_state_dict(given, strict=False)


def wrong_names(names: Sequence[str] | set[str], verb: str) -> list[str]:
    """At most one phrase such as "lacks bn1.weight and 3 others"."""
    if not names:
        return []
    others = f" and {len(names) - 1} others" if len(names) > 1 else ""
    return [f"it {verb} {min(names)}{others}"]
