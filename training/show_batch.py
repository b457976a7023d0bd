"""The show-batch command: a picture of training photos as the network sees them, varied by chance."""

from __future__ import annotations

import argparse
import io
import math
from pathlib import Path

import torch
from PIL import Image

from app.image import Preprocess
from training.augment import draw, views
from training.dataset import Photos, load
from training.files import write_bytes
from training.folders import TRAIN
from training.progress import advancer, bars, tell
from training.recipe import Augmentation, Recipe
from training.split import prepare

SHOWN, SIDE, GAP = 25, 180, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training show-batch`."""
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with one folder of photos per class")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("batch.jpg"), help="default: batch.jpg")
    parser.add_argument("--seed", type=int, default=42, help="which photos, and how varied (default: 42)")
    parser.add_argument("--work", metavar="DIR", type=Path, help="where split.csv is kept (default: DATA/_tellapart)")


def run(args: argparse.Namespace) -> int:
    """Draw the picture."""
    with bars() as progress:
        split = prepare(args.data, args.work or args.data / "_tellapart", args.seed, progress)
        rows = [row for row in split.rows if row.split == TRAIN]
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(args.seed))[:SHOWN]
        some = [rows[index] for index in chosen.tolist()]
        photos, broken = load(
            args.data, some, split.classes, Preprocess(), wide=True, advance=advancer(progress, "photos", len(some))
        )
        tell(progress, broken)
    write_bytes(args.out, picture(photos, Recipe().augmentation, args.seed))
    print(f"{args.out}: {len(photos.rows)} training photos as the network sees them.")  # noqa: T201
    return 0


def picture(photos: Photos, augmentation: Augmentation, seed: int) -> bytes:
    """A square of at most 25 augmented photos, as JPEG."""
    chance = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(photos.labels), generator=chance)[:SHOWN]
    found = views(photos.cache, chosen, draw(len(chosen), augmentation, chance), photos.views.shape[-1])
    columns = math.ceil(math.sqrt(len(chosen)))
    lines = math.ceil(len(chosen) / columns)
    sheet = Image.new("RGB", (columns * (SIDE + GAP) - GAP, lines * (SIDE + GAP) - GAP), "white")
    for number, view in enumerate(found.round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()):
        place = (number % columns * (SIDE + GAP), number // columns * (SIDE + GAP))
        sheet.paste(Image.fromarray(view).resize((SIDE, SIDE)), place)
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=88)
    return out.getvalue()
