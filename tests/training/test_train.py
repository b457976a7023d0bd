"""The train command, end to end on drawn photos."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.models import resnet34

from app.image import Preprocess, model_input, read_photo
from training.__main__ import main
from training.clean_list import read_neighbours
from training.folders import Row
from training.model import build
from training.run_folder import describe_data, read_run

ROOT = Path(__file__).parents[2]
PLAIN = {"run.json", "report.html", "split.csv", "history.csv", "steps.csv", "validation.csv"}
FAST = PLAIN | {"stage-1.safetensors", "features.safetensors"}
FULL = FAST | {"stage-2.safetensors", "batch.jpg"}


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def train(data: Path, out: Path, *flags: str) -> int:
    return main(["train", str(data), "--out", str(out), "--weights", "none", "--device", "cpu", *flags])


def start(data: Path, out: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "training", "train", str(data), "--out", str(out), "--weights", "none", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def body(out: Path) -> dict[str, torch.Tensor]:
    weights = load_file(out / json.loads((out / "run.json").read_text())["checkpoint"])
    return {name: value for name, value in weights.items() if not name.startswith("fc.")}


def test_fast_lane_from_the_command_line(draw, tmp_path: Path) -> None:
    data, out = draw(disc=8, square=8, stripes=8), tmp_path / "run"
    process = start(data, out, "--lane", "fast", "--head-epochs", "4")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "validation photos" in stdout
    assert {path.name for path in out.iterdir()} == FAST

    run = json.loads((out / "run.json").read_text())
    assert (run["format"], run["lane"], run["seed"], run["device"]) == (1, "fast", 42, "cpu")
    assert run["classes"] == ["disc", "square", "stripes"]
    assert run["preprocess"]["mean"] == list(Preprocess().mean)
    assert run["settings"]["head_epochs"] == 4
    assert run["data"]["photos"]["disc"] == {"train": 6, "validation": 2}
    assert run["measured"].startswith("Out of fold: each of the 24 photos")
    assert run["weights"] == {"name": "none", "sha256": "", "source": "random weights", "seen": "nothing"}
    assert (out / "split.csv").read_bytes() == (data / "_tellapart" / "split.csv").read_bytes()
    assert [line["fit"] for line in lines(out / "history.csv")][:20] == [str(n // 4) for n in range(20)]

    predictions = lines(out / "validation.csv")
    errors = sum(line["class"] != line["predicted"] for line in predictions)
    found = run["metrics"]["validation"]
    assert (found["photos"], found["errors"]) == (24, errors)
    assert found["wilson95"][0] <= found["error_rate"] <= found["wilson95"][1]


def check_predictions(
    network: torch.nn.Module, data: Path, predictions: list[dict[str, str]], classes: list[str]
) -> None:
    """validation.csv holds what the checkpoint says of the service's pixels."""
    preprocess = Preprocess()
    for line in predictions:
        photo = read_photo((data / line["file"]).read_bytes(), enough=512)
        pixels = (model_input(photo, preprocess) / 255 - np.array(preprocess.mean)) / np.array(preprocess.std)
        with torch.no_grad():
            logits = network(torch.from_numpy(pixels).float().permute(2, 0, 1)[None])
        expected = logits.softmax(1)[0].tolist()
        assert [float(line[f"p_{name}"]) for name in classes] == pytest.approx(expected, abs=1e-4)


def test_full_lane_trains_the_body_and_fast_leaves_it_alone(draw, tmp_path: Path) -> None:
    draw("data/train", disc=5, stripes=5)
    data = draw("data/val", first=20, disc=1, stripes=1)
    flags = ("--lane", "full", "--epochs", "2", "--head-epochs", "2")
    assert train(data, tmp_path / "full", *flags) == 0
    assert train(data, tmp_path / "fast", "--lane", "fast", "--head-epochs", "2") == 0

    history = lines(tmp_path / "full" / "history.csv")
    assert [(line["phase"], line["epoch"]) for line in history] == [
        ("head", "0"),
        ("head", "1"),
        ("unfrozen", "0"),
        ("unfrozen", "1"),
    ]
    assert {path.name for path in (tmp_path / "full").iterdir()} == FULL
    torch.manual_seed(42)
    initial = build(2, Preprocess(), "none")[0].state_dict()
    full, fast = body(tmp_path / "full"), body(tmp_path / "fast")
    assert all(torch.equal(fast[name], initial[name]) for name in fast)
    assert not torch.equal(full["conv1.weight"], initial["conv1.weight"])
    run = json.loads((tmp_path / "full" / "run.json").read_text())
    losses = [float(line["valid_loss"]) for line in history if line["phase"] == "unfrozen"]
    assert run["best_epoch"] == losses.index(min(losses))
    network = resnet34(num_classes=2)
    network.load_state_dict(load_file(tmp_path / "full" / "stage-2.safetensors"))
    check_predictions(network.eval(), data, lines(tmp_path / "full" / "validation.csv"), run["classes"])


