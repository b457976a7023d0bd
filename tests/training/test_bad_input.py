"""What goes wrong around the commands: each ends in one clear sentence, and what was done is not lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.bundle import GRAPH, read_bundle
from app.engine import OpenVinoEngine
from app.engine_torch import Network
from app.image import Preprocess
from tests.bundles import SHIPPED, copy, resnet_state
from tests.drawings import KINDS, bear, jpeg
from tests.training.conftest import picture
from tests.training.runs import write_run
from training import golden, graph
from training.__main__ import main
from training.dataset import load
from training.errors import TrainingError
from training.export import in_turn
from training.folders import Row
from training.run_folder import STAGE_1, STAGE_2, STATE
from training.state import State, load_state

ROOT = Path(__file__).parents[2]
FAST = ("--lane", "fast", "--head-epochs", "1")
FULL = ("--lane", "full", "--head-epochs", "1", "--epochs", "2")
FULL_DISK = "No space left on device. Make room, then give the same command again."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten drawn photos of two classes, in train/ and val/: one fit."""
    folder = tmp_path_factory.mktemp("bad") / "data"
    for shape in ("disc", "stripes"):
        for number in range(5):
            path = folder / ("train" if number else "val") / shape / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(shape, number).save(path, quality=90)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path) -> Path:
    """A full-lane run on them that nothing went wrong with; its first stage is what the fast lane makes."""
    assert train(data, data.parent / "whole", *FULL) == 0
    return data.parent / "whole"


def train(data: Path, out: Path, *flags: str) -> int:
    return main(["train", str(data), "--out", str(out), "--weights", "none", "--device", "cpu", *flags])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def fill_disk(path: Path) -> None:
    """Let there be no room for what is next written to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".tmp").symlink_to("/dev/full")


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let writes fail that make a file larger than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_the_fast_lane_which_then_goes_on(data: Path, whole: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    fill_disk(out / "run.json")
    assert train(data, out, *FAST) == 2
    assert said(capsys) == f"{out / 'run.json'}: {FULL_DISK}"
    assert not (out / "run.json").exists()
    fill_disk(out / "report.html")
    assert train(data, out, *FAST) == 2
    assert said(capsys).endswith(f"The run itself is finished; when that is mended: python -m training report {out}")
    assert main(["report", str(out)]) == 0
    assert (out / "stage-1.safetensors").read_bytes() == (whole / "stage-1.safetensors").read_bytes()


def test_a_full_disk_stops_the_full_lane_which_then_ends_in_the_same_weights(
    data: Path, whole: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "run"
    (out / f"{STATE}.tmp").mkdir(parents=True)
    (out / f"{STATE}.tmp" / ".tmpWx3fGh").write_text("half of a state: the process was killed")
    with no_file_above(100_000_000):
        assert train(data, out, *FULL) == 2
    assert said(capsys) == f"{out / STATE}: File too large."
    assert {path.name for path in out.iterdir()} == {STAGE_1, STAGE_2}
    fill_disk(out / "run.json")
    assert train(data, out, *FULL) == 2
    assert said(capsys) == f"{out / 'run.json'}: {FULL_DISK}"
    assert train(data, out, *FULL) == 0
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    found, expected = (load_file(run / STAGE_2) for run in (out, whole))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--lane", "fast", "--head-epochs", "9", "--head-lr", "1e30"),
            "lower --head-lr (python -m training lr-find",
        ),
        # with one step an epoch, the loss of the last one is measured before its weights are ruined
        (("--head-epochs", "1", "--epochs", "1", "--lr", "1e30"), "lr-find DATA --unfrozen suggests"),
    ],
)
def test_a_loss_that_is_no_number_names_the_flag(data: Path, tmp_path: Path, capsys, flags, words: str) -> None:
    assert train(data, tmp_path / "run", *flags) == 2
    sentence = said(capsys)
    assert sentence.startswith("The loss became ")
    assert words in sentence
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_state_cut_short_is_named(tmp_path: Path) -> None:
    State("this").save(tmp_path, {"network": {"fc.bias": torch.zeros(9)}})
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-5])
    with pytest.raises(TrainingError, match=r"state\.safetensors cannot be read .*: delete .* to start anew"):
        load_state(tmp_path, "this")


@pytest.mark.parametrize("out", ["letter.txt", "letter.txt/run"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(data: Path, tmp_path: Path, capsys, out: str) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    for command in (["train", str(data)], ["export", str(tmp_path)]):
        assert main([*command, "--out", str(tmp_path / out / "new")]) == 2
        assert "letter.txt is a file; give another --out" in said(capsys)


def test_pictures_are_not_written_over_a_folder(draw, tmp_path: Path, capsys) -> None:
    data = draw(disc=5, stripes=5)
    assert main(["show-batch", str(data), "--out", str(data)]) == 2
    assert said(capsys) == f"{data}: Is a directory."
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("command", [["show-batch"], ["lr-find", "--weights", "none"]])
def test_broken_photos_are_named_and_some_must_be_whole(draw, tmp_path: Path, capsys, command: list[str]) -> None:
    data = draw(disc=5, stripes=5)
    photos = sorted(data.rglob("*.jpg"))
    arguments = [*command, str(data), "--out", str(tmp_path / "out.png")]
    for photo in photos[:3]:
        photo.write_bytes(photo.read_bytes()[:-900])
    assert main(arguments) == 0
    assert "left out: This JPEG file is damaged" in capsys.readouterr().err
    shutil.rmtree(data / "_tellapart")
    for photo in photos[3:]:
        photo.write_bytes(photo.read_bytes()[:-900])
    assert main(arguments) == 2
    assert "None of the 8 photos could be read; the first, " in said(capsys)


def test_a_photo_that_vanishes_is_named(data: Path) -> None:
    rows = [Row("val/disc/0.jpg", "disc", "", ""), Row("val/disc/gone.jpg", "disc", "", "")]
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        load(data, rows, ["disc"], Preprocess(), wide=False, advance=lambda: None)


def test_a_folder_that_may_not_be_read_is_named(draw) -> None:
    data = draw(disc=5, stripes=5)
    (data / "disc").chmod(0)
    command = [sys.executable, "-m", "training", "split", str(data)]
    if os.geteuid() == 0:  # who may do everything
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    (data / "disc").chmod(0o700)
    assert (done.returncode, done.stderr) == (2, f"{data / 'disc'}: Permission denied.\n")


def test_ctrl_c_is_a_word_while_torch_is_imported_too() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "training", "lr-find", "nowhere"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("Stopped.\n", 130)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on drawn bears whose network is the shipped bundle's."""
    folder = tmp_path_factory.mktemp("finished")
    for kind in KINDS:
        (folder / "bears" / kind).mkdir(parents=True)
        for seed in range(2):
            (folder / "bears" / kind / f"{seed}.jpg").write_bytes(jpeg(bear(kind, 100 + seed)))
    run = write_run(folder / "run", folder / "bears", lane="fast")
    save_file(resnet_state(read_bundle(SHIPPED)), run / json.loads((run / "run.json").read_text())["checkpoint"])
    return run


