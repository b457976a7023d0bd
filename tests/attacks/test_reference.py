"""A stranger's reference.safetensors and thresholds: refused with one sentence, or no worse than an honest one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from app.card import REFERENCE, WEIGHTS
from app.classifier import load_classifier
from app.outside import MOST, NAME, WIDTH, write
from tests import bundles
from tests.attacks.hostile import put, refusal, tensors
from tests.wire import TEDDY

Array = np.ndarray[Any, np.dtype[Any]]


def one(row: int, value: float) -> Array:
    """Ten unit rows, with that value in one of them."""
    found = np.zeros((10, WIDTH), np.float16)
    found[:, 0] = 1
    found[row, 0] = value
    return found


def named(**found: Array) -> bytes:
    return save(found)


GOOD = one(0, 1)
FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "reference.safetensors"),
    "a pickle": (b"\x80\x04\x95csystem\n.", "not hold features"),
    "a header of 2⁶³ bytes": ((1 << 63).to_bytes(8, "little") + b"{}", "not hold features"),
    "a header of lists": (tensors(b"[" * 90_000), "not hold features"),
    "a tensor beyond the file": (
        tensors(b'{"features":{"dtype":"F16","shape":[960,512],"data_offsets":[0,983040]}}'),
        "not hold features",
    ),
    "a tensor of nothing by 2⁶³": (
        tensors(b'{"features":{"dtype":"F16","shape":[0,9223372036854775807],"data_offsets":[0,0]}}'),
        "not hold features",
    ),
    "a kind of number that numpy lacks": (
        tensors(b'{"features":{"dtype":"BF16","shape":[1,512],"data_offsets":[0,1024]}}', bytes(1024)),
        "not hold features",
    ),
    "another name": (named(x=GOOD), "alone"),
    "two tensors": (named(**{NAME: GOOD, "x": GOOD}), "alone"),
    "no rows": (named(**{NAME: GOOD[:0]}), "rows of 512"),
    "rows too many": (named(**{NAME: np.zeros((MOST + 1, WIDTH), np.float16)}), "rows of 512"),
    "bytes": (named(**{NAME: np.ones((10, WIDTH), np.uint8)}), "float16"),
    "doubles": (named(**{NAME: GOOD.astype(np.float64)}), "float16"),
    "features too few": (named(**{NAME: GOOD[:, :511]}), "rows of 512"),
    "one row": (named(**{NAME: GOOD[0]}), "rows of 512"),
    **{
        f"a feature of {value}": (named(**{NAME: one(3, value)}), "length 1")
        for value in (float("nan"), float("inf"), 6e4, 0.9, 0)
    },
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the shipped bundle that can tell what is outside."""
    folder: Path = shutil.copytree(bundles.SHIPPED, tmp_path / "bears", ignore=shutil.ignore_patterns(WEIGHTS))
    os.link(bundles.SHIPPED / WEIGHTS, folder / WEIGHTS)
    (folder / REFERENCE).write_bytes(write(GOOD))

    def change(card: dict[str, Any]) -> None:
        card["calibration"]["outside_below"] = 0.5
        card["files"][REFERENCE] = {}

    bundles.change_card(folder, change)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_reference(bundle: Path, name: str) -> None:
    content, reason = FILES[name]
    put(bundle, REFERENCE, content)
    assert reason in refusal(bundle)


def test_a_link_is_not_opened(bundle: Path, tmp_path: Path) -> None:
    (bundle / REFERENCE).rename(tmp_path / "elsewhere")
    (bundle / REFERENCE).symlink_to(tmp_path / "elsewhere")
    assert "not a plain file" in refusal(bundle)


def drop(card: dict[str, Any]) -> None:
    del card["files"][REFERENCE]


def threshold(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda card: card["calibration"].update({name: value})


CARDS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a threshold without the file": (drop, "cannot be told"),
    "a large file": (lambda card: card["files"][REFERENCE].update(bytes=10**9), "size of reference"),
    **{
        f"{name} of {value!r}": (threshold(name, value), f"{name} must be a number")
        for name in ("outside_below", "unsure_below")
        for value in (2, -2, True, "0.5", None, [])
    },
}


@pytest.mark.parametrize("name", CARDS)
def test_a_hostile_threshold(bundle: Path, name: str) -> None:
    change, reason = CARDS[name]
    card = json.loads((bundle / "model.json").read_text())
    change(card)
    (bundle / "model.json").write_text(json.dumps(card))
    assert reason in refusal(bundle)


def test_a_reference_like_nothing_makes_all_outside_and_no_more(bundle: Path) -> None:
    """The worst that a well-formed one can do."""
    answer = load_classifier(bundle, "openvino", 1).classify(TEDDY)
    assert answer.verdict == "none of these"
    assert answer.predictions[0][0] == "teddys"