def stop(process: subprocess.Popen[str], signal_number: int, history: Path, epochs: int) -> str:
    """Send the signal once so many epochs are recorded; returns what the process said on stderr."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if history.exists() and len(lines(history)) >= epochs:
            break
        time.sleep(0.01)
    process.send_signal(signal_number)
    return process.communicate(timeout=60)[1]


def test_a_stopped_run_goes_on_and_ends_in_the_weights_of_an_unstopped_one(draw, tmp_path: Path, capsys) -> None:
    draw("data/train", disc=6, stripes=6)
    data = draw("data/val", first=20, disc=1, stripes=1)
    flags = ("--epochs", "3", "--head-epochs", "2")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train(data, whole, *flags) == 0
    process = start(data, stopped, "--device", "cpu", *flags)
    stderr = stop(process, signal.SIGINT, stopped / "history.csv", 3)
    assert process.returncode == 130
    assert "unfinished" in stderr
    assert "Traceback" not in stderr
    process = start(data, stopped, "--device", "cpu", *flags)
    stop(process, signal.SIGKILL, stopped / "history.csv", 4)
    assert process.returncode == -signal.SIGKILL
    assert not (stopped / "run.json").exists()
    assert train(data, stopped, "--lr", "5e-4", *flags) == 2
    assert "unfinished run of other photos or settings" in capsys.readouterr().err
    assert train(data, stopped, *flags) == 0
    assert {path.name for path in stopped.iterdir()} == FULL
    expected, found = (load_file(out / "stage-2.safetensors") for out in (whole, stopped))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    losses = [[line["train_loss"] for line in lines(out / "history.csv")] for out in (whole, stopped)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 5


def test_two_processes_end_in_one_processs_weights(draw, tmp_path: Path) -> None:
    draw("data/train", disc=7, stripes=6)
    data = draw("data/val", first=20, disc=2, stripes=1)
    flags = ("--epochs", "2", "--head-epochs", "2", "--precision", "f32")
    assert train(data, tmp_path / "one", *flags) == 0
    launch = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "training"]
    command = [sys.executable, "-m", *launch, "train", str(data), "--out", str(tmp_path / "two"), "--weights", "none"]
    done = subprocess.run([*command, "--device", "cpu", *flags], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "stage-2.safetensors") for name in ("one", "two"))
    assert max(float((one[name].float() - two[name].float()).abs().max()) for name in one) <= 1e-4
    assert done.stdout.count("validation photos wrong") == 1


def test_a_finished_run_and_foreign_files_are_never_overwritten(draw, tmp_path: Path, capsys) -> None:
    data, out = draw(disc=5, stripes=5), tmp_path / "run"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert train(data, out) == 2
    assert "holds other files, such as thesis.txt" in capsys.readouterr().err
    (out / "thesis.txt").rename(out / "run.json")
    assert train(data, out) == 2
    assert "already holds a finished run" in capsys.readouterr().err


def test_broken_photos_are_left_out_and_data_may_be_read_only(draw, tmp_path: Path, capsys) -> None:
    data, out = draw(disc=7, stripes=7), tmp_path / "run"
    photo = data / "disc" / "03.jpg"
    photo.write_bytes(photo.read_bytes()[:500])
    assert train(data, out, "--lane", "fast", "--head-epochs", "1", "--work", str(tmp_path / "work")) == 0
    assert (tmp_path / "work" / "split.csv").exists()
    assert not (data / "_tellapart").exists()
    assert "disc/03.jpg left out" in capsys.readouterr().err
    photos = json.loads((out / "run.json").read_text())["data"]["photos"]
    assert sum(photos["disc"].values()) == 6
    run = read_run(out)
    assert len(run.rows) == 13
    assert read_neighbours(run) is not None  # features and split.csv are about the same photos


def test_a_class_of_broken_photos_alone_is_refused(draw, tmp_path: Path, capsys) -> None:
    data = draw(disc=5, stripes=5)
    for photo in (data / "disc").iterdir():
        photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    assert train(data, tmp_path / "run") == 2
    assert "Class 'disc' has 0 different photos" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--weights", "weights.pth"), "--weights weights.pth: no such file"),
        (("--device", "cuda"), "no CUDA device"),
        (("--work", "/proc/nowhere"), "/proc/nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    draw, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, flags, sentence: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    data = draw(disc=5, stripes=5)
    assert train(data, tmp_path / "run", *flags) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_wrong_usage_exits_2(tmp_path: Path, capsys) -> None:
    for flags in (["--epochs", "0"], ["--epochs", "x"], ["--lr", "nan"], ["--lane", "slow"]):
        with pytest.raises(SystemExit) as ended:
            train(tmp_path, tmp_path / "run", *flags)
        assert ended.value.code == 2


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys, training.__main__ as command_line\n"
        "try: command_line.main(['train', '--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_data_hash_is_of_contents_and_classes() -> None:
    rows = [Row("a/1.jpg", "a", "train", "11"), Row("b/2.jpg", "b", "train", "22")]
    moved = [Row("train/b/x.jpg", "b", "validation", "22"), Row("train/a/y.jpg", "a", "train", "11")]
    relabelled = [Row("b/1.jpg", "b", "train", "11"), Row("b/2.jpg", "b", "train", "22")]
    first = describe_data(Path("x"), rows)["hash"]
    assert describe_data(Path("y"), moved)["hash"] == first
    assert describe_data(Path("x"), relabelled)["hash"] != first
