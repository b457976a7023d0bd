"""Every hyperparameter of a run, in one place that is quick to import; stored in run.json as `settings`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Augmentation:
    """How much a training photo is varied. Defaults: fastai v1 `get_transforms` and its p_affine, p_lighting 0.75."""

    flip: float = 0.5  # probability of mirroring
    rotate: float = 10.0  # degrees, either way
    zoom: float = 1.1  # at most
    warp: float = 0.2  # of half the side, each end of each side
    lighting: float = 0.2  # brightness and contrast, relative
    probability: float = 0.75  # of each of rotation, zoom, warp and lighting
    crop: bool = True  # at a random place; else the centre


NO_AUGMENTATION = Augmentation(flip=0.0, rotate=0.0, zoom=1.0, warp=0.0, lighting=0.0, probability=0.0, crop=False)


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters; rates are peaks of the one-cycle schedule."""

    batch_size: int = 32
    dropout: float = 0.5
    head_epochs: int = 30
    head_rate: float = 3e-3
    epochs: int = 4
    rate: float = 1e-3  # of the head, once everything is unfrozen
    body_share: float = (
        0.1  # of `rate`, for the first layer group; the second lies between; fastai v1's slice(lr / 10, lr)
    )
    weight_decay: float = 1e-2  # not on norms and biases; fastai v1's default
    label_smoothing: float = 0.1
    mixup: float = 0.0  # alpha of the Beta that mixes two photos; 0: not at all; fastai v1 uses 0.4
    augmentation: Augmentation = field(default_factory=Augmentation)
