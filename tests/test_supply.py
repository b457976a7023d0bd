"""What the project is made of: pinned where it must be, listed by command. `make check` runs the linters themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.live import ROOT
from tests.test_lock import PINS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("group", ["lint", "audit"])
def test_what_judges_the_code_is_pinned(group: str) -> None:
    """A newer linter finds something else: the day it does so is chosen here."""
    for line in map(Requirement, PROJECT["dependency-groups"][group]):
        assert [bound.operator for bound in line.specifier] == ["=="], line


@pytest.mark.parametrize(
    "lines",
    [
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        PROJECT["dependency-groups"]["test"],
    ],
)
def test_the_rest_has_a_lower_bound(lines: list[str]) -> None:
    """And no upper one, which would keep a mended version out."""
    for line in map(Requirement, lines):
        assert [bound.operator for bound in line.specifier] == [">="], line


def test_make_sbom_lists_every_pinned_package(tmp_path: Path) -> None:
    command = recipe("sbom")
    command[command.index("sbom.json")] = str(tmp_path / "sbom.json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "sbom.json").read_text())
    assert found["bomFormat"] == "CycloneDX"
    assert found["metadata"]["component"]["name"] == "tellapart"
    listed = {each["name"]: each for each in found["components"]}
    assert {name: each["version"] for name, each in listed.items()} == {name: pin for name, (pin, _) in PINS.items()}
    for name, (_, hashes) in PINS.items():
        told = {each["content"] for reference in listed[name]["externalReferences"] for each in reference["hashes"]}
        assert told == {each.removeprefix("--hash=sha256:") for each in hashes}


def test_make_audit_looks_at_what_the_image_holds() -> None:
    command = recipe("audit")
    assert Path(command[0]).is_file()
    assert command[command.index("--requirement") + 1] == "requirements.txt"
    assert {"--require-hashes", "--strict"} <= set(command), "what could not be looked up is no success"


def test_make_check_runs_both_sets_of_security_rules() -> None:
    assert "S" in PROJECT["tool"]["ruff"]["lint"]["select"]
    assert re.search(r"^\t\S+/bandit .* app training$", MAKEFILE, re.MULTILINE)


def recipe(target: str) -> list[str]:
    """The one command of a target of the Makefile, as this environment has it."""
    lines = MAKEFILE.replace("\\\n", "")
    match = re.search(rf"^{target}:.*\n\t([^|\n]+)", lines, re.MULTILINE)
    assert match
    return match[1].replace(".venv-test/bin/", f"{Path(sys.executable).parent}/").split()
