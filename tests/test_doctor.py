"""What may hurt an answer: each trouble alone, made of a real photo, is told of, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from app import doctor
from app.bundle import read_bundle
from app.classifier import load_classifier
from app.image import Preprocess, model_input, read_photo
from tests import bundles
from tests.attacks.hostile import refusal
from tests.photos import encode, upright

PREPROCESS = Preprocess()
USUAL = {"short_side": 256.0, "sharpness": 0.03, "brightness": 50.0, "variety": 37.0}


def measured(image: Image.Image) -> dict[str, float]:
    photo = read_photo(encode(image, "PNG"), enough=512)
    return doctor.measure(photo, model_input(photo, PREPROCESS))


def codes(image: Image.Image) -> list[str]:
    return [note["code"] for note in doctor.notes(measured(image), USUAL)]


TROUBLES: dict[str, tuple[Callable[[Image.Image], Image.Image], list[str]]] = {
    "none": (lambda image: image, []),
    "blurred": (lambda image: image.filter(ImageFilter.GaussianBlur(6)), ["blurry"]),
    "dark": (lambda image: image.point(lambda value: value // 5), ["dark"]),
    "dark and blurred": (
        lambda image: image.filter(ImageFilter.GaussianBlur(6)).point(lambda value: value // 5),
        ["blurry", "dark"],
    ),
    "pale": (lambda image: image.point(lambda value: 200 + value // 20), ["one_colour"]),
    "small, and so without detail": (lambda image: image.resize((60, 39)), ["tiny"]),
    "black": (lambda image: Image.new("RGB", image.size), ["dark"]),
    "red": (lambda image: Image.new("RGB", image.size, (255, 60, 60)), ["one_colour"]),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_what_is_amiss_is_told(name: str) -> None:
    change, expected = TROUBLES[name]
    assert codes(change(upright())) == expected


def test_sharpness_does_not_go_by_contrast() -> None:
    plain = measured(upright())["sharpness"]
    assert measured(upright().point(lambda value: 60 + value // 2))["sharpness"] == pytest.approx(plain, rel=0.05)


def test_one_colour_means_every_channel() -> None:
    """Red and blue stripes have the same green throughout."""
    image = Image.new("RGB", (400, 400), (220, 60, 0))
    image.paste((0, 60, 220), (0, 0, 200, 400))
    assert measured(image)["variety"] > 100
    assert "one_colour" not in codes(image)


def test_a_bundle_that_does_not_say_what_is_usual_has_no_such_notes() -> None:
    assert list(doctor.notes(measured(Image.new("RGB", (50, 50))), {})) == []


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundles.copy(tmp_path)


def test_an_answer_tells_of_both_what_was_done_and_what_may_hurt(bundle: Path) -> None:
    bundles.change_card(bundle, lambda card: card.update(usual=USUAL))
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encode(upright().filter(ImageFilter.GaussianBlur(9)), "JPEG", exif=turned)
    answer = load_classifier(bundle, "openvino", 1).classify(data)
    assert [note["code"] for note in answer.notes] == ["rotated", "blurry"]


def test_the_card_is_read(bundle: Path) -> None:
    bundles.change_card(bundle, lambda card: card.update(usual=USUAL))
    assert read_bundle(bundle).usual == USUAL


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("value", [-1, 1e9, True, "1", None])
def test_a_hostile_value_is_refused(bundle: Path, name: str, value: object) -> None:
    card = json.loads((bundle / "model.json").read_text())
    card["usual"] = {**USUAL, name: value}
    (bundle / "model.json").write_text(json.dumps(card))
    assert f"{name} must be a number" in refusal(bundle)
