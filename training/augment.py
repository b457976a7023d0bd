"""Random views of training photos, a whole batch at a time, on the device that trains.

torchvision's v2 transforms draw one set of parameters for a batch; here each photo has its own, and one gather from the
decoded photos does crop, flip, rotation, zoom and warp together. Tests hold it to torchvision's own functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.recipe import Augmentation

# of an RGB pixel, as a weight of its luma: torchvision's rgb_to_grayscale
LUMA = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class Cache:
    """Decoded photos one after another: `pixels` int32 [P], each red + 256 · green + 65,536 · blue (so that a tap of
    the interpolation is one read); `start`, `width` and `height` int64 [N] say where each photo lies."""

    pixels: Tensor
    start: Tensor
    width: Tensor
    height: Tensor

    @classmethod
    def of(cls, photos: Sequence[Tensor]) -> Cache:
        """From photos uint8 [3, H, W] of any sizes."""
        height, width = (torch.tensor([photo.shape[side] for photo in photos], dtype=torch.int64) for side in (1, 2))
        areas = width * height
        pixels = torch.empty(int(areas.sum()), dtype=torch.int32)
        start = areas.cumsum(0) - areas
        for photo, first, area in zip(photos, start.tolist(), areas.tolist(), strict=True):
            red, green, blue = photo.reshape(3, -1).to(torch.int32)
            pixels[first : first + area] = red + (green << 8) + (blue << 16)
        return cls(pixels, start, width, height)

    def to(self, device: torch.device) -> Cache:
        """The same on `device`."""
        return Cache(*(tensor.to(device) for tensor in (self.pixels, self.start, self.width, self.height)))


@dataclass(frozen=True)
class Draws:
    """What chance decided for a batch of B views: `left`, `top` [B] (where the crop lies, 0 to 1), `mirrored` [B],
    `corners` [B, 4, 2] (where the corners of the square from -1 to 1 go, clockwise from the top left), `brightness`
    and `contrast` [B] factors."""

    left: Tensor
    top: Tensor
    mirrored: Tensor
    corners: Tensor
    brightness: Tensor
    contrast: Tensor

    def __getitem__(self, chosen: slice | Tensor) -> Draws:
        return Draws(*(value[chosen] for value in vars(self).values()))

    def to(self, device: torch.device) -> Draws:
        """The same on `device`."""
        return Draws(*(value.to(device) for value in vars(self).values()))


def draw(count: int, settings: Augmentation, chance: torch.Generator) -> Draws:
    """Random parameters for `count` views; rotation, zoom, warps and lighting each happen with their probability."""

    def amount(low: float, high: float, neutral: float) -> Tensor:
        happens, where = torch.rand(2, count, generator=chance)
        return torch.where(happens < settings.probability, low + (high - low) * where, neutral)

    place = torch.rand(2, count, generator=chance) if settings.crop else torch.full((2, count), 0.5)
    mirrored = torch.rand(count, generator=chance) < settings.flip
    angle = amount(-settings.rotate, settings.rotate, 0.0) * math.pi / 180
    zoom = amount(1.0, settings.zoom, 1.0)
    warps = [amount(-settings.warp, settings.warp, 0.0) for _ in range(4)]
    low, high = 1 - settings.lighting, 1 + settings.lighting
    corners = move_corners(angle, zoom, warps)
    return Draws(place[0], place[1], mirrored, corners, amount(low, high, 1.0), amount(low, high, 1.0))


def move_corners(angle: Tensor, zoom: Tensor, warps: Sequence[Tensor]) -> Tensor:
    """Where the corners of the square from -1 to 1 go: [B, 4, 2], clockwise from the top left.

    The warp moves the two ends of each side along it, each side by its own amount: fastai v1 `symmetric_warp`.
    """
    top, bottom, left, right = warps
    x = torch.stack([-1 - top, 1 + top, 1 + bottom, -1 - bottom], 1)
    y = torch.stack([-1 - left, -1 - right, 1 + right, 1 + left], 1)
    cos, sin = (zoom * angle.cos()).unsqueeze(1), (zoom * angle.sin()).unsqueeze(1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], 2)


def homography(corners: Tensor) -> Tensor:
    """[B, 3, 3] that takes `corners` [B, 4, 2] back to the square's own: from a view to where it reads its pixels."""
    square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]).expand_as(corners)
    x, y = corners.unbind(2)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    equations = [
        torch.stack([x, y, one, zero, zero, zero, -x * square[..., 0], -y * square[..., 0]], 2),
        torch.stack([zero, zero, zero, x, y, one, -x * square[..., 1], -y * square[..., 1]], 2),
    ]
    solved = torch.linalg.solve(torch.cat(equations, 1).double(), torch.cat(square.unbind(2), 1).double())
    return torch.cat([solved, torch.ones(len(corners), 1)], 1).view(-1, 3, 3).float()


