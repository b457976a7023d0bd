"""The export command, from a real run on drawn bears to a bundle that the service loads."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from app.bundle import read_bundle
from app.classifier import load_classifier
from app.engine import Outputs
from app.image import Pixels
from tests.bundles import SHIPPED, resnet_state
from tests.drawings import KINDS, bear, jpeg
from training import export, quantise
from training.__main__ import main
from training.quantise import Gate, gate
from training.run_folder import read_run
from training.views import photo_views

VIEWS = 150


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fast-lane run on 36 drawn bears, from the shipped bundle's own body."""
    folder = tmp_path_factory.mktemp("export")
    for kind in KINDS:
        (folder / "bears" / kind).mkdir(parents=True)
        for seed in range(12):
            (folder / "bears" / kind / f"{seed}.jpg").write_bytes(jpeg(bear(kind, 100 + seed)))
    save_file(resnet_state(read_bundle(SHIPPED)), folder / "body.safetensors")
    arguments = ["train", str(folder / "bears"), "--out", str(folder / "run"), "--lane", "fast"]
    assert main([*arguments, "--weights", str(folder / "body.safetensors")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    """That run exported as int8, where the gate is content with VIEWS views: 1,000 take float32 a minute."""
    said = io.StringIO()
    arguments = ["export", str(run), "--out", str(run.parent / "models/drawn"), "--about", "Drawn bears.", "--examples"]
    with redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "MIN_VIEWS", VIEWS)
        patch.setattr(quantise, "MIN_VIEWS", VIEWS)
        assert main(arguments) == 0
    assert len(said.getvalue().splitlines()) == 2  # none of NNCF's
    return run.parent / "models/drawn"


def test_the_bundle_loads_and_its_card_says_where_it_comes_from(run: Path, bundle: Path) -> None:
    card = load_classifier(bundle, "openvino", 1).bundle.card
    summary = json.loads((run / "run.json").read_text())
    assert (card["name"], card["about"], card["classes"]) == ("drawn", "Drawn bears.", sorted(KINDS))
    assert card["precision"] == "int8"
    assert card["golden"]["examples"]
    assert card["training"]["lane"] == "fast"
    assert card["training"]["split_sha256"] == summary["split_sha256"]
    assert card["training"]["data"]["hash"] == summary["data"]["hash"]
    assert card["training"]["weights"]["sha256"] == summary["weights"]["sha256"]
    assert str(run.parent) not in json.dumps(card)


def test_int8_agreed(bundle: Path) -> None:
    found = read_bundle(bundle).card["metrics"]["int8_gate"]["int8"]
    assert found["views"] >= VIEWS
    assert Gate(**found | {"views": 1000}).passed


def test_the_gate_sees_enough_views_and_none_that_calibrated(run: Path, tmp_path: Path) -> None:
    asked: dict[str, list[bytes]] = {"f32": [], "int8": []}

    class Instant:
        def __init__(self, name: str) -> None:
            self.name = name

        def infer(self, pixels: Pixels) -> Outputs:
            asked[self.name].append(pixels.tobytes())
            return Outputs(np.array([[2.0, 0.0, 0.0]]), np.zeros((1, 512)), np.zeros((1, 3, 7, 7)))

    exported = export.Export(read_run(run), tmp_path / "new", lambda *_: lambda: None)
    found = exported._gate(Instant("f32"), Instant("int8"), "int8", 1.0)
    assert found.passed
    assert found.views == len(asked["f32"]) >= 1000
    assert sorted(asked["f32"]) == sorted(asked["int8"])
    files = exported._calibration()
    calibrating = {view.tobytes() for path in files for view in photo_views(path, exported.finished.preprocess, 2)}
    assert len(calibrating) == 2 * len(files) > 0
    assert not calibrating & set(asked["int8"])


def test_the_card_gives_each_precisions_errors_with_counts_and_intervals(run: Path, bundle: Path) -> None:
    summary = json.loads((run / "run.json").read_text())["metrics"]["validation"]
    for rate in read_bundle(bundle).card["metrics"]["validation"].values():
        assert rate["photos"] == summary["photos"] == sum(each["photos"] for each in rate["per_class"].values())
        low, high = rate["wilson95"]
        assert 0 <= low <= rate["error_rate"] <= high <= 1
    assert read_bundle(bundle).card["metrics"]["validation"]["f32"]["errors"] == summary["errors"]


def test_the_folder_holds_what_the_card_lists_and_nothing_else(bundle: Path) -> None:
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == {"model.json", *read_bundle(bundle).card["files"]}
    assert (bundle / "weights.safetensors").stat().st_size < 22e6
    assert {(bundle / name).stat().st_mode for name in files} == {(bundle / "model.json").stat().st_mode}
    assert (bundle / "model.onnx").stat().st_size < 200e3


def test_a_checkpoint_that_the_graph_does_not_match_is_refused(run: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    real = export.graph.fold

    def fold_wrongly(*args: object) -> object:
        network = real(*args)
        network.fc.bias.data[0] += 0.05
        return network

    monkeypatch.setattr(export.graph, "fold", fold_wrongly)
    out = tmp_path / "models/wrong"
    assert main(["export", str(other), "--out", str(out), "--precision", "f32"]) == 2
    assert "differs from the checkpoint" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []


def test_int8_that_fails_the_gate_gives_way(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export.Export, "_gate", lambda *_: Gate(1000, 900, 0.5, 0.2, 1.0))
    monkeypatch.setattr(export, "quantise", lambda model, *_: quantise.quantise_weights(model))  # sooner done
    assert main(["export", str(run), "--out", str(tmp_path / "drawn")]) == 0
    made = read_bundle(tmp_path / "drawn")
    assert made.precision == "f32"
    assert set(made.card["metrics"]["int8_gate"]) == {"int8", "int8 weights"}
    assert load_file(tmp_path / "drawn/weights.safetensors")["layer1.0.conv1.weight"].dtype.is_floating_point


@pytest.mark.parametrize(
    ("out", "flags", "words"),
    [
        ("strangers", [], "exists and is no bundle"),
        ("new", ["--data", "/nowhere"], "give --data"),
        ("new", ["--golden", "/nowhere"], "holds no photos"),
    ],
)
def test_wrong_use_is_one_sentence(run: Path, tmp_path: Path, capsys, out: str, flags: list[str], words: str) -> None:
    (tmp_path / "strangers").mkdir()
    (tmp_path / "strangers/letter.txt").write_text("not a bundle")
    assert main(["export", str(run), "--out", str(tmp_path / out), "--precision", "f32", *flags]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert (tmp_path / "strangers/letter.txt").exists()


def test_a_folder_that_is_no_run(tmp_path: Path, capsys) -> None:
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "new")]) == 2
    assert "no finished run" in capsys.readouterr().err


def test_the_gate_counts_only_clear_leads() -> None:
    reference = np.array([[0.9, 0.1], [0.52, 0.48], [0.2, 0.8], [0.7, 0.3]])
    quantised = np.array([[0.8, 0.2], [0.48, 0.52], [0.3, 0.7], [0.4, 0.6]])
    found = gate(reference, quantised, 0.99)
    assert (found.views, found.clear_views) == (4, 3)
    assert found.agreement == pytest.approx(2 / 3)
    assert found.mean_change == pytest.approx((0.1 + 0.04 + 0.1 + 0.3) / 4)
    assert not found.passed


@pytest.mark.parametrize(
    ("views", "agreement", "change", "correlation", "passed"),
    [
        (1000, 0.99, 0.02, 0.95, True),
        (999, 1, 0, 1, False),
        (1000, 0.989, 0, 1, False),
        (1000, 1, 0.0201, 1, False),
        (1000, 1, 0, 0.949, False),
        (1000, 1, 0, float("nan"), False),
    ],
)
def test_the_gates_bars(views: int, agreement: float, change: float, correlation: float, passed: bool) -> None:
    assert Gate(views, views, agreement, change, correlation).passed is passed
