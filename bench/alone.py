"""The engine alone, and decoding alone, in a process of their own: `python -m bench.alone BUNDLE…` prints JSON."""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from app.bundle import read_bundle
from app.engine import OpenVinoEngine
from app.image import Pixels, Preprocess, model_input, read_photo
from app.settings import ROOT
from bench.photos import FORMATS, MEGAPIXELS, of_size, photos

THREADS = (1, 2)
REPEATS = {0.3: 20, 2: 10, 12: 5}


def measure(bundles: Iterable[Path], seconds: float) -> dict[str, Any]:
    """What this module's command prints, from a process of its own."""
    command = [sys.executable, "-m", "bench.alone", *map(str, bundles), "--seconds", str(seconds)]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return found


def engine(graph: Path, inputs: Sequence[Pixels], threads: int, seconds: float) -> dict[str, float]:
    """One photo at a time in each of `threads` threads, each with a stream of its own, for `seconds`."""
    started_engine = OpenVinoEngine(graph, threads)
    counts = [0] * threads

    def work(number: int, until: float) -> None:
        while time.perf_counter() < until:
            started_engine.infer(inputs[counts[number] % len(inputs)][None])
            counts[number] += 1

    def all_at_work(seconds: float) -> tuple[float, float]:
        counts[:] = [0] * threads
        started, used = time.perf_counter(), time.process_time()
        workers = [threading.Thread(target=work, args=(number, started + seconds)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - started, time.process_time() - used

    all_at_work(0.3)  # warm-up
    wall, used = all_at_work(seconds)
    done = sum(counts)
    return {"wall_ms": 1000 * wall * threads / done, "cpu_ms": 1000 * used / done, "rate": done / wall}


def decode(data: bytes, preprocess: Preprocess) -> Pixels:
    """What the service does with a photo's bytes before the engine."""
    return model_input(read_photo(data, enough=2 * preprocess.resize), preprocess)


def median_ms(data: bytes, preprocess: Preprocess, repeats: int) -> float:
    """The median time of decoding a photo in milliseconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        decode(data, preprocess)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def decoding(preprocess: Preprocess) -> dict[str, Any]:
    """The CPU time of one of the photos that are served, and the median time of each size and format."""
    served = photos()
    before = time.process_time()
    for photo in served:
        decode(photo, preprocess)
    cpu_ms = 1000 * (time.process_time() - before) / len(served)
    kinds = itertools.product(MEGAPIXELS, FORMATS)
    ms = {f"{size:g} MP {kind}": median_ms(of_size(size, kind), preprocess, REPEATS[size]) for size, kind in kinds}
    return {"decode_cpu_ms": cpu_ms, "decode_ms": ms}


def main() -> None:
    """Print {"engine": {precision: {threads: …}}, "decode_cpu_ms": …, "decode_ms": …}."""
    parser = argparse.ArgumentParser(prog="python -m bench.alone", description="The engine and the decoder alone.")
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    bundles = [read_bundle(folder) for folder in args.bundles]
    preprocess = bundles[0].preprocess
    inputs = [decode(photo, preprocess) for photo in photos()]
    engines = {
        bundle.precision: {str(n): engine(bundle.graph, inputs, n, args.seconds) for n in THREADS} for bundle in bundles
    }
    print(json.dumps({"engine": engines, **decoding(preprocess)}))


if __name__ == "__main__":
    main()
