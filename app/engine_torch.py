"""The reference engine: torchvision's ResNet34 on the bundle's own weights, in float. Training exports its network.

Needs the `train` extra; only `--engine torch` and training import it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from app.bundle import Bundle, float_weights
from app.engine import Outputs
from app.errors import BundleError
from app.image import Pixels, Preprocess


class Network(ResNet):
    """ResNet34 with batch norm folded into its convolutions and normalisation inside.

    uint8 pixels [N, size, size, 3] → logits [N, C], features [N, 512] (penultimate), cam [N, C, 7, 7] (class activation
    maps: fc.weight · last feature map); logits = mean(cam) + bias. Parameters bear torchvision's names.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, classes: int, preprocess: Preprocess) -> None:
        super().__init__(BasicBlock, [3, 4, 6, 3], num_classes=classes, norm_layer=nn.Identity)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.bias = nn.Parameter(torch.zeros(module.out_channels))
        scale, shift = (torch.from_numpy(a).reshape(1, 3, 1, 1) for a in preprocess.scale_and_shift())
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = pixels.permute(0, 3, 1, 2).float() * self.scale - self.shift
        x = self.maxpool(self.relu(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        cam = nn.functional.conv2d(x, self.fc.weight[:, :, None, None])
        return cam.mean((2, 3)) + self.fc.bias, x.mean((2, 3)), cam


class TorchEngine:
    """Runs a bundle's weights, dequantised to float32, with torch on the CPU."""

    name = "torch"

    def __init__(self, bundle: Bundle, streams: int) -> None:
        self.streams = streams
        torch.set_num_threads(streams)
        self._network = Network(len(bundle.classes), bundle.preprocess)
        try:
            tensors = {name: torch.from_numpy(array) for name, array in float_weights(bundle.weights()).items()}
            self._network.load_state_dict(tensors)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise BundleError(
                f"{bundle.folder} does not hold a ResNet34's tensors: {str(error).split()[-1]}."
            ) from error
        self._network.eval()

    def infer(self, pixels: Pixels) -> Outputs:
        """uint8 [N, size, size, 3] → Outputs; safe to call from several threads."""
        with torch.inference_mode():
            logits, features, cam = self._network(torch.tensor(pixels))
        return Outputs(logits.numpy(), features.numpy(), cam.numpy())
