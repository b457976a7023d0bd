"""Who may import whom, read from the sources: every import counts, wherever in a module it stands."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT

WEB = {"starlette", "uvicorn", "h11", "httpx2", "httpcore2", "anyio", "jinja2", "multipart", "python_multipart"}
PURE = ("image", "bundle", "engine", "answer", "admission", "tensors", "payload")
MAX_LINES = 300


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


APP, TRAINING = modules("app"), modules("training")
OURS = APP | TRAINING


def imports(source: str) -> set[str]:
    """The dotted names that a module's source imports; `from x import y` gives x and x.y, as y may be a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "write imports in full: from app import x"
            assert node.level == 0, "write imports in full: from app.x import y"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def outside(name: str) -> set[str]:
    """The top-level packages that one of our modules imports itself."""
    return {imported.split(".")[0] for imported in imports(OURS[name].read_text())}


def reached(name: str) -> set[str]:
    """Our modules that importing `name` may bring in, itself included."""
    found, todo = set(), [name]
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += [imported for imported in imports(OURS[module].read_text()) if imported in OURS]
    return found


def test_the_reader_sees_imports_wherever_they_stand() -> None:
    source = "import a.b as c\nfrom d import e\ndef f():\n    if g:\n        from h.i import j\n"
    assert imports(source) == {"a.b", "d", "d.e", "h.i", "h.i.j"}
    assert reached("app.server") >= {"app.server", "app.routes", "app.engine", "app.engine_torch", "app.image"}
    assert "uvicorn" in outside("app.server")
    assert "torch" in outside("app.engine_torch")
    assert "app" in outside("training.export")


@pytest.mark.parametrize("name", APP)
def test_app_never_imports_training(name: str) -> None:
    assert "training" not in outside(name)


@pytest.mark.parametrize("name", PURE)
def test_the_core_knows_no_web_framework(name: str) -> None:
    for module in reached(f"app.{name}"):
        assert not outside(module) & WEB, module


def test_only_one_module_imports_openvino() -> None:
    assert [name for name in OURS if "openvino" in outside(name)] == ["app.engine"]


def test_only_the_torch_engine_of_the_app_imports_torch() -> None:
    """And only the classifier imports that one, where torch is asked for."""
    train_extra = {"torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "nncf", "rich"}
    assert [name for name in APP if outside(name) & train_extra] == ["app.engine_torch"]
    assert [name for name in APP if "app.engine_torch" in imports(APP[name].read_text())] == ["app.classifier"]
    at_the_top = {
        node for node in ast.parse(APP["app.classifier"].read_text()).body if isinstance(node, ast.ImportFrom)
    }
    assert "app.engine_torch" not in {node.module for node in at_the_top}


def test_the_service_starts_without_what_no_answer_about_a_photo_needs() -> None:
    program = "import sys, app.server; print(*[name for name, module in sys.modules.items() if module])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    started = set(done.stdout.split())
    assert {"app.server", "app.engine", "openvino"} <= started
    assert not started & {
        "torch",
        "opentelemetry",
        "app.openapi",
        "app.schemas",
        "app.commands",
        "openvino.tools.ovc",
        "PIL.ImageShow",
    }


@pytest.mark.parametrize("name", APP)
def test_nothing_is_imported_behind_the_readers_back(name: str) -> None:
    called = {node.func for node in ast.walk(ast.parse(OURS[name].read_text())) if isinstance(node, ast.Call)}
    names = {
        f.attr if isinstance(f, ast.Attribute) else f.id for f in called if isinstance(f, ast.Attribute | ast.Name)
    }
    assert not names & {"__import__", "import_module"}


@pytest.mark.parametrize("name", OURS)
def test_a_module_past_300_lines_wants_splitting(name: str) -> None:
    assert len(OURS[name].read_text().splitlines()) <= MAX_LINES
