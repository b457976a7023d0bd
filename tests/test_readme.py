"""README.md, taken at its word: its commands are run, its answers compared, and its links followed, in docs/ too."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drawings import KINDS, bear, jpeg
from tests.live import ROOT, Live, clean_env, free_port, live_service, started
from tests.wire import TEDDY, post

README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8000"
TRAINING = "takes a minute and more; tests/training/test_train.py and test_export.py"
PUBLISHED = "tells how the bundle was made, from photos and weights that are not public"

# Every line of README's sh blocks is run, but for these.
NOT_RUN = {
    "make serve": "installs from the network; test_install.py makes the same environment, and serves from it",
    "make test": "runs this test",
    "make .venv .venv-test": "installs from the network; this test's own Python comes of it",
    "curl 'http://127.0.0.1:8000/classify-url?url=https://example.org/your-bear.jpg'": "network; test_fetch.py",
    ".venv-test/bin/python -m training train DATA --out runs/mine": TRAINING,
    ".venv-test/bin/python -m training export runs/mine --out models/mine": TRAINING,
    ".venv-test/bin/python -m training train DATA --out runs/bears --weights FILE": PUBLISHED,
    ".venv-test/bin/python -m training export runs/bears --out models/bears --golden models/bears/golden": PUBLISHED,
    ".venv/bin/python -m app tune": "half a minute; test_tune.py",
    "docker build --tag tellapart .": "docker; test_docker.py",
    "docker run --rm --publish 8000:8000 --stop-timeout 25 tellapart": "docker; test_docker.py",
    "docker compose --file deploy/compose.yaml up --build": "docker; test_deploy.py",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


COMMANDS = [re.sub(r"\s+#.*", "", line) for block in blocks("sh") for line in block.splitlines()]


def environ() -> dict[str, str]:
    """README is about the bundle that ships, whatever `make test` was given."""
    return {name: value for name, value in clean_env().items() if not name.startswith("TELLAPART_")}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_service("--model", "models/bears") as live:
        yield live


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working copy with this environment for both, drawn bears in DATA, and the shipped bundle as models/mine."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "models").mkdir()
    for name in ("app", "training", "static", "templates", "models/bears"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "models/mine").symlink_to(ROOT / "models/bears")
    for name in (".venv", ".venv-test"):
        (folder / name).symlink_to(sys.prefix)
    for kind in KINDS:
        (folder / "DATA" / kind).mkdir(parents=True)
        (folder / "DATA" / kind / "0.jpg").write_bytes(jpeg(bear(kind, 0)))
    return folder


def run(line: str, clone: Path) -> str:
    """What a command says; it must succeed."""
    done = subprocess.run(line, shell=True, cwd=clone, env=environ(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_command_does_what_it_says(live: Live, clone: Path) -> None:
    assert NOT_RUN.keys() <= {*COMMANDS}, "a line that README no longer has"
    for line in [line for line in COMMANDS if line not in NOT_RUN]:
        if " app serve" in line:
            port = free_port()
            with started(shlex.split(line), port, cwd=clone, env=environ() | {"TELLAPART_PORT": str(port)}) as served:
                assert post(served, TEDDY).json()["verdict"] == "teddys"
        else:
            run(line.replace(ADDRESS, live.url), clone)


def test_the_answers_are_those_that_it_shows(live: Live, clone: Path) -> None:
    shown, refused = (json.loads(block) for block in blocks("json"))
    curl = next(line for line in COMMANDS if line.startswith("curl -F"))
    answer = json.loads(run(curl.replace(ADDRESS, live.url), clone))
    [python] = blocks("python")
    printed = run(f".venv/bin/python -c {shlex.quote(python.replace(ADDRESS, live.url))}", clone)
    assert ast.literal_eval(printed) == answer["predictions"]
    # Half a digit of rounding, and what golden photos may differ by on another processor.
    assert dict(answer.pop("predictions")) == pytest.approx(dict(shown.pop("predictions")), abs=0.0015)
    assert answer == shown
    response = post(live, b"no photo")
    assert (response.status_code, response.json()) == (415, refused)


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^):]*)\)", prose(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        titles = re.findall(r"^#+ (.*)", prose(target), re.MULTILINE) if anchor else []
        assert anchor in {"", *(re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in titles)}, link


def test_the_tree_names_every_module() -> None:
    tree = README.partition("## What stands where")[2]
    modules = [path.name for package in ("app", "training", "bench") for path in (ROOT / package).glob("*.py")]
    assert [name for name in modules if name not in tree and name != "__init__.py"] == []


def prose(page: Path) -> str:
    """A Markdown page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
