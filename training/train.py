"""The train command: flags → a finished run folder. Torch is imported only once there is something to train."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from training.errors import TrainingError
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
    parser.add_argument(
        "--mixup",
        type=positive(float),
        default=0.0,
        metavar="ALPHA",
        help="mix pairs of photos, e.g. 0.4 (default: not)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "f32"),
        default="auto",
        help="of multiplications in the unfrozen phase; auto: bf16 where the hardware has it",
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
        ("--batch-size", int, recipe.batch_size, "photos per step; on a GPU, more keep it busy"),
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
    import torch  # imported here, as is all that imports it, so that --help need not wait
    from accelerate import Accelerator

    from training.card import in_words
    from training.files import write_bytes
    from training.job import Job, train
    from training.progress import bars
    from training.report import REPORT, render
    from training.run_folder import read_run
    from training.words import command

    if args.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: torch finds no CUDA device here; give --device cpu.")
    accelerator = Accelerator(cpu=args.device == "cpu")
    recipe = Recipe(
        batch_size=args.batch_size,
        head_epochs=args.head_epochs,
        head_rate=args.head_lr,
        epochs=args.epochs,
        rate=args.lr,
        mixup=args.mixup,
    )
    work = args.work or args.data / "_tellapart"
    job = Job(args.data, args.out, work, args.weights, args.lane, args.precision, args.seed, recipe)
    try:
        with bars(show=accelerator.is_main_process) as progress:
            summary = train(job, accelerator, progress)
    except KeyboardInterrupt:
        print(f"Stopped; {args.out} is unfinished, and the same command goes on with it.", file=sys.stderr)  # noqa: T201
        return 130
    if accelerator.is_main_process:
        print(f"{args.out}: {in_words(summary['metrics']['validation'])}, in {summary['seconds']:.0f} s.")  # noqa: T201
        print(summary["measured"])  # noqa: T201
        for found in summary["diagnosis"]:
            print(f"{found['name']}. {found['evidence']} {found['advice']}")  # noqa: T201
        if not summary["diagnosis"]:
            print("Diagnosis: nothing to complain of.")  # noqa: T201
        try:
            write_bytes(args.out / REPORT, render(read_run(args.out, args.data)))
        except OSError as error:  # the same command again would find a finished run, and refuse
            raise TrainingError(
                f"{error.filename}: {error.strerror}. The run itself is finished; "
                f"when that is mended: {command('report', args.out)}"
            ) from error
        print(f"All of it, with pictures: {args.out / REPORT}")  # noqa: T201
        print("Next:", command("export", args.out, "--out", "models/NAME"))  # noqa: T201
    return 0
