"""A small made-up run to clean: as train leaves it, but nothing was trained."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.live import ROOT, clean_env, end
from training.files import write_json, write_rows
from training.history import Prediction, write_predictions


def make_run(
    folder: Path,
    data: Path,
    truth: Mapping[str, float],
    sides: Mapping[str, str],
    features: Mapping[str, Sequence[float]] | None = None,
    classes: Sequence[str] = (),
) -> Path:
    """A run over the files of `sides` (file → train or validation), of which those in `truth` were judged: file → the
    probability of its own class. The rest of the probability goes to the next class."""
    files = sorted(sides)
    names = sorted({Path(file).parent.name for file in files} | set(classes))
    hashes = {file: hashlib.sha256((data / file).read_bytes()).hexdigest() for file in files}
    columns = ("file", "class", "split", "fold", "sha256")
    folds = {"validation": "0", "train": "1"} if len(truth) == len(sides) else {"validation": "", "train": ""}
    rows = [(file, Path(file).parent.name, sides[file], folds[sides[file]], hashes[file]) for file in files]
    write_rows(folder / "split.csv", columns, rows)
    predictions = []
    for file, p in truth.items():
        own = Path(file).parent.name
        other = names[(names.index(own) + 1) % len(names)]
        beliefs = dict.fromkeys(names, 0.0) | {own: p, other: 1 - p}
        predictions.append(Prediction(file, own, max(beliefs, key=lambda n: beliefs[n]), "0", -math.log(p), beliefs))
    write_predictions(folder, predictions, names)
    if features:
        stacked = np.array([features[file] for file in files], dtype=np.float32)
        save_file({"features": stacked}, folder / "features.safetensors", {"files": json.dumps(files)})
    summary = {"format": 1, "classes": names, "data": {"path": str(data)}, "measured": "made up"}
    write_json(folder / "run.json", summary)
    return folder


@contextmanager
def cleaning(run: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`python -m training clean RUN`: the address it printed, and its process, ended afterwards if it still runs."""
    command = [sys.executable, "-m", "training", "clean", str(run), *flags]
    with subprocess.Popen(command, cwd=ROOT, env=clean_env(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("Open ").strip(), process
        finally:
            end(process)
