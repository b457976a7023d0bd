"""The train command: flags → a finished run folder. Torch is imported only once there is something to train."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training train`."""
    recipe = Recipe()
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with one folder of photos per class")
    parser.add_argument("--out", metavar="RUN", type=Path, required=True, help="folder to write the run to")
    parser.add_argument(
        "--weights",
        default="imagenet",
        metavar="imagenet|FILE|none",
        help="what to start from: torchvision's ImageNet weights (downloaded), a safetensors file, or nothing",
    )
    parser.add_argument(
        "--lane",
        choices=("full", "fast"),
        default="full",
        help="full: the head, then everything, with augmentation; fast: the head alone, in a minute (default: full)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument(
        "--seed", type=int, default=42, help="of the split (if none exists) and of training (default: 42)"
    )
    for flag, kind, value, meaning in (
        ("--head-epochs", int, recipe.head_epochs, "epochs of the head alone"),
        ("--head-lr", float, recipe.head_rate, "peak learning rate of the head alone"),
        ("--epochs", int, recipe.epochs, "epochs of the unfrozen phase (full lane)"),
        ("--lr", float, recipe.rate, "peak learning rate of the unfrozen phase; early layers get a tenth"),
    ):
        parser.add_argument(flag, type=positive(kind), default=value, help=f"{meaning} (default: {value:g})")
    parser.add_argument("--work", metavar="DIR", type=Path, help="where split.csv is kept (default: DATA/_tellapart)")


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """A parser of numbers of `kind` above zero, for argparse."""

    def number(text: str) -> float:  # argparse shows this name: "invalid number value: 'x'"
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
        return value

    return number


def run(args: argparse.Namespace) -> int:
    """Train, showing progress on stderr and the result on stdout; returns the exit code."""
    from rich.console import Console  # imported here, as is torch below, so that --help need not wait
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from training.job import Job, train

    recipe = Recipe(head_epochs=args.head_epochs, head_rate=args.head_lr, epochs=args.epochs, rate=args.lr)
    work = args.work or args.data / "_tellapart"
    job = Job(args.data, args.out, work, args.weights, args.lane, args.device, args.seed, recipe)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        summary = train(job, Progress(*columns, console=Console(stderr=True)))
    except KeyboardInterrupt:
        print(f"Stopped; {args.out} is unfinished, and the same command starts it anew.", file=sys.stderr)  # noqa: T201
        return 130
    print(sentence(summary, args.out))  # noqa: T201
    return 0


def sentence(summary: dict[str, Any], out: Path) -> str:
    """The result in words."""
    found = summary["metrics"]["validation"]
    low, high = found["wilson95"]
    return (
        f"{out}: {found['errors']} errors in {found['photos']} validation photos, {found['error_rate']:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}), in {summary['seconds']:.0f} s."
    )
