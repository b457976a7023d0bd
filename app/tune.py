"""The command tune: how many photos a second this machine classifies with other plans than the rule's."""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from app.classifier import Classifier, load_classifier
from app.cpu import Plan, usable_cores
from app.settings import Settings

ROUNDS = 5
BOUT_S = 1.0
WORTH_SETTING = 1.05  # less than 5 % is within what one run differs from the next


def tune(settings: Settings, *, rounds: int = ROUNDS, bout_s: float = BOUT_S) -> int:
    """Measure plans in turn, print a table of their medians, and say what to set. Raises BundleError."""
    cores = usable_cores()
    plans = [Plan(streams) for streams in candidates(cores)]
    classifiers = {plan: load_classifier(settings.model, settings.engine, plan.streams) for plan in plans}
    rates: dict[Plan, list[float]] = {plan: [] for plan in plans}
    for number in range(rounds):
        if sys.stderr.isatty():
            print(f"\rround {number + 1} of {rounds}", end="\n" * (number + 1 == rounds), file=sys.stderr, flush=True)
        for plan in plans:
            rates[plan].append(rate(classifiers[plan], plan.workers, bout_s))
    print_table({plan.streams: statistics.median(each) for plan, each in rates.items()}, cores)
    return 0


def candidates(cores: int) -> list[int]:
    """Streams worth trying: one, about half of the cores, all of them, one or twice as many more."""
    return sorted({1, max(1, cores // 2), max(1, cores - 1), cores, cores + 1, 2 * cores})


def rate(classifier: Classifier, workers: int, seconds: float) -> float:
    """Photos per second that so many threads classify, each the bundle's golden photos over and over."""
    photos = [golden.path.read_bytes() for golden in classifier.bundle.golden]
    started = time.monotonic()

    def work(offset: int) -> int:
        done = 0
        while time.monotonic() - started < seconds:
            classifier.classify(photos[(done + offset) % len(photos)])
            done += 1
        return done

    with ThreadPoolExecutor(workers) as pool:
        done = sum(pool.map(work, range(workers)))
    return done / (time.monotonic() - started)


def print_table(rates: dict[int, float], cores: int) -> None:
    """Photos per second of each number of streams, and the flag to set if the rule's is not among the best."""
    best = max(rates, key=lambda streams: rates[streams])
    print(f"{cores} usable cores, by the affinity mask and the CPU quota: --threads auto is {cores}.\n")
    print("--threads  photos/s  of the best")
    for streams, found in rates.items():
        print(f"{streams:9}  {found:8.1f}  {100 * found / rates[best]:9.0f} %{'  auto' * (streams == cores)}")
    gain = rates[best] / rates[cores]
    if gain < WORTH_SETTING:
        print("\nNothing to set: auto is as good as the best, within 5 %.")
    else:
        print(f"\nSet --threads {best} (or TELLAPART_THREADS={best}): {100 * (gain - 1):.0f} % more than auto.")
