"""The import command: networks as PyTorch users save them, the run folder it makes, and files that it must refuse."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from argparse import Namespace
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34

from app.bundle import read_bundle
from tests.bundles import SHIPPED, resnet_state
from tests.drawings import KINDS, bear, jpeg
from tests.training.test_class_order import expected, served
from training.__main__ import main
from training.clean import open_session
from training.compare import compare
from training.errors import TrainingError
from training.history import read_predictions
from training.import_weights import read_classes
from training.report import render
from training.run_folder import read_run
from training.state_dict import read_network

ORDER = ["teddys", "black", "grizzly"]  # of the imported network's outputs; the folders sort otherwise


def draw(folder: Path, seeds: range) -> Path:
    """Drawn bears in folders."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for seed in seeds:
            (folder / kind / f"{seed}.jpg").write_bytes(jpeg(bear(kind, seed)))
    return folder


def reordered() -> dict[str, Tensor]:
    """The shipped network, its outputs in another order."""
    bundle = read_bundle(SHIPPED)
    state, places = resnet_state(bundle), [bundle.classes.index(name) for name in ORDER]
    return state | {name: state[name][places] for name in ("fc.weight", "fc.bias")}


def bring(weights: Path, data: Path, out: Path, *classes: str) -> int:
    """Run the command with those classes, in that order."""
    names = weights.with_name("classes.txt")
    names.write_text("\n".join(classes or ORDER), encoding="utf-8")
    return main(["import", str(weights), "--classes", str(names), "--data", str(data), "--out", str(out)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bears.pth and photos of bears in data/."""
    folder = tmp_path_factory.mktemp("import")
    torch.save(reordered(), folder / "bears.pth")
    draw(folder / "data", range(100, 105))
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """That network as a run."""
    assert bring(place / "bears.pth", place / "data", place / "run") == 0
    return place / "run"


def test_a_run_like_trains_measured_on_every_photo(place: Path, run: Path) -> None:
    summary = json.loads((run / "run.json").read_text())
    assert summary["classes"] == ORDER
    assert summary["weights"]["name"] == "bears.pth"
    assert summary["measured"].startswith("On 15 photos, by a network that was trained elsewhere")
    assert (run / "split.csv").read_bytes() == (place / "data/_tellapart/split.csv").read_bytes()
    rate, answers = summary["metrics"]["validation"], read_predictions(run)
    assert rate["photos"] == len(answers) == 15
    assert rate["errors"] == sum(each.label != each.predicted for each in answers)
    assert rate["wilson95"][0] <= rate["error_rate"] <= rate["wilson95"][1]
    for each, probabilities in zip(
        answers, expected(run, [place / "data" / each.file for each in answers]), strict=True
    ):
        assert each.probabilities == pytest.approx(probabilities, abs=1e-4)


def test_the_order_of_the_classes_survives_to_the_served_answer(place: Path, run: Path, tmp_path: Path) -> None:
    """Against the shipped network in its own order, which the import never saw."""
    assert main(["export", str(run), "--out", str(tmp_path / "mine"), "--precision", "f32"]) == 0
    card = read_bundle(tmp_path / "mine").card
    assert card["classes"] == ORDER
    assert card["training"]["lane"] == "imported"
    assert "trained elsewhere" in card["training"]["measured"]
    assert card["metrics"]["validation"]["f32"]["photos"] == 15
    bundle = read_bundle(SHIPPED)
    (tmp_path / "shipped").mkdir()
    save_file(resnet_state(bundle), tmp_path / "shipped/original.safetensors")
    summary = {"classes": list(bundle.classes), "checkpoint": "original.safetensors"}
    (tmp_path / "shipped/run.json").write_text(json.dumps(summary))
    photos = [place / "data" / kind / "100.jpg" for kind in KINDS]
    for answer, probabilities in zip(
        served(tmp_path / "mine", photos), expected(tmp_path / "shipped", photos), strict=True
    ):
        assert dict(answer["predictions"]) == pytest.approx(probabilities, abs=1e-3)


def test_what_comes_after_a_run_takes_an_imported_one(run: Path) -> None:
    finished = read_run(run)
    page = render(finished).decode()
    assert "15 photos wrong" in page
    assert "trained elsewhere" in page
    assert "How training went" not in page
    assert compare(finished, finished).better == []
    listing = open_session(finished, finished.data / "_tellapart").listing()
    assert listing["classes"] == ORDER
    assert sum(map(len, listing["sides"].values())) == 15


def test_given_sides_are_honoured_and_a_class_may_be_without_photos(place: Path, tmp_path: Path) -> None:
    """It was asked about val/ alone, as it may have been trained on train/; and there is no panda anywhere."""
    state = reordered()
    state["fc.weight"] = torch.cat([state["fc.weight"][:1], torch.zeros(1, 512), state["fc.weight"][1:]])
    state["fc.bias"] = torch.cat([state["fc.bias"][:1], torch.zeros(1), state["fc.bias"][1:]])
    save_file(state, tmp_path / "four.safetensors")
    draw(tmp_path / "data/train", range(100, 105))
    draw(tmp_path / "data/val", range(2))
    classes = [ORDER[0], "panda", *ORDER[1:]]
    assert bring(tmp_path / "four.safetensors", tmp_path / "data", tmp_path / "run", *classes) == 0
    finished = read_run(tmp_path / "run")
    assert finished.classes == classes
    assert {each.file.split("/")[0] for each in read_predictions(finished.folder)} == {"val"}
    assert set(finished.summary["metrics"]["validation"]["per_class"]) == set(ORDER)
    assert finished.summary["measured"].endswith("It was not asked about photos of panda.")
    assert b" of 6 photos wrong" in render(finished)


@cache
def plain() -> dict[str, Tensor]:
    """The state dict of a new resnet34 for three classes, whose batch norms differ; to be read only."""
    torch.manual_seed(3)
    network = resnet34(num_classes=3)
    for name, value in network.state_dict().items():
        if "bn" in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return dict(network.state_dict())


def renamed(old: str, new: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {name.replace(old, new): value for name, value in state.items()}


def prefixed(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {prefix + name: value for name, value in state.items()}


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "as it is": lambda state: state,
    "DataParallel": prefixed("module."),
    "a compiled network": prefixed("_orig_mod."),
    "dropout before the layer": renamed("fc.", "fc.1."),
    "all of it in a module": lambda state: {"state_dict": prefixed("net.")(renamed("fc.", "fc.1.")(state)), "epoch": 9},
    "torchvision's training script": lambda state: {"model": state, "optimizer": {}, "args": Namespace(lr=0.1)},
    "PyTorch's tutorial": lambda state: {"model_state_dict": state, "loss": torch.tensor(0.1)},
    "half precision": lambda state: {n: v.half() if v.is_floating_point() else v for n, v in state.items()},
    "double precision": lambda state: {n: v.double() if v.is_floating_point() else v for n, v in state.items()},
    "no counts": lambda state: {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_the_usual_wrappings(tmp_path: Path, name: str) -> None:
    state = plain()
    torch.save(WRAPPINGS[name](state), tmp_path / "w.pth")
    network, start = read_network(tmp_path / "w.pth", ORDER)
    assert not network.training
    assert start.name == "w.pth"
    assert len(start.sha256) == 64
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            assert value.dtype == torch.float32
            assert torch.allclose(value, state[key], rtol=1e-3 if name == "half precision" else 0, atol=1e-7)


class Payload:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def saved(content: object, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, **options)
    return out.getvalue()


def changed(**tensors: Tensor) -> bytes:
    """A state dict with other tensors; `__` in a name stands for a dot."""
    return save(plain() | {name.replace("__", "."): value for name, value in tensors.items()})


NO_PICKLE = "could be code and was not run"
NO_HEAD = "is not one linear layer"
REFUSED: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "code in a pickle": (lambda ran: pickle.dumps(Payload(ran)), NO_PICKLE),
    "code beside the tensors": (lambda ran: saved({**plain(), "x": Payload(ran)}), NO_PICKLE),
    "code among a script's arguments": (
        lambda ran: saved({"model": plain(), "args": Namespace(lr=Payload(ran))}),
        NO_PICKLE,
    ),
    "code in the old format": (
        lambda ran: saved({"x": Payload(ran)}, _use_new_zipfile_serialization=False),
        NO_PICKLE,
    ),
    "a whole network": (lambda _: saved(resnet34(num_classes=3)), NO_PICKLE),
    "a truncated .pth": (lambda _: saved(plain())[:-1000], NO_PICKLE),
    "a truncated safetensors file": (lambda _: save(plain())[:-1000], "is not a safetensors file, or broken"),
    "an empty file": (lambda _: b"", NO_PICKLE),
    "text": (lambda _: b"black\ngrizzly\n", NO_PICKLE),
    "a list": (lambda _: saved([torch.zeros(3)]), "holds no state dict"),
    "a tensor": (lambda _: saved(torch.zeros(3)), "holds no state dict"),
    "fastai's names": (lambda _: saved({"model": {"0.0.weight": torch.zeros(64, 3, 7, 7)}, "opt": {}}), "it lacks bn1"),
    "an empty state dict": (lambda _: saved({}), "it lacks bn1"),
    "a resnet18": (lambda _: save(resnet18(num_classes=3).state_dict()), "not a torchvision ResNet34's"),
    "one channel": (lambda _: changed(conv1__weight=torch.zeros(64, 1, 7, 7)), "conv1.weight is [64, 1, 7, 7]"),
    "int8": (lambda _: changed(conv1__weight=torch.zeros(64, 3, 7, 7, dtype=torch.int8)), "conv1.weight is no tensor"),
    "nothing but shapes": (lambda _: saved(resnet34(num_classes=3).to("meta").state_dict()), "is no tensor of such"),
    "four classes": (
        lambda _: changed(fc__weight=torch.zeros(4, 512), fc__bias=torch.zeros(4)),
        "tells 4 classes apart, but 3 are named",
    ),
    "a head for a larger network": (lambda _: changed(fc__weight=torch.zeros(3, 2048)), NO_HEAD),
    "a bias for another head": (lambda _: changed(fc__bias=torch.zeros(4)), NO_HEAD),
    "two layers in the head": (
        lambda _: changed(fc__1__weight=torch.zeros(3, 512), fc__1__bias=torch.zeros(3)),
        NO_HEAD,
    ),
    "no head": (lambda _: save({n: v for n, v in plain().items() if not n.startswith("fc.")}), NO_HEAD),
    "a training that went wrong": (
        lambda _: changed(layer4__2__conv2__weight=torch.full((512, 512, 3, 3), float("nan"))),
        "not finite, in layer4.2.conv2.weight",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_such_network_is_one_sentence(place: Path, tmp_path: Path, capsys, name: str) -> None:
    make, words = REFUSED[name]
    weights = tmp_path / "weights.pth"
    weights.write_bytes(make(tmp_path / "ran"))
    assert bring(weights, place / "data", tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert "weights_only" not in said  # torch advises to open such a file without it
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


def test_a_script_and_a_folder_are_no_weights(place: Path, tmp_path: Path, capsys) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants to be rid of them, but people have them
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    assert bring(tmp_path / "script.pt", place / "data", tmp_path / "run") == 2
    assert NO_PICKLE in capsys.readouterr().err
    assert bring(tmp_path / "nowhere.pth", place / "data", tmp_path / "run") == 2
    assert "There is no file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("c.txt", "teddys\nblack bear\nÄrmel\n"),
        ("c.txt", "\ufeffteddys\r\n  black bear\r\n\r\nÄrmel"),
        ("c", "teddys\nblack bear\nÄrmel"),
        ("c.json", '["teddys", "black bear", "Ärmel"]'),
    ],
)
def test_classes_keep_their_order(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_bytes(content.encode())
    assert read_classes(tmp_path / file) == ["teddys", "black bear", "Ärmel"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("c.txt", b"", "at least two classes; it names 0"),
        ("c.txt", b"black", "it names 1"),
        ("c.txt", b"black\nblack", "names 'black' 2 times"),
        ("c.txt", b"black\nNot sure", "may not be called 'Not sure'"),
        ("c.txt", "b\u00e4r\nba\u0308r".encode(), "two of them look the same"),
        ("c.txt", b"black\ng\x1b[31m", "may not be called"),
        ("c.txt", b"\xff\xfeb\x00", "cannot be read"),
        ("c.json", b"black", "cannot be read"),
        ("c.json", b"[" * 100_000, "cannot be read"),
        ("c.json", b'{"black": 0, "grizzly": 1}', "must be a list of names"),
        ("c.json", b'["black", 1]', "must be a list of names"),
        ("c.json", b'["black", " "]', "may not be called ' '"),
    ],
)
def test_a_list_of_classes_that_will_not_do(tmp_path: Path, file: str, content: bytes, words: str) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        read_classes(tmp_path / file)
    assert words in str(caught.value)


def test_a_folder_that_is_no_class_is_named(place: Path, tmp_path: Path, capsys) -> None:
    assert bring(place / "bears.pth", place / "data", tmp_path / "run", "Teddys", "black", "grizzly") == 2
    assert "has photos of teddys, which" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_over(place: Path, run: Path, tmp_path: Path, capsys) -> None:
    before = load_file(run / "imported.safetensors")["fc.bias"]
    assert bring(place / "bears.pth", place / "data", run) == 2
    assert "already holds a finished run" in capsys.readouterr().err
    assert torch.equal(load_file(run / "imported.safetensors")["fc.bias"], before)
    (tmp_path / "half").mkdir()
    (tmp_path / "half/state.safetensors").write_bytes(b"train was stopped here")
    assert bring(place / "bears.pth", place / "data", tmp_path / "half") == 2
    assert "holds an unfinished run of train" in capsys.readouterr().err
