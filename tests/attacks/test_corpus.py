"""A folder of files against the decoder, each within bounds: `make test CORPUS=DIR`, or one made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT
from bench.worst import BAR_MB, BAR_S, Seen
from bench.worst_photos import disposed_gif, overlapping_exif, segments
from tests.attacks.decoding import FINE, subjects

OTHERS = {
    "empty": b"",
    "text": b"BM is how this text begins",
    "GIF of 65535²": disposed_gif(),
    "EXIF that lies": overlapping_exif(5000),
    "20 MB of tables": segments(0xDB, (b"\0" + b"\1" * 64) * 1000, 20_000_000),
}


@pytest.fixture
def corpus(tmp_path: Path) -> list[Path]:
    """The files of CORPUS, or those made here: each format, each cut at half, and what is no photo."""
    if folder := os.environ.get("CORPUS"):
        return sorted(path for path in Path(folder).resolve().rglob("*") if path.is_file())
    made = subjects()
    made |= {f"{name}, half": data[: len(data) // 2] for name, data in made.items()} | OTHERS
    for number, data in enumerate(made.values()):
        (tmp_path / f"{number:03}").write_bytes(data)
    return sorted(tmp_path.iterdir())


def decode(paths: list[Path]) -> list[Seen]:
    """One process for all of them; it ends at the file that it dies of."""
    command = [sys.executable, "-m", "tests.attacks.decoding", "files"]
    names = "".join(f"{path}\n" for path in paths)
    done = subprocess.run(command, cwd=ROOT, input=names, capture_output=True, text=True, timeout=240)
    seen = [Seen(**json.loads(line)) for line in done.stdout.splitlines()]
    assert len(seen) == len(paths), f"{paths[len(seen)]} ended the process ({done.returncode}): {done.stderr[-3000:]}"
    assert done.stderr == ""  # neither Pillow nor a library of C says anything of strangers' files
    return seen


def test_every_file_is_answered_or_refused_within_bounds(
    corpus: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert corpus, "CORPUS names a folder without files"
    found = dict(zip(corpus, decode(corpus), strict=True))
    bad = {str(path): seen for path, seen in found.items() if not fine(seen)}
    assert not bad, bad
    counts = {verdict: sum(seen.verdict == verdict for seen in found.values()) for verdict in FINE}
    with capsys.disabled():
        worst = max(found.values(), key=lambda seen: seen.cpu_s).cpu_s, max(s.grown_mb for s in found.values())
        print(f"\ncorpus: {len(found)} files, {counts}, at most {worst[0]:.2f} s and {worst[1]:.0f} MB")


def fine(seen: Seen) -> bool:
    return seen.verdict in FINE and seen.grown_mb < BAR_MB and seen.cpu_s < 5 * BAR_S
