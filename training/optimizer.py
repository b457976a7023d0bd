"""AdamW over layer groups under fastai v1's one-cycle policy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.schedule import one_cycle_momentum, one_cycle_rate

BETA2 = 0.99  # fastai v1's Adam
EPSILON = 1e-5  # fastai v2's; torch's 1e-8 would make noise in the smallest gradients as loud as the largest


class OneCycle:
    """AdamW whose rates and momentum follow one cycle; no weight decay on norms and biases."""

    def __init__(self, groups: list[tuple[list[nn.Module], float]], weight_decay: float) -> None:
        self.peaks: list[float] = []
        settings = []
        for modules, peak in groups:
            parameters = [parameter for module in modules for parameter in module.parameters()]
            for decay, chosen in (
                (weight_decay, [p for p in parameters if p.ndim > 1]),
                (0.0, [p for p in parameters if p.ndim == 1]),
            ):
                settings.append({"params": chosen, "weight_decay": decay})
                self.peaks.append(peak)
        self.optimizer = torch.optim.AdamW(settings, lr=0.0, eps=EPSILON)

    @property
    def position(self) -> tuple[float, float]:
        """The last layer group's learning rate, and the momentum, now."""
        group = self.optimizer.param_groups[-1]
        return float(group["lr"]), float(group["betas"][0])

    def set(self, position: float) -> None:
        """Set rates and momentum for `position` (0 to 1) of the phase."""
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = one_cycle_rate(position, peak)
            group["betas"] = (one_cycle_momentum(position), BETA2)

    def hold(self, rate: float) -> None:
        """Set the last layer group's rate to `rate` and the others' in proportion, outside of any cycle."""
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = rate * peak / self.peaks[-1]

    def step(self, loss: Tensor, value: float) -> float:
        """One optimizer step on `loss`; `value` is what it is over the whole batch, returned."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return value

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name."""
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` of an optimizer over the same groups returned."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
