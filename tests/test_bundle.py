"""A bundle that is not exactly the exported one is refused, each with its reason."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import classifier as classifier_module
from app.bundle import content_version, read_bundle
from app.card import CARD, GRAPH, WEIGHTS
from app.classifier import Classifier, load_classifier, replay
from app.engine import OpenVinoEngine
from app.errors import BundleError
from app.image import model_input
from tests.bundles import SHIPPED, change_card, change_tensor, copy

CLASSES = ("black", "grizzly", "teddys")


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_classifier(folder, "openvino", 1)
    return str(caught.value)


def test_the_shipped_bundle_loads() -> None:
    bundle = load_classifier(SHIPPED, "openvino", 1).bundle
    assert bundle.classes == CLASSES
    assert bundle.precision == "int8"
    assert 6 <= len(bundle.golden) <= 12
    assert bundle.version == content_version(bundle.card)
    assert bundle.card["training"]["lane"] == "full"


def test_each_class_leads_clearly_in_a_golden_photo() -> None:
    bundle = read_bundle(SHIPPED)
    clear = set()
    for golden in bundle.golden:
        second, first = sorted(golden.probabilities)[-2:]
        if first - second >= 4 * bundle.tolerance:
            clear.add(bundle.classes[int(np.argmax(golden.probabilities))])
    assert clear == set(CLASSES)


def test_the_card_names_no_path_of_the_machine_it_was_made_on() -> None:
    text = (SHIPPED / CARD).read_text()
    assert [place for place in ("/tmp", "/root", "/home", "/work", "C:\\") if place in text] == []


@pytest.mark.parametrize("pair", [*itertools.combinations(range(3), 2)])
def test_swapped_classes_are_refused(tmp_path: Path, pair: tuple[int, int]) -> None:
    def swap(card: dict[str, Any]) -> None:
        one, other = pair
        card["classes"][one], card["classes"][other] = card["classes"][other], card["classes"][one]

    bundle = copy(tmp_path)
    change_card(bundle, swap)
    assert "Golden photo" in refusal(bundle)


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, "golden/01.jpg"])
def test_a_flipped_bit_is_refused_and_the_file_named(tmp_path: Path, name: str) -> None:
    bundle = copy(tmp_path)
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    assert f"{bundle / name} was changed" in refusal(bundle)


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, "golden/01.jpg"])
def test_truncated_and_missing_files_are_refused(tmp_path: Path, name: str) -> None:
    bundle = copy(tmp_path)
    (bundle / name).write_bytes((bundle / name).read_bytes()[:-1])
    assert f"{bundle / name} has" in refusal(bundle)
    (bundle / name).unlink()
    assert f"{bundle / name} is missing" in refusal(bundle)


def keep(card: dict[str, Any], *names: str) -> None:
    """These classes alone; one that is new gets nothing in the golden answers."""
    card["classes"] = list(names)
    for photo in card["golden"]["photos"]:
        row = {name: photo["probabilities"].get(name, 0) for name in names}
        photo["probabilities"] = {name: p / sum(row.values()) for name, p in row.items()}


CARD_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "other format": (lambda card: card.update(format=2), "format 1"),
    "no classes": (lambda card: card.pop("classes"), "not a complete bundle card"),
    "a class twice": (lambda card: card["classes"].__setitem__(0, "teddys"), "look the same"),
    "a class called not sure": (
        lambda card: card["classes"].__setitem__(0, "not sure"),
        "an answer of the service's own",
    ),
    "a class with an escape code": (lambda card: card["classes"].__setitem__(0, "\x1b[31m"), "printable"),
    "a name with a line break": (lambda card: card.update(name="bears\n"), "printable"),
    "a lone surrogate": (lambda card: card.update(about="\ud800"), "surrogates"),
    "an endless number": (lambda card: card["preprocess"].update(mean=[10**400, 0, 0]), "not a complete bundle card"),
    "a class too few": (lambda card: keep(card, "black", "grizzly"), "fc.weight has shape"),
    "a class too many": (lambda card: keep(card, *CLASSES, "panda"), "fc.weight has shape"),
    "a class without answers": (lambda card: card["classes"].append("panda"), "a probability for each class"),
    "no golden photos": (lambda card: card["golden"].update(photos=[]), "golden"),
    "an unlisted golden photo": (lambda card: card["files"].pop("golden/01.jpg"), "is not among its files"),
    "weights not listed": (lambda card: card["files"].pop(WEIGHTS), f"{WEIGHTS} is not among its files"),
    "other crop": (lambda card: card["preprocess"].update(resize=224), "Golden photo"),
    "other mean": (lambda card: card["preprocess"].update(mean=[0.5, 0.5, 0.5]), "another mean or std"),
    "other std": (lambda card: card["preprocess"].update(std=[0.5, 0.5, 0.5]), "another mean or std"),
    "too few golden photos": (lambda card: card["golden"].update(photos=card["golden"]["photos"][:5]), "golden"),
    "examples by another word": (lambda card: card["golden"].update(examples="yes"), "examples"),
    "a loose tolerance": (lambda card: card["golden"].update(tolerance=9), "tolerance"),
    "a mean of two": (lambda card: card["preprocess"].update(mean=[0.5, 0.5]), "three numbers"),
    "a mean of words": (lambda card: card["preprocess"].update(mean=["a", "b", "c"]), "not a complete bundle card"),
    "other probabilities": (
        lambda card: card["golden"]["photos"][0]["probabilities"].update(black=0.3, grizzly=0.3, teddys=0.4),
        "Golden photo",
    ),
}


@pytest.mark.parametrize("name", CARD_FAULTS)
def test_a_forged_card_is_refused(tmp_path: Path, name: str) -> None:
    change, reason = CARD_FAULTS[name]
    bundle = copy(tmp_path)
    change_card(bundle, change)
    message = refusal(bundle)
    assert reason in message
    assert "\n" not in message


def test_a_card_changed_by_hand_is_refused(tmp_path: Path) -> None:
    bundle = copy(tmp_path)
    card = json.loads((bundle / CARD).read_text())
    card["about"] = "the best of bears"
    (bundle / CARD).write_text(json.dumps(card))
    assert "the card was changed after the export" in refusal(bundle)


def test_a_mean_changed_in_weights_and_card_alike_is_refused(tmp_path: Path) -> None:
    bundle = copy(tmp_path)
    change_card(bundle, lambda card: card["preprocess"].update(mean=[0.5, 0.5, 0.5]))
    mean, std = np.full(3, 0.5), np.array([0.229, 0.224, 0.225])
    change_tensor(bundle, "shift", lambda shift: (mean / std).reshape(shift.shape))
    assert "Golden photo" in refusal(bundle)


def test_bgr_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(SHIPPED)
    swapped = Classifier(bundle, OpenVinoEngine(bundle.graph, 1))
    monkeypatch.setattr(classifier_module, "model_input", lambda *args: model_input(*args)[..., ::-1].copy())
    with pytest.raises(BundleError, match="Golden photo"):
        for golden in bundle.golden:
            replay(swapped, golden)


def test_a_file_outside_the_bundle_is_refused(tmp_path: Path) -> None:
    bundle = copy(tmp_path)
    (tmp_path / "stranger.jpg").write_bytes((bundle / "golden/01.jpg").read_bytes())
    change_card(bundle, lambda card: card["files"].__setitem__("../stranger.jpg", {}))
    assert "which no bundle has" in refusal(bundle)


def test_a_symbolic_link_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    bundle = copy(tmp_path)
    (bundle / GRAPH).rename(tmp_path / GRAPH)
    (bundle / GRAPH).symlink_to(tmp_path / GRAPH)
    assert "is not a plain file" in refusal(bundle)


class Payload:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
def test_a_pickle_in_disguise_is_refused_and_does_not_run(tmp_path: Path, name: str) -> None:
    bundle = copy(tmp_path)
    (bundle / name).write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    change_card(bundle, lambda card: None)
    assert name in refusal(bundle)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is not JSON"), (b"[]", "format 1"), (b"\xff\xfe", "is not JSON"), (b'{"format": 1}', "not a complete")],
)
def test_a_card_of_rubbish_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / CARD).write_bytes(content)
    assert reason in refusal(tmp_path)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    assert "has no model.json" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "nowhere")
