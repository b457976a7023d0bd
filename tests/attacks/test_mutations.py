"""Photos of every format with bytes changed: whatever comes of them is an answer or a refusal.

`MUTATIONS=10000 python -m pytest tests/attacks/test_mutations.py` is the long run; without it there are FEW of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bench.worst import encode, rough, with_alpha
from tests.attacks import decoding
from tests.live import ROOT

FEW = 300
COUNT = int(os.environ.get("MUTATIONS", FEW))
HANG_S = 5  # of CPU, for one photo
REFUSALS = {"not_an_image", "broken_image", "too_many_pixels", "too_large"}


def picture() -> Image.Image:
    return rough((96, 72))


def animated(kind: str) -> bytes:
    return encode(picture(), kind, save_all=True, append_images=[picture().rotate(90)], duration=50)


PHOTOS: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encode(picture(), "JPEG", exif=Image.Exif()),
    "JPEG, progressive": lambda: encode(picture(), "JPEG", progressive=True),
    "JPEG, CMYK": lambda: encode(picture().convert("CMYK"), "JPEG"),
    "PNG": lambda: encode(picture(), "PNG"),
    "PNG, palette": lambda: encode(picture().quantize(16), "PNG", transparency=3),
    "PNG, animated": lambda: animated("PNG"),
    "WebP, lossy": lambda: encode(with_alpha(picture()), "WEBP"),
    "WebP, lossless": lambda: encode(picture(), "WEBP", lossless=True),
    "WebP, animated": lambda: animated("WEBP"),
    "GIF": lambda: animated("GIF"),
    "BMP": lambda: encode(picture(), "BMP"),
    "AVIF": lambda: encode(with_alpha(picture()), "AVIF"),
}


def run(folder: Path, *arguments: str) -> dict[str, object]:
    """What tests/attacks/decoding.py found; a crash fails with the bytes that did it left in `folder`."""
    command = [sys.executable, "-m", "tests.attacks.decoding", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"exit {done.returncode}, on {folder / decoding.LAST}:\n{done.stderr[-3000:]}"
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", PHOTOS)
def test_no_change_of_bytes_is_more_than_a_refusal(kind: str, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(PHOTOS[kind]())
    found = run(tmp_path, "mutations", str(COUNT), "photo")
    answers = found["answers"]
    assert isinstance(answers, dict)
    assert answers.keys() <= {"read", *REFUSALS}
    assert {"read", "broken_image"} <= answers.keys()
    assert sum(answers.values()) >= COUNT
    assert float(str(found["cpu_s"])) < HANG_S
