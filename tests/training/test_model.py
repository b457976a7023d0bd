import hashlib
import http.server
import io
import pickle
import socket
import socketserver
import threading
import urllib.request
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import resnet34

from app.image import Preprocess
from training import model
from training.errors import TrainingError
from training.model import Classifier, build

PREPROCESS = Preprocess()


@cache
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
        ({"bn1.weight": torch.full((64,), torch.nan)}, "not finite, in bn1.weight"),
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


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where torch caches the weights that stand at an address of this machine, instead of torchvision's real ones."""
    buffer = io.BytesIO()
    torch.save(thousand(), buffer)
    name = f"resnet34-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / name).write_bytes(buffer.getvalue())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with socketserver.TCPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "site")) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/{name}"
        monkeypatch.setattr(model, "ResNet34_Weights", SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=url)))
        threading.Thread(target=server.serve_forever).start()
        yield tmp_path / "hub" / "checkpoints" / name
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_imagenet_weights_are_downloaded_once(published: Path) -> None:
    network, start = build(3, PREPROCESS, "imagenet")
    assert torch.equal(network.conv1.weight, thousand()["conv1.weight"].float())
    assert start.name == "imagenet"
    assert published.name in start.source
    changed = published.stat().st_mtime_ns
    assert built("imagenet").fc.out_features == 3
    assert [path.name for path in published.parent.iterdir()] == [published.name]
    assert published.stat().st_mtime_ns == changed


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", None, pickle.dumps(Harmful())])
def test_a_cached_file_that_is_not_torchvisions_is_not_opened(published: Path, content: bytes | None) -> None:
    published.parent.mkdir(parents=True)
    whole = (published.parents[2] / "site" / published.name).read_bytes()
    published.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(TrainingError, match=rf"{published.name} is not what http.* gives, perhaps half of it"):
        built("imagenet")


def test_a_site_that_falls_silent_is_not_waited_for(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(urllib.request, "_opener", None)
        monkeypatch.setattr(model, "SILENCE_S", 0.2)
        with pytest.raises(TrainingError, match=r"could not be downloaded .*timed out"):
            built("imagenet")
    assert list(published.parent.iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_without_a_network_imagenet_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(urllib.request, "_opener", None)  # else urllib would keep the proxies it has seen
    with pytest.raises(TrainingError, match=r"could not be downloaded.*--weights FILE"):
        built("imagenet")
