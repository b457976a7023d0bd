"""A folder of odd files, each through the real decoder: `make test CORPUS=DIR`. Without one, oddities made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.worst import encode, rough, with_alpha
from tests.attacks.test_mutations import REFUSALS, run

MAX_MB = 300
HANG_S = 5  # of CPU; the bar is one


def oddities(folder: Path) -> Path:
    """Every mode that Pillow writes to PNG, GIF, WebP and JPEG, and files cut in half."""
    picture = rough((90, 60))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"):
        image = with_alpha(picture.copy()).convert("L" if mode == "I;16" else mode)
        for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "AVIF"):
            try:
                data = encode(image.convert("I;16") if mode == "I;16" else image, kind)
            except (OSError, ValueError, KeyError):
                continue  # no such mode in that format
            (folder / f"{mode}.{kind.lower()}").write_bytes(data)
            (folder / f"{mode}, half.{kind.lower()}").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    return folder


@pytest.mark.timeout(900)
def test_every_file_of_the_corpus_is_read_or_refused_within_bounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = os.environ.get("CORPUS")
    (tmp_path / "odd").mkdir()
    folder = Path(given).absolute() if given else oddities(tmp_path / "odd")
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    assert files, f"{folder} holds no files"
    found = run(tmp_path, "corpus", *files)
    answers, costs = found["answers"], found["costs"]
    assert isinstance(answers, dict)
    assert isinstance(costs, dict)
    told = ", ".join(f"{count} {answer}" for answer, count in sorted(answers.items()))
    with capsys.disabled():
        print(f"\n{len(files)} files of {folder.name}: {told}")
    assert sum(answers.values()) == len(files)
    assert answers.keys() <= {"read", *REFUSALS}
    dear = {file: cost for file, cost in costs.items() if cost["mb"] > MAX_MB or cost["cpu_s"] > HANG_S}
    assert not dear
