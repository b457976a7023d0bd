"""The commands classify and check: the service's answers without the service."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import model_card
from app.answer import VERDICTS
from app.bundle import GoldenPhoto, read_bundle
from app.classifier import Classifier, create_engine, load_classifier, replay
from app.cpu import Plan, usable_cores
from app.errors import BundleError, Refusal
from app.result import Options, as_json
from app.settings import Settings

MANY = 10  # photos from which progress is worth showing


@dataclass(frozen=True)
class Row:
    """One photo's fate: the API's JSON object, {"error": …} included."""

    path: Path
    result: dict[str, Any]


def classify(paths: Sequence[Path], form: str, settings: Settings) -> int:
    """Classify files and print a table, JSON or CSV; 1 if any failed."""
    plan = Plan(settings.threads or usable_cores())
    classifier = load_classifier(settings.model, settings.engine, plan.streams, int(settings.max_pixels_mp * 1e6))
    pool = ThreadPoolExecutor(plan.workers)
    try:
        rows = list(with_progress(pool.map(lambda path: classify_file(classifier, path), paths), len(paths)))
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C some are still in line
    printers = {"table": print_table, "json": print_json, "csv": print_csv}
    printers[form](rows, classifier.bundle.classes)
    return int(any("error" in row.result for row in rows))


def classify_file(classifier: Classifier, path: Path) -> Row:
    """One file's result; a file that cannot be read or classified gives an error object."""
    try:
        return Row(path, as_json(classifier.classify(path.read_bytes()), classifier.bundle, Options()))
    except IsADirectoryError:
        refusal = Refusal("bad_request", "This is a folder; give its photos, such as FOLDER/*.jpg.", hint="")
    except OSError as error:
        refusal = Refusal("bad_request", f"{error.strerror}.", hint="Give the path of a photo.")
    except Refusal as caught:
        refusal = caught
    return Row(path, refusal.as_json())


def with_progress(rows: Iterator[Row], total: int) -> Iterator[Row]:
    """Pass the rows on, counting them on a terminal's stderr if they are many."""
    show = total >= MANY and sys.stderr.isatty()
    for number, row in enumerate(rows, 1):
        if show:
            print(f"\r{number} of {total} photos", end="\n" if number == total else "", file=sys.stderr, flush=True)
        yield row


def print_table(rows: Sequence[Row], classes: Sequence[str]) -> None:
    """A line per photo: the verdict, every class with its probability, the first one first; errors in words."""
    width = max(len(str(row.path)) for row in rows)
    widest = max(map(len, (*classes, *VERDICTS)))
    for row in rows:
        if "error" in row.result:
            print(f"{row.path!s:{width}}  error: {row.result['error']['message']}")
        else:
            ranked = "  ".join(f"{name} {100 * p:5.1f} %" for name, p in row.result["predictions"])
            print(f"{row.path!s:{width}}  {row.result['verdict']:{widest}}  {ranked}")


def print_json(rows: Sequence[Row], classes: Sequence[str]) -> None:
    """A JSON list: the API's object for each photo, with its file."""
    print(json.dumps([{"file": str(row.path), **row.result} for row in rows], indent=1))


def print_csv(rows: Sequence[Row], classes: Sequence[str]) -> None:
    """CSV: file, verdict, a probability per class in the bundle's order, error."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "verdict", *classes, "error"])
    for row in rows:
        found = dict(row.result.get("predictions", []))
        error = row.result.get("error", {}).get("message", "")
        writer.writerow([row.path, row.result.get("verdict", ""), *(found.get(name, "") for name in classes), error])


def check(folder: Path, settings: Settings) -> int:
    """Check a bundle's files, print what it is, and replay all its golden photos.

    Raises BundleError, which names the first golden photo that disagrees.
    """
    bundle = read_bundle(folder)
    print(f"{bundle.name} {bundle.version}: {', '.join(bundle.classes)}")
    print(*(f"{what}: {how}" for what, how in model_card.in_words(bundle.card)), sep="\n")
    classifier = Classifier(bundle, create_engine(settings.engine, bundle, 1))
    wrong = [error for golden in bundle.golden if (error := check_golden(classifier, golden))]
    if wrong:
        print(f"{len(wrong)} of {len(bundle.golden)} golden photos disagree.")
        raise wrong[0]
    print(f"{len(bundle.golden)} golden photos agree within {bundle.tolerance:g}.")
    return 0


def check_golden(classifier: Classifier, golden: GoldenPhoto) -> BundleError | None:
    """Print how far a golden photo's answer is from the recorded one; returns what is wrong with it, if anything."""
    name = golden.path.relative_to(classifier.bundle.folder)
    try:
        print(f"{name}: differs by {replay(classifier, golden):.1e}")
    except BundleError as error:
        print(f"{name}: DISAGREES")
        return error
    return None
