import pickle
import urllib.request
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import resnet34

from app.image import Preprocess
from training.errors import TrainingError
from training.model import Classifier, build

PREPROCESS = Preprocess()


def thousand() -> dict[str, Tensor]:
    """A 1000-class state dict in float16, as a weights file may hold it."""
    torch.manual_seed(1)
    return {
        name: value.half() if value.is_floating_point() else value for name, value in resnet34().state_dict().items()
    }


def built(weights: str | Path) -> Classifier:
    return build(3, PREPROCESS, str(weights))[0]


def test_it_is_torchvisions_network_with_normalisation_inside() -> None:
    torch.manual_seed(2)
    network, twin = built("none").eval(), resnet34(num_classes=3).eval()
    twin.load_state_dict(network.state_dict())
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (PREPROCESS.mean, PREPROCESS.std))
    with torch.no_grad():
        assert torch.allclose(network(pixels), twin((pixels / 255 - mean) / std), atol=1e-5)


def test_layer_groups_hold_every_weight_once() -> None:
    network = built("none")
    grouped = [weight for group in network.layer_groups() for module in group for weight in module.parameters()]
    assert len(grouped) == len({id(weight) for weight in grouped}) == len(list(network.parameters()))


def test_body_comes_from_the_file_and_the_head_is_new(tmp_path: Path) -> None:
    given = thousand()
    save_file(given, tmp_path / "w.safetensors", metadata={"made": "for this test"})
    network, start = build(3, PREPROCESS, str(tmp_path / "w.safetensors"))
    state = network.state_dict()
    assert state["fc.weight"].shape == (3, 512)
    assert all(
        torch.equal(state[name], value.to(state[name].dtype)) for name, value in given.items() if "fc" not in name
    )
    assert state["conv1.weight"].dtype == torch.float32
    assert start.name == "w.safetensors"
    assert start.source == "file w.safetensors: for this test"
    assert len(start.sha256) == 64


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bn1.weight": None, "bn1.bias": None}, "lacks bn1.bias and 1 other"),
        ({"layer9.weight": torch.zeros(1)}, "has unknown layer9.weight"),
        ({"conv1.weight": torch.zeros(64, 3, 3, 3)}, r"conv1.weight is \[64, 3, 3, 3\], not \[64, 3, 7, 7\]"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, change: dict[str, Tensor | None], sentence: str
) -> None:
    state = {name: value for name, value in (thousand() | change).items() if value is not None}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(TrainingError, match=sentence):
        built(tmp_path / "w.safetensors")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(TrainingError, match="not a safetensors file"):
        built(tmp_path / "w.pth")


def test_missing_file_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such file; it takes imagenet, none, or a safetensors file"):
        built(tmp_path / "w.safetensors")


def test_imagenet_weights_are_torchvisions_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(thousand(), cache / "resnet34-b627a593.pth")
    network, start = build(3, PREPROCESS, "imagenet")
    assert torch.equal(network.conv1.weight, thousand()["conv1.weight"].float())
    assert start.name == "imagenet"
    assert "https://download.pytorch.org/models/resnet34-b627a593.pth" in start.source


def test_without_a_network_imagenet_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(urllib.request, "_opener", None)  # else urllib would keep the proxies it has seen
    with pytest.raises(TrainingError, match=r"could not be downloaded.*--weights FILE"):
        built("imagenet")
