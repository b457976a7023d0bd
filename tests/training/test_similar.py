from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from app.image import read_photo
from tests.training.conftest import Draw, picture
from training.similar import DISTANCE, fingerprint, fingerprints, groups


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def bits(content: bytes) -> int:
    return fingerprint(read_photo(content, enough=64))


ORIGINAL = picture("disc", 1, (480, 360))


def turned() -> bytes:
    """Stored lying on its side, with EXIF that says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(ORIGINAL.transpose(Image.Transpose.ROTATE_90), quality=90, exif=exif)


@pytest.mark.parametrize(
    "copy",
    [
        encoded(ORIGINAL, quality=30),
        encoded(ORIGINAL.resize((120, 90))),
        encoded(ORIGINAL.resize((960, 720))),
        encoded(ORIGINAL.crop((5, 4, 475, 356))),
        encoded(ImageOps.grayscale(ORIGINAL), "PNG"),
        encoded(ORIGINAL, "WEBP", quality=50),
        turned(),
    ],
    ids=["q30", "smaller", "larger", "cropped", "grey", "webp", "turned"],
)
def test_a_copy_keeps_its_fingerprint(copy: bytes) -> None:
    assert (bits(copy) ^ bits(encoded(ORIGINAL, quality=95))).bit_count() <= DISTANCE


def test_other_photos_and_the_mirror_image_are_far_away() -> None:
    own = bits(encoded(ORIGINAL))
    others = [picture(shape, seed, (480, 360)) for shape in ("disc", "square") for seed in range(2, 12)]
    for other in (*others, ImageOps.mirror(ORIGINAL)):
        assert (bits(encoded(other)) ^ own).bit_count() > DISTANCE


def test_flat_pictures_match_only_their_equals() -> None:
    black, grey, again = (bits(encoded(Image.new("RGB", (90, 70), (n, n, n)), "PNG")) for n in (0, 128, 128))
    assert grey == again
    assert (black ^ grey).bit_count() > DISTANCE


def test_fingerprints_of_files_with_odd_names_and_of_none(draw: Draw) -> None:
    data = draw(disc=2)
    (data / "disc/ÄÖ Bär.JPG").write_bytes((data / "disc/00.jpg").read_bytes())
    (data / "disc/text.jpg").write_text("no photo")
    ticks: list[int] = []
    files = ["disc/00.jpg", "disc/text.jpg", "disc/ÄÖ Bär.JPG", "disc/gone.jpg", "disc/01.jpg"]
    found = fingerprints(data, files, lambda: ticks.append(1))
    assert found[0] == found[2] != found[4]
    assert found[1] is None and found[3] is None
    assert len(ticks) == 5


def test_groups_hold_equal_near_and_chained_photos_both_edges() -> None:
    near, far = (1 << DISTANCE) - 1, (1 << (DISTANCE + 1)) - 1
    assert groups([0, near]) == [[0, 1]]
    assert groups([0, far]) == []
    assert groups([2**64 - 1, 0, near << DISTANCE, near, 2**64 - 1]) == [[0, 4], [1, 2, 3]]
    assert groups([]) == groups([7]) == []
    assert groups([0, 1], within=0) == []


def test_groups_agree_with_plain_loops_across_blocks() -> None:
    chance = np.random.default_rng(3)
    prints = [int(value) for value in chance.integers(0, 2**64, 700, dtype=np.uint64)]
    prints += [prints[index] ^ 0b1011 for index in range(0, 700, 9)]
    expected = sorted([index, 700 + place] for place, index in enumerate(range(0, 700, 9)))
    assert sorted(groups(prints)) == expected


def test_none_of_the_modules_imports_torch() -> None:
    code = "import sys, training.download, training.verify, training.split; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
