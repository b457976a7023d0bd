"""What photos are like that trained: the thresholds of the photo doctor's notes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from app.doctor import NOTES
from app.image import Preprocess
from tests.training.conftest import Draw, picture
from training.calibrate import FEWEST
from training.usual import RARE, lowest

PREPROCESS = Preprocess()


def photos(data: Path) -> list[Path]:
    return sorted(path for path in data.rglob("*") if path.is_file())


def look(data: Path) -> dict[str, float]:
    return lowest(photos(data), PREPROCESS, lambda: None)


def test_each_is_what_all_but_a_few_reach(draw: Draw) -> None:
    data = draw(disc=FEWEST)
    plain = look(data)
    assert list(plain) == list(NOTES)
    assert plain["short_side"] == 90
    for number in range(int(1 / RARE) - FEWEST):
        picture("disc", 1000 + number).point(lambda value: 120 + value // 2).save(data / "disc" / f"bright{number}.png")
    Image.new("RGB", (90, 90), (9, 9, 9)).save(data / "disc" / "dark.png")
    after = look(data)
    assert 9 < after["brightness"] <= min(plain["brightness"] + 1, 130)  # one of a hundred does not make the rule


def test_large_photos_do_not_make_others_small(draw: Draw) -> None:
    data = draw(disc=FEWEST - 1)
    small = look(data)
    assert small == {}
    for number in range(FEWEST):
        picture("disc", 500 + number, (900, 700)).save(data / "disc" / f"large{number}.png")
    for path in photos(data)[: FEWEST - 1]:
        path.unlink()
    assert look(data)["short_side"] == PREPROCESS.resize


def test_photos_that_cannot_be_read_are_left_out(draw: Draw) -> None:
    data = draw(disc=FEWEST)
    before = look(data)
    (data / "disc" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert look(data) == before


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 10, 10)])
def test_blank_pictures_say_nothing_of_sharpness(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    for number in range(FEWEST):
        Image.new("RGB", (300, 300), colour).save(tmp_path / f"{number}.png")
    assert "sharpness" not in look(tmp_path)