def interrupt_once(path: Path) -> threading.Thread:
    """Press Ctrl-C as soon as `path` exists."""

    def watch() -> None:
        while not path.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_an_export_that_fails_leaves_the_bundle_that_stands_there(finished: Path, tmp_path: Path, capsys) -> None:
    out = copy(tmp_path)
    killed = tmp_path / ".bears.export"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    (killed / "f32").mkdir(parents=True)
    (killed / "f32" / "weights.safetensors").write_text("half: the process was killed")
    with no_file_above(50_000_000):
        assert main(["export", str(finished), "--out", str(out)]) == 2
    assert said(capsys) == f"{killed / 'f32' / 'weights.safetensors'}: File too large."
    thread = interrupt_once(killed / "f32" / "model.onnx")
    assert main(["export", str(finished), "--out", str(out)]) == 130
    thread.join()
    assert said(capsys) == "Stopped."
    assert [path.name for path in tmp_path.iterdir()] == ["bears"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_checkpoint_cut_short_is_named(finished: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    checkpoint = run / json.loads((run / "run.json").read_text())["checkpoint"]
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert main(["export", str(run), "--out", str(tmp_path / "new")]) == 2
    assert f"{checkpoint} is broken (" in said(capsys)


class Teller:
    """A classifier of numbers: the class that a file names has the probability that follows it."""

    def __init__(self, classes: int) -> None:
        self.bundle = SimpleNamespace(classes=tuple(f"class {number:04}" for number in range(classes)))

    def classify(self, data: bytes) -> SimpleNamespace:
        named, sure = data.decode().split()
        rest = (1 - float(sure)) / (len(self.bundle.classes) - 1)
        row = {name: float(sure) if name.endswith(named) else rest for name in self.bundle.classes}
        return SimpleNamespace(predictions=row.items())


def told(folder: Path, classes: int) -> list[Path]:
    """A file for each class, the later the surer."""
    for number in range(classes):
        (folder / f"{number}").write_text(f"{number:04} {0.5 + 0.4 * number / classes}")
    return sorted(folder.iterdir(), key=lambda path: int(path.name))


@pytest.mark.parametrize(("classes", "photos"), [(3, 6), (20, 20), (100, 100), (1000, 100)])
def test_each_class_leads_in_a_golden_photo_or_a_hundred_do(tmp_path: Path, classes: int, photos: int) -> None:
    files = told(tmp_path, classes)
    more = files[:1] * 3  # so that three classes make six photos
    chosen = golden.choose(Teller(classes), [*files, *more], shrink=False, advance=lambda: None)
    assert [c.leader for c in chosen[: min(classes, photos)]] == list(range(min(classes, photos)))
    assert len(chosen) == photos


def test_a_class_that_the_network_never_answers_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="answers 'class 0009' or 2 other classes to none of 9 photos"):
        golden.choose(Teller(12), told(tmp_path, 9), shrink=False, advance=lambda: None)


def test_golden_photos_are_chosen_from_all_classes() -> None:
    rows = [Row(f"{label}/{number}", label, "", "") for label in "abc" for number in range(200)]
    assert [row.file for row in in_turn(rows)[:5]] == ["a/0", "b/0", "c/0", "a/1", "b/1"]


def test_a_thousand_classes_become_a_graph(tmp_path: Path) -> None:
    network = Network(1000, Preprocess()).eval()
    graph.write(graph.to_onnx(network, Preprocess()), tmp_path)
    pixels = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = OpenVinoEngine(tmp_path / GRAPH, 1).infer(pixels.numpy())
    with torch.inference_mode():
        logits, _, cam = network(pixels)
    assert torch.allclose(torch.from_numpy(found.logits), logits, rtol=1e-4, atol=1e-3)
    assert torch.allclose(torch.from_numpy(found.cam), cam, rtol=1e-4, atol=1e-3)
