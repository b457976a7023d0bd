"""Other plans for the cores than the rule's, on 1 and 2 cores by affinity: `python -m bench.plans`.

Beside what `python -m app tune` compares, which `--threads` can set: threads per stream, and workers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.bundle import read_bundle
from app.classifier import Classifier
from app.cpu import Plan
from app.engine import OpenVinoEngine
from app.settings import ROOT
from app.tune import rate
from bench.bundles import INT8
from bench.results import RESULTS, store

# cores → (streams, threads per stream, workers)
TRIED = {
    1: [(1, 1, 1), (1, 1, 2), (1, 1, 3), (2, 1, 3)],
    2: [(2, 1, 2), (2, 1, 3), (2, 1, 4), (1, 2, 1), (1, 2, 2), (1, 2, 3), (1, 1, 2), (3, 1, 4)],
}
BOUT_S = 2.0


class Shaped(OpenVinoEngine):
    """An engine of `streams` streams with `threads` threads each."""

    def __init__(self, graph: Path, streams: int, threads: int) -> None:
        self.threads = threads
        super().__init__(graph, streams)

    def _plan(self) -> dict[str, Any]:
        return {**super()._plan(), "INFERENCE_NUM_THREADS": self.streams * self.threads}


def measure(cores: int, rounds: int) -> dict[str, float]:
    """Photos per second of each plan on so many cores, bound to them; medians of interleaved rounds."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    bundle = read_bundle(INT8)
    classifiers = {shape: Classifier(bundle, Shaped(bundle.graph, *shape[:2])) for shape in TRIED[cores]}
    found: dict[tuple[int, int, int], list[float]] = {shape: [] for shape in classifiers}
    for number in range(rounds + 1):
        for shape, classifier in classifiers.items():
            speed = rate(classifier, shape[2], BOUT_S)
            if number:  # the first one warms up
                found[shape].append(speed)
    return {" ".join(map(str, shape)): statistics.median(speeds) for shape, speeds in found.items()}


def apart(cores: int, rounds: int) -> dict[str, Any]:
    """`measure` in a process of its own; the rule's share of the best."""
    command = [sys.executable, "-m", "bench.plans", "--cores", str(cores), "--rounds", str(rounds)]
    rates = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    rule = rates[f"{cores} 1 {Plan(cores).workers}"]
    return {"rates": rates, "rule": rule, "share": rule / max(rates.values())}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.plans", description="Compare plans for the cores.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, choices=sorted(TRIED), help="only these many, printed as JSON")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results as JSON")
    args = parser.parse_args()
    if args.cores:
        print(json.dumps(measure(args.cores, args.rounds)))
    else:
        here = len(os.sched_getaffinity(0))
        store(args.out, plans={str(cores): apart(cores, args.rounds) for cores in TRIED if cores <= here})


if __name__ == "__main__":
    main()
