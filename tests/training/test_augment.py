import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from training.augment import Cache, Draws, draw, reflect, views
from training.recipe import NO_AUGMENTATION, Augmentation

SIZES = [(256, 340), (400, 256), (256, 256), (256, 512)]


def photo(size: tuple[int, int], seed: int) -> Tensor:
    """uint8 [3, H, W] with structure of a few pixels."""
    noise = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(seed)).float()
    return torch.nn.functional.interpolate(noise, size=size, mode="bicubic").clamp(0, 255)[0].to(torch.uint8)


PHOTOS = [photo(size, seed) for seed, size in enumerate(SIZES)]


def see(settings: Augmentation, seed: int = 1, photos: list[Tensor] = PHOTOS) -> tuple[Tensor, Draws]:
    drawn = draw(len(photos), settings, torch.Generator().manual_seed(seed))
    return views(Cache.of(photos), torch.arange(len(photos)), drawn, 224), drawn


def only(**settings: float | bool) -> Augmentation:
    return Augmentation(**{**vars(NO_AUGMENTATION), "probability": 1.0, **settings})


def test_without_augmentation_a_view_is_the_centre_crop() -> None:
    for view, whole in zip(see(NO_AUGMENTATION)[0], PHOTOS, strict=True):
        assert torch.equal(view, functional.center_crop(whole, [224]).float())


def test_geometry_is_torchvisions_perspective() -> None:
    found, drawn = see(only(rotate=10.0, zoom=1.1, warp=0.2))
    for view, whole, corners in zip(found, PHOTOS, drawn.corners, strict=True):
        padded = functional.pad(whole.float(), [100] * 4, padding_mode="reflect")
        left, top = (padded.shape[-1] - 224) / 2, (padded.shape[-2] - 224) / 2
        square = [[left, top], [left + 224, top], [left + 224, top + 224], [left, top + 224]]
        moved = ((corners + 1) * 112 + torch.tensor([left, top])).tolist()
        expected = functional.center_crop(functional.perspective(padded, square, moved), [224])
        assert (view - expected).abs().max() < 0.02


def test_light_is_torchvisions_brightness_and_contrast() -> None:
    found, drawn = see(only(lighting=0.2))
    for view, whole, bright, contrast in zip(found, PHOTOS, drawn.brightness, drawn.contrast, strict=True):
        plain = functional.center_crop(whole, [224]).float() / 255
        lit = functional.adjust_contrast(functional.adjust_brightness(plain, float(bright)), float(contrast))
        assert (view / 255 - lit).abs().max() < 1e-3


def test_a_crop_lies_inside_the_photo_and_a_flip_mirrors() -> None:
    found, drawn = see(only(crop=True))
    for view, whole, left, top in zip(found, PHOTOS, drawn.left, drawn.top, strict=True):
        x, y = (round(float(at) * (side - 224)) for at, side in ((left, whole.shape[2]), (top, whole.shape[1])))
        assert (view - whole[:, y : y + 224, x : x + 224].float()).abs().max() < 0.05
    assert (see(only(flip=1.0))[0] - see(NO_AUGMENTATION)[0].flip(-1)).abs().max() < 0.05


def test_views_follow_the_seed_and_vary() -> None:
    same = [PHOTOS[0]] * 4
    assert torch.equal(see(Augmentation(), 1, same)[0], see(Augmentation(), 1, same)[0])
    assert not torch.equal(see(Augmentation(), 1, same)[0], see(Augmentation(), 2, same)[0])
    assert len({view.numpy().tobytes() for view in see(Augmentation(), 1, same)[0]}) == 4


def test_a_share_of_a_batch_is_that_share_of_its_views() -> None:
    found, drawn = see(Augmentation())
    mine = views(Cache.of(PHOTOS), torch.arange(len(PHOTOS))[1::2], drawn[slice(1, None, 2)], 224)
    assert torch.equal(mine, found[1::2])


def test_no_corner_is_black() -> None:
    bright = [torch.full((3, 256, 256), 200, dtype=torch.uint8)] * 40
    assert see(Augmentation(probability=1.0, lighting=0.0), 0, bright)[0].min() > 199


@pytest.mark.parametrize(("index", "found"), [(-1, 1), (-3, 3), (0, 0), (4, 4), (5, 3), (8, 0), (9, 1)])
def test_reflection_does_not_repeat_the_edge(index: int, found: int) -> None:
    assert int(reflect(torch.tensor(index), torch.tensor(5))) == found
