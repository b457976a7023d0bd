"""Bundles as an attacker would make them: of the shipped one, with a card that fits whatever else was changed."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from app.bundle import content_version
from app.card import CARD, GRAPH, WEIGHTS
from app.classifier import load_classifier
from app.errors import BundleError
from tests.bundles import change_card

IN_ACCESS, IN_OPEN = 0x1, 0x20  # linux/inotify.h


class Canary:
    """A file that nobody may open. `seen` is what the kernel has told of it since."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(b"secret" * 1000)
        self.path = path
        libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._inotify, bytes(path), IN_ACCESS | IN_OPEN) >= 0

    def seen(self) -> bytes:
        try:
            return os.read(self._inotify, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self._inotify)


def refusal(bundle: Path) -> str:
    """The sentence with which a bundle is refused; fails if it is not, or not with one sentence."""
    with pytest.raises(BundleError) as caught:
        load_classifier(bundle, "openvino", 1)
    message = str(caught.value)
    assert message.isprintable()
    assert message.endswith(".")
    assert len(message) < 1000
    assert str(bundle) in message
    return message


def forge(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change model.json, `files` included, and give it the version that fits."""
    card = json.loads((bundle / CARD).read_text())
    change(card)
    card["version"] = content_version(card)
    (bundle / CARD).write_text(json.dumps(card))


def put(bundle: Path, name: str, data: bytes) -> None:
    """Other content for a file, and a card that fits."""
    (bundle / name).unlink()
    (bundle / name).write_bytes(data)
    change_card(bundle, lambda card: None)


def tensors(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file with that header."""
    return len(header).to_bytes(8, "little") + header + data


def header_of(bundle: Path) -> tuple[dict[str, Any], bytes]:
    """The header of the bundle's tensors, and what comes after it."""
    content = (bundle / WEIGHTS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def graph_of(bundle: Path) -> onnx.ModelProto:
    return onnx.load(bundle / GRAPH, load_external_data=False)


def put_graph(bundle: Path, model: onnx.ModelProto) -> None:
    put(bundle, GRAPH, model.SerializeToString())
