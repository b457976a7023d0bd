"""The order of the classes, from the folders' names through training and export to what the service answers."""

from __future__ import annotations

import colorsys
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from starlette.testclient import TestClient
from torchvision.models import resnet34

from app.bundle import read_bundle
from app.doctor import NOTES
from app.image import Preprocess, model_input, read_photo
from app.main import create_app
from app.settings import Settings
from tests.bundles import SHIPPED, resnet_state
from training.__main__ import main
from training.calibrate import FEWEST

# Sorted as str sorts them this is another order, and again another as people sort: capitals, numbers, accents.
NAMES = [
    "zebra",
    "Ärmel",
    "10 pence",
    "apple",
    "Zebra",
    "2 pence",
    "grizzly bear",
    "Grizzly Bear",
    "熊",
    "émile",
    "teddy’s",
]
PHOTOS = 5


def photo(hue: float, seed: object) -> Image.Image:
    """A coloured disc in a clutter of grey; the hue tells the class."""
    chance = random.Random(f"{hue} {seed}")
    image = Image.new("RGB", (180, 150), (chance.randrange(100, 160),) * 3)
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = chance.randrange(180), chance.randrange(150)
        pen.rectangle((x, y, x + chance.randrange(30), y + chance.randrange(30)), fill=(chance.randrange(256),) * 3)
    x, y = chance.randrange(40, 60), chance.randrange(20, 50)
    colour = tuple(int(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.95, 0.9))
    pen.ellipse((x, y, x + 90, y + 90), fill=colour)
    return image


def draw(folder: Path, names: list[str], hues: dict[str, float], seeds: range) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        for seed in seeds:
            photo(hues[name], seed).save(folder / name / f"{seed}.jpg", quality=92)


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle's network, to start from."""
    path = tmp_path_factory.mktemp("body") / "body.safetensors"
    save_file(resnet_state(read_bundle(SHIPPED)), path)
    return path


def served(bundle: Path, photos: list[Path]) -> list[dict[str, object]]:
    """What the service answers to the photos, each uploaded over HTTP."""
    with TestClient(create_app(replace(Settings(), model=bundle))) as client:
        until = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert client.get("/model").json()["classes"] == json.loads((bundle / "model.json").read_text())["classes"]
        response = client.post("/upload", files=[("file", (path.name, path.read_bytes())) for path in photos])
    assert response.status_code == 200
    return list(response.json()["results"])


def expected(run: Path, photos: list[Path], temperature: float = 1.0) -> list[dict[str, float]]:
    """The probability of each class by torchvision's own network with the run's weights, on the service's pixels."""
    summary, preprocess = json.loads((run / "run.json").read_text()), Preprocess()
    network = resnet34(num_classes=len(summary["classes"])).eval()
    network.load_state_dict(load_file(run / summary["checkpoint"]))
    rows = []
    for path in photos:
        pixels = model_input(read_photo(path.read_bytes(), enough=2 * preprocess.resize), preprocess)
        pixels = (pixels / 255 - np.array(preprocess.mean)) / np.array(preprocess.std)
        with torch.inference_mode():
            row = network(torch.from_numpy(pixels).float().permute(2, 0, 1)[None])
            row = (row[0] / temperature).softmax(0)
        rows.append(dict(zip(summary["classes"], row.tolist(), strict=True)))
    return rows


@pytest.mark.parametrize(("count", "given_sides"), [(2, False), (3, True), (10, True), (11, False)])
def test_the_service_names_what_the_network_learned(body: Path, tmp_path: Path, count: int, given_sides: bool) -> None:
    """With given train/ and val/ folders, one class is absent from val/."""
    names, data, run = NAMES[-count:], tmp_path / "data", tmp_path / "run"
    hues = {name: place / count for place, name in enumerate(names)}
    train = data / "train" if given_sides else data
    draw(train, names, hues, range(PHOTOS))
    if given_sides:
        draw(data / "val", names[1:], hues, range(100, 101))
    assert main(["train", str(data), "--out", str(run), "--lane", "fast", "--weights", str(body)]) == 0
    assert main(["export", str(run), "--out", str(tmp_path / "bundle"), "--precision", "f32"]) == 0
    photos = [train / name / "0.jpg" for name in names]
    answers = served(tmp_path / "bundle", photos)
    assert [answer["predictions"][0][0] for answer in answers] == names
    bundle = read_bundle(tmp_path / "bundle")
    enough = len(list(data.rglob("*.jpg"))) >= FEWEST
    assert bundle.usual.keys() == (NOTES.keys() if enough else set())
    assert bundle.usual.get("short_side") == (150 if enough else None)
    for answer, probabilities in zip(answers, expected(run, photos, bundle.calibration.temperature), strict=True):
        assert dict(answer["predictions"]) == pytest.approx(probabilities, abs=1e-3)
