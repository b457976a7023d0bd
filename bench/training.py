"""How long training takes, how much memory, and what comes of it. Run: `python -m bench.training DATA --weights FILE`.

Works on a copy of DATA. Each command is a process of its own, timed from outside, imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from app.settings import ROOT


@dataclass(frozen=True)
class Done:
    """A command that ended well: its words, wall seconds, and the largest resident memory of its process in MB."""

    command: str
    seconds: float
    peak_mb: float


def timed(*words: str) -> Done:
    """Run `python -m training WORDS`; ends this program if it fails."""
    started = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, "-m", "training", *words], os.environ)
    _, status, usage = os.wait4(process, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(words)}: exit code {code}")
    done = Done(words[0], time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e6)
    print(f"| {' '.join(short(word) for word in words)} | {done.seconds:.0f} | {done.peak_mb:.0f} |", flush=True)
    return done


def short(word: str) -> str:
    """A path's last part."""
    return Path(word).name if "/" in word else word


def chain(data: Path, out: Path, lane: str, weights: str) -> None:
    """verify → split → train → export, and what the run's validation photos say."""
    shutil.rmtree(data / "_tellapart", ignore_errors=True)
    run, bundle = out / f"run-{lane}", out / f"bundle-{lane}"
    done = [
        timed("verify", str(data)),
        timed("split", str(data)),
        timed("train", str(data), "--out", str(run), "--lane", lane, "--weights", weights),
        timed("export", str(run), "--out", str(bundle)),
    ]
    print(f"| **all four, {lane} lane** | **{sum(one.seconds for one in done):.0f}** | |")
    rate = json.loads((run / "run.json").read_text())["metrics"]["validation"]
    low, high = (100 * bound for bound in rate["wilson95"])
    wrong = f"{rate['errors']} of {rate['photos']} wrong, {100 * rate['error_rate']:.1f} %, {low:.1f} to {high:.1f} %"
    print(f"| {wrong} | | |")


def main() -> None:
    """Both lanes and both forms of lr-find, as a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m bench.training", description="Time the training commands.")
    parser.add_argument("data", metavar="DATA", type=Path, help="folder with one folder of photos per class")
    parser.add_argument("--weights", default="imagenet", help="as for train")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where runs and bundles stay (default: nowhere)")
    parser.add_argument("--lanes", nargs="+", choices=("fast", "full"), default=("fast", "full"))
    args = parser.parse_args()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        shutil.copytree(args.data, data, ignore=shutil.ignore_patterns("_tellapart"))
        out = args.out or Path(temporary)
        print("| command | seconds | peak memory, MB |\n|---|---|---|")
        for lane in args.lanes:
            chain(data, out, lane, args.weights)
        for flags in ((), ("--unfrozen",)):
            timed("lr-find", str(data), "--weights", args.weights, "--out", f"{temporary}/lr.png", *flags)


if __name__ == "__main__":
    main()
