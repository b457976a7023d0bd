"""requirements.txt, which the image is built from: complete, within pyproject.toml's bounds, each file's hash in it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.live import ROOT

LOCK = (ROOT / "requirements.txt").read_text()
TRAINING_ONLY = {"torch", "torchvision", "onnx", "onnxruntime", "nncf", "matplotlib"}
IMAGE = {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux", "extra": ""}
BOUNDS = [Requirement(line) for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]]


def pins(text: str) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by name. ValueError for a line that is no `name==version` followed by hashes."""
    found = {}
    for line in re.sub(r"\\\n", " ", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)).splitlines():
        match = re.fullmatch(r"([\w.-]+)==([\w.]+)((?: +--hash=sha256:[0-9a-f]{64})+)", line)
        if match is None:
            raise ValueError(line)
        found[canonicalize_name(match[1])] = (match[2], match[3].split())
    return found


PINS = pins(LOCK)


@pytest.mark.parametrize("line", ["a>=1", "a==1", "a @ https://b/a.whl", "--index-url x", "a==1 --hash=sha256:12"])
def test_the_reader_refuses(line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)):
        pins(line)


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.name)
def test_each_dependency_is_pinned_within_its_bounds(bound: Requirement) -> None:
    pinned, _ = PINS[canonicalize_name(bound.name)]
    assert bound.specifier.contains(pinned)


def test_it_was_made_from_these_dependencies() -> None:
    """`make lock` was run since one came or went: uv notes who asked for each package."""
    blocks = re.findall(r"^([\w.-]+)==.*\n(?:    --hash.*\n)+((?:    #.*\n)+)", LOCK, re.MULTILINE)
    assert len(blocks) == len(PINS)
    asked = {canonicalize_name(name) for name, notes in blocks if "tellapart (pyproject.toml)" in notes}
    assert asked == {canonicalize_name(bound.name) for bound in BOUNDS}


def test_what_they_need_in_turn_is_pinned_and_no_training() -> None:
    """Of those installed here in the pinned version; pip itself refuses to build an image with a hash missing."""
    for name in (name for name, (pinned, _) in PINS.items() if version(name) == pinned):
        lines = map(Requirement, requires(name) or ())
        needed = {canonicalize_name(line.name) for line in lines if not line.marker or line.marker.evaluate(IMAGE)}
        assert needed <= set(PINS), name
    assert not set(PINS) & TRAINING_ONLY


def test_it_names_no_place() -> None:
    """Neither an index nor a folder of whoever made it."""
    assert not re.search(r"://|--(extra-)?index|--find-links|\s/|file:", LOCK)
    assert "make lock" in LOCK.splitlines()[1]
