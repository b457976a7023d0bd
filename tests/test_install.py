"""What an operator installs: `make serve`'s own venv, in a folder of the test's own, and a wheel. No fakes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.assets import asset
from tests.live import ROOT, clean_env, free_port, started
from tests.wire import TEDDY

HANG_S = 280
MAX_MB = 450
TRAINING_ONLY = ("torch", "torchvision", "onnx", "onnxruntime", "nncf", "onnxscript")


def run(*command: object, cwd: Path, **environ: str) -> str:
    """A command's output; it must succeed. Nothing of a `make test` around it, or of its venv, is passed on."""
    outside = clean_env()
    env = {name: value for name, value in outside.items() if not name.startswith(("MAKE", "MFLAGS", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env | environ, capture_output=True, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Python of a serving-only venv, made by the Makefile's own rule."""
    folder = tmp_path_factory.mktemp("serving")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    rule = ("make", f"PYTHON={sys.executable}", ".venv/.installed")
    run(*rule, cwd=folder)
    run(*rule, "--question", cwd=folder)  # nothing is left to do, which makes a second `make serve` quick
    yield folder / ".venv" / "bin" / "python"
    shutil.rmtree(folder)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def serve_and_classify(python: Path, cwd: Path) -> None:
    """Start the service without a word about the bundle, open the page and its parts, and upload a JPEG."""
    port = free_port()
    with started([str(python), "-m", "app", "serve", "--port", str(port)], port, cwd=cwd, env=clean_env()) as live:
        with httpx2.Client(base_url=live.url, timeout=HANG_S, trust_env=False) as client:
            answer = client.post("/upload", files={"file": TEDDY}).json()
            page = client.get("/", headers={"Accept": "text/html"})
            for part in (asset("page.css"), asset("page.js")):
                assert part in page.text
                assert client.get(part).status_code == 200
        assert {name for name, _ in answer["predictions"]} == {"black", "grizzly", "teddys"}
        assert answer["model"]["name"] == "bears"


def test_the_shipped_bundle_runs_in_a_serving_only_venv(python: Path) -> None:
    serve_and_classify(python, ROOT)


def test_what_training_needs_is_not_there(python: Path, empty: Path) -> None:
    source = f"""
for name in {TRAINING_ONLY}:
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error.name)
"""
    assert tuple(run(python, "-c", source, cwd=empty).split()) == TRAINING_ONLY
    command = [python, "-m", "app", "check", "--engine", "torch", ROOT / "models" / "bears"]
    done = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=HANG_S)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "The torch engine needs the train extra" in done.stderr


def test_the_environment_is_small(python: Path) -> None:
    """Everything in it but uv and pip, which only installed it."""
    venv, size = python.parent.parent, 0
    for folder, folders, files in os.walk(venv):
        folders[:] = [name for name in folders if name.partition("-")[0] not in ("pip", "uv")]
        size += sum((Path(folder) / name).lstat().st_size for name in files if name not in ("uv", "uvx"))
    assert 100 <= size / 1e6 <= MAX_MB


def test_a_wheel_has_all_that_it_serves(python: Path, tmp_path: Path, empty: Path) -> None:
    uv = python.parent / "uv"
    run(uv, "build", "--quiet", "--wheel", "--python", python, "--out-dir", tmp_path, ROOT, cwd=empty)
    (wheel,) = tmp_path.glob("tellapart-*.whl")
    run(uv, "pip", "install", "--quiet", "--python", python, wheel, cwd=empty)
    found = run(python, "-c", "from app.settings import Settings; print(Settings().model)", cwd=empty).strip()
    assert Path(found).is_relative_to(python.parent.parent)
    assert "golden photos agree" in run(python, "-m", "app", "check", found, cwd=empty)
    serve_and_classify(python, empty)
    assert list(empty.iterdir()) == []
