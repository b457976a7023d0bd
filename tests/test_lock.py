"""requirements.txt, which the image is built from: complete, within pyproject.toml's bounds, each file's hash in it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.live import ROOT

LOCK = (ROOT / "requirements.txt").read_text()
TRAINING_ONLY = {"torch", "torchvision", "onnx", "onnxruntime", "nncf", "matplotlib"}
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
    version, _ = PINS[canonicalize_name(bound.name)]
    assert bound.specifier.contains(version)


def test_what_they_need_in_turn_is_pinned_and_nothing_else() -> None:
    needed, todo = set(), [canonicalize_name(bound.name) for bound in BOUNDS]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            lines = map(Requirement, requires(name) or ())
            wanted = [line for line in lines if line.marker is None or line.marker.evaluate({"extra": ""})]
            todo += [canonicalize_name(line.name) for line in wanted]
    assert needed == set(PINS)
    assert not needed & TRAINING_ONLY


def test_it_names_no_place() -> None:
    """Neither an index nor a folder of whoever made it."""
    assert not re.search(r"://|--(extra-)?index|--find-links|\s/|file:", LOCK)
    assert "make lock" in LOCK.splitlines()[1]
