"""OpenVINO against torch, on the shipped bundle's own weights and real photos."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from app.answer import probabilities
from app.bundle import float_weights, read_bundle
from app.classifier import Abandoned, Classifier, create_engine, load_classifier
from app.engine import Engine, OpenVinoEngine, Outputs
from app.engine_torch import Network
from app.image import Preprocess, model_input, read_photo
from tests.bundles import SHIPPED
from tests.drawings import KINDS, bear, jpeg
from tests.photos import real_photos
from training import graph

BUNDLE = read_bundle(SHIPPED)


@pytest.fixture(scope="module")
def views() -> np.ndarray:
    """Real photos and drawn bears as the network sees them, plain and mirrored: uint8 [N, 224, 224, 3]."""
    photos = [path.read_bytes() for path in real_photos()] + [jpeg(bear(k, s)) for k in KINDS for s in range(4)]
    plain = [model_input(read_photo(data, enough=512), BUNDLE.preprocess) for data in photos]
    return np.stack(plain + [view[:, ::-1] for view in plain])


def answers(engine: Engine, views: np.ndarray) -> np.ndarray:
    return np.concatenate([probabilities(engine.infer(view[None]).logits) for view in views])


@pytest.fixture(scope="module")
def reference(views: np.ndarray) -> np.ndarray:
    """What torch answers to them; to be read only."""
    return answers(create_engine("torch", BUNDLE, 2), views)


def test_openvino_on_the_dequantised_weights_agrees_with_torch(
    tmp_path: Path, views: np.ndarray, reference: np.ndarray
) -> None:
    network = Network(len(BUNDLE.classes), BUNDLE.preprocess)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in float_weights(BUNDLE.weights()).items()})
    graph.write(graph.to_onnx(network.eval(), BUNDLE.preprocess), tmp_path)
    found = answers(OpenVinoEngine(tmp_path / "model.onnx", 1), views)
    assert np.abs(found - reference).max() <= 1e-4


def test_int8_has_the_first_class_of_torch_wherever_it_leads_clearly(views: np.ndarray, reference: np.ndarray) -> None:
    found = answers(create_engine("openvino", BUNDLE, 1), views)
    ranked = np.sort(reference, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 0.1
    assert clear.sum() >= len(views) / 2
    assert (found.argmax(1) == reference.argmax(1))[clear].all()


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_outputs_fit_together(name: str, views: np.ndarray) -> None:
    outputs = create_engine(name, BUNDLE, 1).infer(views[:3])
    weights = float_weights(BUNDLE.weights())
    assert outputs.logits.shape == (3, 3)
    assert outputs.features.shape == (3, 512)
    assert outputs.cam.shape == (3, 3, 7, 7)
    bias, head = weights["fc.bias"], weights["fc.weight"]
    np.testing.assert_allclose(outputs.cam.mean((2, 3)) + bias, outputs.logits, atol=1e-3)
    np.testing.assert_allclose(outputs.features @ head.T + bias, outputs.logits, atol=1e-3)


def test_the_torch_engine_replays_the_golden_photos() -> None:
    assert load_classifier(SHIPPED, "torch", 2).engine.name == "torch"


def test_threads_do_not_mix_up_answers(views: np.ndarray) -> None:
    engine = create_engine("openvino", BUNDLE, 2)
    expected = answers(engine, views)
    wrong: list[int] = []

    def work(offset: int) -> None:
        for step in range(3 * len(views)):
            index = (step + offset) % len(views)
            if not np.array_equal(probabilities(engine.infer(views[index][None]).logits)[0], expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(7 * n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("wanted", [True, False])
def test_a_photo_that_nobody_waits_for_is_dropped_before_inference(wanted: bool) -> None:
    class Counting:
        name, streams, calls = "counting", 1, 0

        def infer(self, pixels: np.ndarray) -> Outputs:
            self.calls += 1
            return engine.infer(pixels)

    engine, counting = create_engine("openvino", BUNDLE, 1), Counting()
    classifier, photo = Classifier(BUNDLE, counting), BUNDLE.golden[0].path.read_bytes()
    if wanted:
        assert classifier.classify(photo, lambda: True).predictions
    else:
        with pytest.raises(Abandoned):
            classifier.classify(photo, lambda: False)
    assert counting.calls == wanted


def signal_stack() -> tuple[int, int]:
    """Address and size of the stack that this thread takes signals on, if it is not its own."""
    found = (ctypes.c_size_t * 3)()  # stack_t: address, flags, size
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found[0], found[2]


def test_loading_leaves_the_main_threads_stack_for_signals_alone() -> None:
    assert threading.current_thread() is threading.main_thread()
    before = signal_stack()
    create_engine("openvino", BUNDLE, 1)
    assert signal_stack() == before


def test_golden_photos_agree_on_a_cpu_without_vnni() -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-m", "app", "check", str(SHIPPED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "golden photos agree within 0.001" in done.stdout


def test_normalisation_is_torchvisions() -> None:
    scale, shift = Preprocess().scale_and_shift()
    pixel = np.array([0.0, 127.0, 255.0], np.float32)
    expected = (pixel / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pixel * scale - shift, expected, atol=1e-5)
