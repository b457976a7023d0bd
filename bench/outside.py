"""What a bundle says of photos that are none of its classes: `python -m bench.outside RUN BUNDLE NAME=FOLDER…`.

Each score's threshold is the one under which 5 % of the run's own photos stay, each as the network saw it that had not
trained on it. What is below is caught. Beside the folders' photos it looks at drawn ones: blank, noise, ramps, stripes.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app import doctor
from app.answer import OUTSIDE, UNSURE, probabilities, verdict
from app.classifier import Answer, Classifier, load_classifier
from app.cpu import usable_cores
from app.image import model_input
from app.outside import similarity
from bench.report import table
from bench.results import RESULTS, store
from bench.tables import outside
from training.calibrate import REJECTED, SMALLEST
from training.history import read_predictions

SIDE = 320  # pixels of what is drawn
Floats = np.ndarray[Any, np.dtype[np.float64]]


def drawn() -> Iterator[bytes]:
    """PNGs that show nothing: 9 blank ones, 9 of noise, 9 ramps, 9 of stripes."""
    random = np.random.default_rng(0)
    steps = np.arange(SIDE)
    for number in range(9):
        colour = random.integers(0, 256, 3) if number > 2 else np.full(3, (0, 128, 255)[number])
        grain = 2 ** (number // 2)
        noise = random.integers(0, 256, (SIDE // grain, SIDE // grain, 3 if number % 2 else 1))
        stripe = 128 + 127 * np.sign(np.sin(steps / 2**number * 2))
        for pixels in (
            np.broadcast_to(colour, (SIDE, SIDE, 3)),
            noise.repeat(grain, 0).repeat(grain, 1) + np.zeros(3),
            (steps / SIDE)[:, None, None] * colour + np.zeros((1, SIDE, 1)),
            stripe[None, :, None] + np.zeros((SIDE, 1, 3)),
        ):
            out = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(out, "PNG")
            yield out.getvalue()


def photos(folder: Path) -> Iterator[bytes]:
    """Every file's bytes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.read_bytes()


def scores(confidence: Floats, likeness: Floats, inside: dict[str, Floats]) -> dict[str, Floats]:
    """By each way, a number per photo that is low where it is none of the classes. Both: in standard deviations of
    the run's own photos, added up."""
    single = {"similarity": likeness, "confidence": confidence}
    spread = {name: (inside[name].mean(), inside[name].std()) for name in single}
    return {**single, "both": np.sum([(single[n] - mean) / std for n, (mean, std) in spread.items()], axis=0)}


def auroc(inside: Floats, outside: Floats) -> float:
    """How likely a photo inside scores above one outside."""
    less, same = inside[:, None] > outside, inside[:, None] == outside
    return float((less + same / 2).mean())


def own(run: Path, classifier: Classifier) -> dict[str, Floats]:
    """The scores of the run's photos, none of which the network that judged it had trained on."""
    predictions = read_predictions(run)
    rows = np.array([[each.probabilities[name] for name in classifier.bundle.classes] for each in predictions])
    logits = np.log(np.maximum(rows, SMALLEST))
    single = {
        "confidence": probabilities(logits, classifier.bundle.calibration.temperature).max(axis=1),
        "similarity": np.array([each.similarity for each in predictions]),
    }
    return scores(single["confidence"], single["similarity"], single)


def look(answers: Sequence[Answer], inside: dict[str, Floats]) -> dict[str, Any]:
    """Of one set: the verdicts, and by each score the area under the ROC curve and the share that it catches."""
    confidence = np.array([answer.predictions[0][1] for answer in answers])
    likeness = np.array([answer.similarity for answer in answers], float)
    found = scores(confidence, likeness, inside)
    caught = {name: (each < np.quantile(inside[name], REJECTED)).mean() for name, each in found.items()}
    verdicts = [answer.verdict for answer in answers]
    return {
        "photos": len(answers),
        "outside": verdicts.count(OUTSIDE),
        "unsure": verdicts.count(UNSURE),
        "caught": {name: float(share) for name, share in caught.items()},
        "auroc": {name: auroc(inside[name], each) for name, each in found.items()},
    }


def added_cpu_ms(classifier: Classifier, photo: bytes, count: int = 2000) -> float:
    """CPU of what an answer takes beside decoder, network and softmax: measures of the photo, likeness, verdict."""
    known, bundle = classifier.classify(photo), classifier.bundle
    reference = bundle.reference()
    if reference is None:
        raise SystemExit("This bundle cannot tell what is outside.")
    pixels = model_input(known.photo, bundle.preprocess)
    started = time.process_time()
    for _ in range(count):
        list(doctor.notes(doctor.measure(known.photo, pixels), bundle.usual))
        near = float(similarity(known.outputs.features, reference)[0])
        verdict(known.predictions, near, bundle.calibration)
    return 1000 * (time.process_time() - started) / count


def main() -> None:
    """Classify everything, print the table, store it."""
    parser = argparse.ArgumentParser(prog="python -m bench.outside", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the run that the bundle was exported from")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("sets", nargs="*", metavar="NAME=FOLDER", help="photos that are none of the classes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    classifier = load_classifier(args.bundle, "openvino", usable_cores())
    inside = own(args.run, classifier)
    sets: dict[str, Callable[[], Iterator[bytes]]] = {"drawn": drawn}
    for each in args.sets:
        name, _, folder = each.partition("=")
        sets[name] = partial(photos, Path(folder))
    with ThreadPoolExecutor(usable_cores()) as pool:
        looks = {name: look(list(pool.map(classifier.classify, some())), inside) for name, some in sets.items()}
    photo = classifier.bundle.golden[0].path.read_bytes()  # a blank one would cost less
    found = {"sets": looks, "added_cpu_ms": added_cpu_ms(classifier, photo)}
    for title, header, rows in outside(found):
        print(title, *table(header, rows), sep="\n")
    store(args.out, outside=found)


if __name__ == "__main__":
    main()
