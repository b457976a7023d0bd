import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.image import Preprocess, model_input, read_photo
from training.augment import Cache, draw, views
from training.dataset import load, to_tensor, wide_view
from training.folders import Row
from training.recipe import NO_AUGMENTATION

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
    plain = draw(1, NO_AUGMENTATION, torch.Generator())
    seen = views(Cache.of([wide_view(photo, 256)]), torch.tensor([0]), plain, 224)[0]
    served = to_tensor(model_input(photo, PREPROCESS))
    assert (seen - served.float()).abs().mean() <= 1.0


def test_wide_view_is_upright_with_even_sides_and_at_most_two_to_one() -> None:
    assert wide_view(read_photo(photo_bytes((333, 500)), enough=512), 256).shape == (3, 384, 256)
    assert wide_view(read_photo(photo_bytes((333, 500), 6), enough=512), 256).shape == (3, 256, 384)
    assert wide_view(read_photo(photo_bytes((3000, 100)), enough=512), 256).shape == (3, 256, 512)


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
    assert len(photos.cache.start) == 5
    assert len(done) == 6


def test_views_are_model_input_bit_for_bit(draw) -> None:
    data: Path = draw(disc=1)
    photos, _ = load(data, [Row("disc/00.jpg", "disc", "", "")], ["disc"], PREPROCESS, wide=False, advance=lambda: None)
    photo = read_photo((data / "disc" / "00.jpg").read_bytes(), enough=2 * PREPROCESS.resize)
    assert np.array_equal(photos.views[0].permute(1, 2, 0).numpy(), model_input(photo, PREPROCESS))
    assert len(photos.cache.start) == 0
