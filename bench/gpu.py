"""Training speed on a GPU, over JPEGs that it draws. Run there: `python -m bench.gpu`.

Epochs 2 to 4 of the unfrozen phase count; decoding all photos into the cache is timed apart, as it happens once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from app.cpu import usable_cores
from training.__main__ import main as command
from training.history import UNFROZEN, read_epochs

CLASSES = 4
SIZE = (640, 427)
VALIDATION = 64  # photos per class, so that validation hardly counts
EPOCHS = 4


def draw(path: Path, seed: int) -> None:
    """A JPEG of coloured clouds, different for each seed."""
    chance = np.random.default_rng(seed)
    clouds = Image.fromarray(chance.integers(0, 256, (27, 40, 3), dtype=np.uint8)).resize(SIZE)
    grain = chance.integers(-20, 21, (SIZE[1], SIZE[0], 1))
    pixels = np.clip(np.asarray(clouds) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=85)


def draw_all(data: Path, count: int) -> None:
    """`count` photos to train on, and a few to validate, in equal classes."""
    places = []
    for side, photos in (("train", count // CLASSES), ("val", VALIDATION)):
        for label in range(CLASSES):
            folder = data / side / f"class {label}"
            folder.mkdir(parents=True)
            places += [folder / f"{number}.jpg" for number in range(photos)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(draw, places, range(len(places))))


def main() -> None:
    """Draw, train, and print photos per second; with --profile, what the time goes to."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Photos per second of training.")
    parser.add_argument("--photos", type=int, default=16_384)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--profile", action="store_true", help="the twenty dearest operations, in a run of its own")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data, run = Path(temporary) / "data", Path(temporary) / "run"
        draw_all(data, args.photos)
        train = ["train", str(data), "--out", str(run), "--weights", "none", "--device", args.device]
        train += ["--head-epochs", "1", "--epochs", str(EPOCHS), "--batch-size", str(args.batch_size)]
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if args.device == "cuda" else [])]
        started = time.perf_counter()
        profiler = profile(activities=activities) if args.profile else None
        with profiler or contextlib.nullcontext():
            if code := command(train):
                raise SystemExit(code)
        total = time.perf_counter() - started
        if profiler:
            print(profiler.key_averages().table(sort_by=f"self_{args.device}_time_total", row_limit=20))
        report(run, args, total)


def report(run: Path, args: argparse.Namespace, total: float) -> None:
    """One line of JSON."""
    seconds = [epoch.seconds for epoch in read_epochs(run) if epoch.phase == UNFROZEN]
    summary = json.loads((run / "run.json").read_text())
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    found = {
        "device": device,
        "precision": summary["precision"],
        "photos": args.photos,
        "batch_size": args.batch_size,
        "photos_per_s": round(args.photos * (EPOCHS - 1) / sum(seconds[1:])),
        "epoch_s": seconds,
        "decode_s": summary["decode_s"],
        "total_s": round(total, 1),
        "cores": os.cpu_count(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