def views(cache: Cache, chosen: Tensor, draws: Draws, size: int) -> Tensor:
    """The views that `draws` [B] decided of the photos `chosen` [B]: float32 [B, 3, size, size], 0 to 255.

    What lies outside a photo is its mirror image. Everything on the cache's device.
    """
    device = cache.pixels.device
    back = homography(draws.corners).to(device)
    chosen, draws = chosen.to(device), draws.to(device)
    width, height = (side[chosen].view(-1, 1, 1) for side in (cache.width, cache.height))
    x, y = positions(back, draws.mirrored, size)
    x = x + (draws.left.view(-1, 1, 1) * (width - size)).round() + size / 2
    y = y + (draws.top.view(-1, 1, 1) * (height - size)).round() + size / 2
    pixels = interpolate(cache, cache.start[chosen].view(-1, 1, 1), width, height, x - 0.5, y - 0.5)
    return light(pixels, draws.brightness, draws.contrast).permute(0, 3, 1, 2)


def positions(back: Tensor, mirrored: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where each pixel's centre of a view lies in its unmoved crop, in pixels from the middle: x and y [B, S, S]."""
    half = size / 2
    centre = (torch.arange(size, device=back.device) + 0.5) / half - 1
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    m = back.view(-1, 9, 1, 1)
    depth = m[:, 6] * x + m[:, 7] * y + m[:, 8]
    found_x = (m[:, 0] * x + m[:, 1] * y + m[:, 2]) / depth
    found_y = (m[:, 3] * x + m[:, 4] * y + m[:, 5]) / depth
    return half * torch.where(mirrored.view(-1, 1, 1), -found_x, found_x), half * found_y


def interpolate(cache: Cache, start: Tensor, width: Tensor, height: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear reads at pixel coordinates x and y [B, S, S]: float32 [B, S, S, 3]."""
    left, top = x.floor(), y.floor()
    across, down = (x - left).unsqueeze(3), (y - top).unsqueeze(3)
    columns = [reflect(left.long() + step, width) for step in (0, 1)]
    lines = [start + reflect(top.long() + step, height) * width for step in (0, 1)]

    def read(line: Tensor, column: Tensor) -> Tensor:
        taps = cache.pixels[line + column]
        return taps.view(torch.uint8).view(*taps.shape, 4)[..., :3].float()

    rows = [torch.lerp(read(line, columns[0]), read(line, columns[1]), across) for line in lines]
    return torch.lerp(rows[0], rows[1], down)


def reflect(index: Tensor, length: Tensor) -> Tensor:
    """Indices outside 0 … length - 1 mirrored at the outermost pixels, which are not repeated (numpy "reflect")."""
    period = 2 * (length - 1).clamp(min=1)
    index = index.remainder(period)
    return torch.minimum(index, period - index).clamp(max=length - 1)


def light(pixels: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """torchvision's adjust_brightness, then adjust_contrast, with factors [B] for pixels [B, S, S, 3]."""
    pixels = (pixels * brightness.view(-1, 1, 1, 1)).clamp(0, 255)
    grey = (pixels @ torch.tensor(LUMA, device=pixels.device)).mean((1, 2)).view(-1, 1, 1, 1)
    return torch.lerp(grey, pixels, contrast.view(-1, 1, 1, 1)).clamp(0, 255)
