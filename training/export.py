"""The export command: a finished run → a bundle that the service loads, or one sentence saying why not."""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from app.answer import Calibration, Floats
from app.bundle import Bundle
from app.card import CARD, GRAPH, Expected
from app.classifier import Classifier, load_classifier
from app.cpu import usable_cores
from app.engine import Engine, OpenVinoEngine
from training import card, golden, graph, model, reference, usual
from training.agreement import Agreement, Trained, agreement, ask_network
from training.calibrate import calibrate
from training.errors import TrainingError
from training.files import check_writable, write_json
from training.folders import TRAIN, VALIDATION, Row
from training.history import read_predictions
from training.metrics import errors_per_class
from training.progress import advancer, bars
from training.quantise import MIN_VIEWS, Gate, gate, quantise, quantise_weights
from training.run_folder import Run, read_run
from training.views import ask, photo_views

CALIBRATION_PHOTOS = 100
FEWEST_VIEWS = 4  # of a photo: as served, mirrored, two crops
GOLDEN_POOL = 150  # photos that golden ones are chosen from, or so many of each class:
GOLDEN_POOL_PER_CLASS = 10

Report = Callable[[str, int], Callable[[], None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that train or import wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="bundle to write: models/NAME")
    parser.add_argument("--data", type=Path, metavar="DATA", help="the photos, if no longer where the run found them")
    golden_help = "photos to choose golden ones from; they travel with the bundle [small copies of yours]"
    parser.add_argument("--golden", type=Path, metavar="FOLDER", help=golden_help)
    examples_help = "let the page show golden photos for everyone to try it with"
    parser.add_argument("--examples", action="store_true", help=examples_help)
    precision_help = "auto: int8 if its answers pass the gate, else int8 weights, else f32"
    parser.add_argument("--precision", choices=("auto", "f32"), default="auto", help=precision_help)
    parser.add_argument("--about", default="", metavar="TEXT", help="a sentence for the bundle's card")
    seen_help = "what the weights that training started from had seen, for the card [what their file says]"
    parser.add_argument("--seen", default="", metavar="TEXT", help=seen_help)


def run(args: argparse.Namespace) -> int:
    """Export with progress, and say what came of it."""
    check_free(args.out)
    finished = read_run(args.run_folder, args.data)
    finished.check_photos()
    with bars() as progress:
        made = Export(finished, args.out, partial(advancer, progress)).run(
            args.golden, args.precision, args.about, args.seen, args.examples
        )
    rates = made["metrics"]["validation"]
    rate = rates.get(made["precision"], rates["f32"])
    print(f"{args.out}: version {made['version']}, {made['precision']}, {card.in_words(rate)}.")  # noqa: T201
    print(f"Serve it: python -m app serve --model {shlex.quote(str(args.out))}")  # noqa: T201
    return 0


class Export:
    """One export of `finished` to `out`, replaced only by a bundle that has passed the service's own checks."""

    def __init__(self, finished: Run, out: Path, report: Report) -> None:
        self.finished = finished
        self.out = out
        self.report = report
        self.calibration = calibrate(read_predictions(finished.folder), finished.classes)
        self.usual = self._usual()
        self.validation = [
            (row, pixels)
            for row in finished.side(VALIDATION)
            for pixels in photo_views(finished.data / row.file, finished.preprocess, 1)
        ]

    def run(
        self, pool: Path | None, precision: str, about: str = "", seen: str = "", examples: bool = False
    ) -> dict[str, Any]:
        """Write the bundle; returns its card. Raises TrainingError or BundleError."""
        checkpoint = self._checkpoint()
        f32 = graph.to_onnx(
            graph.fold(checkpoint, len(self.finished.classes), self.finished.preprocess), self.finished.preprocess
        )
        with _workplace(self.out) as place:
            floats = self._engine(f32, place / "f32")
            trained = self._trained(checkpoint)
            self._agreement(trained, floats, "f32").check(exact=True)
            # also before the slow part, so that photos which cannot do are told of at once
            self._golden(Classifier(self._bundle(place / "f32", "f32"), floats), pool)
            folder, engine, gates = self._choose(f32, floats, trained, precision, place)
            metrics = {**self._errors(floats, engine), "int8_gate": gates}
            bundle = self._calibrated(self._bundle(folder, "f32" if engine is floats else "int8"), engine)
            photos = golden.write(self._golden(Classifier(bundle, engine), pool), bundle.classes, folder, examples)
            made = card.describe(bundle, self.finished, self.calibration, metrics, photos, about, seen)
            write_json(folder / CARD, made)
            reloaded = load_classifier(folder, "openvino", streams=1)
            self._agreement(trained, reloaded.engine, "bundle").check(exact=engine is floats)
            _replace(folder, self.out, place / "old")
        return made

    def _calibrated(self, bundle: Bundle, engine: Engine) -> Bundle:
        """The bundle with what calibration found, and the features that it needs to tell what is outside."""
        found = self.calibration
        if found is None:
            return bundle
        if found.outside_below is not None:
            files = [self.finished.data / row.file for row in reference.rows(self.finished)]
            advance = self.report("reference", len(files))
            reference.write(bundle.folder, engine, files, bundle.preprocess, advance)
        return replace(bundle, calibration=Calibration(found.temperature, found.unsure_below, found.outside_below))

    def _usual(self) -> dict[str, float]:
        files = [self.finished.data / row.file for row in self.finished.rows]
        return usual.lowest(files, self.finished.preprocess, self.report("what photos are like", len(files)))

    def _checkpoint(self) -> dict[str, Tensor]:
        try:
            return load_file(self.finished.checkpoint)
        except SafetensorError as error:
            raise TrainingError(f"{self.finished.checkpoint} is broken ({error}): train anew.") from error

    def _engine(self, proto: onnx.ModelProto, folder: Path) -> OpenVinoEngine:
        folder.mkdir()
        graph.write(proto, folder)
        return OpenVinoEngine(folder / GRAPH, usable_cores())

    def _trained(self, checkpoint: dict[str, Tensor]) -> Trained:
        """What the network that was trained says of the validation photos."""
        network = model.Classifier(len(self.finished.classes), self.finished.preprocess)
        network.load_state_dict(checkpoint)
        advance = self.report("checkpoint", len(self.validation))
        return ask_network(network.eval(), [pixels for _, pixels in self.validation], advance)

    def _agreement(self, trained: Trained, engine: Engine, name: str) -> Agreement:
        advance = self.report(f"{name} against checkpoint", len(self.validation))
        return agreement(trained, engine, advance)

    def _choose(
        self, f32: onnx.ModelProto, reference: OpenVinoEngine, trained: Trained, precision: str, place: Path
    ) -> tuple[Path, OpenVinoEngine, dict[str, Any]]:
        """The first of int8, int8 weights and f32 whose answers pass the gate, and how each that was tried fared."""
        gates: dict[str, Any] = {}
        makers = {"int8": self._quantise, "int8 weights": quantise_weights} if precision == "auto" else {}
        for name, make in makers.items():
            engine = self._engine(make(f32), place / name)
            result = self._gate(reference, engine, name, self._agreement(trained, engine, name).cam_correlation)
            gates[name] = result.as_json()
            if result.passed:
                return place / name, engine, gates
        return place / "f32", reference, gates

    def _quantise(self, f32: onnx.ModelProto) -> onnx.ModelProto:
        preprocess = self.finished.preprocess
        views = [view for path in self._calibration() for view in photo_views(path, preprocess, 1)]
        return quantise(f32, views, self.report("int8", len(views)))

    def _calibration(self) -> list[Path]:
        """Training photos, evenly from the whole list, so that each class is there."""
        files = [self.finished.data / row.file for row in self.finished.side(TRAIN)]
        count = min(CALIBRATION_PHOTOS, len(files) // 2)
        return [files[i * len(files) // count] for i in range(count)]

    def _gate(self, reference: OpenVinoEngine, engine: OpenVinoEngine, name: str, cam_correlation: float) -> Gate:
        """Compare on views of every photo that did not calibrate."""
        used = set(self._calibration())
        files = [path for row in self.finished.rows if (path := self.finished.data / row.file) not in used]
        count = max(FEWEST_VIEWS, -(-MIN_VIEWS // len(files)))
        advance = self.report(f"{name} against f32", len(files))
        photos = [partial(photo_views, path, self.finished.preprocess, count) for path in files]
        floats, integers = ask([reference, engine], photos, advance)
        return gate(floats, integers, cam_correlation)

    def _errors(self, reference: OpenVinoEngine, engine: OpenVinoEngine) -> dict[str, Any]:
        """The card's error rates: of both precisions on photos kept aside.

        Where each photo was judged in turn: that rate, and both precisions on a fifth of the photos, which may have
        trained the network that was kept: it says no more than whether they agree.
        """
        found = self._measure(reference, engine)
        if not any(row.fold for row in self.finished.rows):
            return {"validation": found}
        return {"validation": {"f32": self.finished.summary["metrics"]["validation"]}, "both_precisions": found}

    def _measure(self, reference: OpenVinoEngine, engine: OpenVinoEngine) -> dict[str, Any]:
        """Errors of both precisions on the validation photos."""
        advance = self.report("validation photos", len(self.validation))
        labels = np.array([self.finished.classes.index(row.label) for row, _ in self.validation])
        rows = ask([reference, engine], [partial(iter, [pixels]) for _, pixels in self.validation], advance)
        named: dict[str, Floats] = {"f32": rows[0]} if engine is reference else {"f32": rows[0], "int8": rows[1]}
        return {
            name: errors_per_class(found.argmax(axis=1), labels, self.finished.classes) for name, found in named.items()
        }

    def _bundle(self, folder: Path, precision: str) -> Bundle:
        """The bundle as it stands before it has a card or golden photos."""
        return Bundle(
            folder=folder, card={}, name=self.out.name, version="", classes=tuple(self.finished.classes),
            preprocess=self.finished.preprocess, precision=precision, calibration=Calibration(),
            usual=self.usual, expected=Expected({}, None, {}), tolerance=golden.TOLERANCE, golden=(),
        )  # fmt: skip

    def _golden(self, classifier: Classifier, pool: Path | None) -> list[golden.Candidate]:
        files, shrink = self._pool(pool)
        return golden.choose(classifier, files, shrink, self.report("golden photos", len(files)))

    def _pool(self, folder: Path | None) -> tuple[list[Path], bool]:
        """The files that golden photos are chosen from, validation photos first, and whether to shrink them."""
        if folder is None:
            rows = in_turn([*self.finished.side(VALIDATION), *self.finished.side(TRAIN)])
            count = max(GOLDEN_POOL, GOLDEN_POOL_PER_CLASS * min(len(self.finished.classes), golden.MOST_CLASSES))
            return [self.finished.data / row.file for row in rows[:count]], True
        files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        if not files:
            raise TrainingError(f"--golden {folder} holds no photos.")
        return files, False


def in_turn(rows: Iterable[Row]) -> list[Row]:
    """The first row of each class, then the second of each, and so on: wherever it is cut off, every class is there."""
    seen: Counter[str] = Counter()

    def turn(row: Row) -> int:
        seen[row.label] += 1
        return seen[row.label]

    return sorted(rows, key=turn)


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder beside `out` to work in, gone afterwards; one that a killed export left there goes first."""
    place = out.absolute().with_name(f".{out.name}.export")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _replace(made: Path, out: Path, old: Path) -> None:
    """Put `made` where `out` was, and that at `old`; on Ctrl-C too, either the one or the other stands there."""
    if out.exists():
        out.rename(old)
    try:
        made.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise


def check_free(out: Path) -> None:
    """Refuse to replace anything but a bundle or an empty folder, and a place that cannot be written."""
    check_writable(out.parent)
    if out.exists() and not (out / CARD).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise TrainingError(f"{out} exists and is no bundle; give another --out.")
