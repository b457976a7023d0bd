import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.image import Preprocess, model_input, read_photo
from training.dataset import Photos, augment, batches, load, to_tensor, wide_view
from training.recipe import NO_AUGMENTATION, Augmentation
from training.split import Row

PREPROCESS = Preprocess()


def photo_bytes(size: tuple[int, int], orientation: int = 1, kind: str = "JPEG") -> bytes:
    """Detail down to the pixel (the hardest case for parity), smoothed a little as lenses do."""
    noise = np.random.default_rng(size[0]).integers(0, 256, (size[1] // 2 + 1, size[0] // 2 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, kind, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(333, 500), (501, 333), (512, 341), (256, 256), (97, 61), (2000, 1501), (900, 200)])
def test_without_augmentation_training_sees_what_the_service_sees(size: tuple[int, int], orientation: int) -> None:
    photo = read_photo(photo_bytes(size, orientation), enough=512)
    seen = augment(wide_view(photo, 256), NO_AUGMENTATION, 224)
    served = to_tensor(model_input(photo, PREPROCESS))
    assert (seen.float() - served.float()).abs().mean() <= 1.0


def test_wide_view_is_upright_with_even_sides_and_at_most_two_to_one() -> None:
    assert wide_view(read_photo(photo_bytes((333, 500)), enough=512), 256).shape == (3, 384, 256)
    assert wide_view(read_photo(photo_bytes((333, 500), 6), enough=512), 256).shape == (3, 256, 384)
    assert wide_view(read_photo(photo_bytes((3000, 100)), enough=512), 256).shape == (3, 256, 512)


def test_augmentation_follows_the_seed_and_varies() -> None:
    photo = torch.randint(0, 256, (3, 300, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def views(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.stack([augment(photo, Augmentation(), 224) for _ in range(4)])

    assert torch.equal(views(1), views(1))
    assert not torch.equal(views(1), views(2))
    assert len({view.numpy().tobytes() for view in views(1)}) == 4


def test_no_corner_is_black() -> None:
    photo = torch.full((3, 256, 256), 200, dtype=torch.uint8)
    torch.manual_seed(0)
    strong = Augmentation(probability=1.0, lighting=0.0)
    for _ in range(40):
        assert augment(photo, strong, 224).min() >= 199


@pytest.mark.parametrize("name", ["flip", "rotate", "zoom", "warp", "lighting", "crop"])
def test_each_augmentation_acts_alone(name: str) -> None:
    on = {"flip": 1.0, "crop": True}.get(name, getattr(Augmentation(), name))
    only = Augmentation(**{**vars(NO_AUGMENTATION), "probability": 1.0, name: on})
    photo = wide_view(read_photo(photo_bytes((400, 300)), enough=512), 256)
    torch.manual_seed(3)
    changed = augment(photo, only, 224)
    plain = augment(photo, NO_AUGMENTATION, 224)
    assert not torch.equal(changed, plain)
    if name == "flip":
        assert torch.equal(changed, plain.flip(-1))


def test_batches_are_of_equal_size_and_hold_every_photo_once() -> None:
    wide = tuple(torch.full((3, 256, 256), value, dtype=torch.uint8) for value in range(33))
    photos = Photos((), torch.arange(33), torch.empty(33, 3, 224, 224, dtype=torch.uint8), wide)
    found = list(batches(photos, NO_AUGMENTATION, 224, 32))
    assert sorted(len(labels) for _, labels in found) == [16, 17]
    assert sorted(torch.cat([labels for _, labels in found]).tolist()) == list(range(33))
    assert all(int(pixels[i, 0, 0, 0]) == label for pixels, labels in found for i, label in enumerate(labels.tolist()))


def test_broken_photos_are_named_and_left_out(draw) -> None:
    data: Path = draw(disc=3, square=3)
    whole = (data / "disc" / "01.jpg").read_bytes()
    (data / "disc" / "01.jpg").write_bytes(whole[: len(whole) // 2])
    rows = [Row(f"{label}/{n:02}.jpg", label, "train", "") for label in ("disc", "square") for n in range(3)]
    done: list[None] = []
    photos, broken = load(data, rows, ["disc", "square"], PREPROCESS, wide=True, advance=lambda: done.append(None))
    assert broken == ["disc/01.jpg left out: This JPEG file is damaged and cannot be read."]
    assert [row.file for row in photos.rows] == [row.file for row in rows if row.file != "disc/01.jpg"]
    assert photos.labels.tolist() == [0, 0, 1, 1, 1]
    assert photos.views.shape == (5, 3, 224, 224)
    assert len(photos.wide) == 5
    assert len(done) == 6


def test_views_are_model_input_bit_for_bit(draw) -> None:
    data: Path = draw(disc=1)
    photos, _ = load(data, [Row("disc/00.jpg", "disc", "", "")], ["disc"], PREPROCESS, wide=False, advance=lambda: None)
    photo = read_photo((data / "disc" / "00.jpg").read_bytes(), enough=2 * PREPROCESS.resize)
    assert np.array_equal(photos.views[0].permute(1, 2, 0).numpy(), model_input(photo, PREPROCESS))
    assert photos.wide == ()
