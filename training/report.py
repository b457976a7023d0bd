"""The report command: a finished run → one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.errors import Refusal
from app.image import fit, read_photo
from app.settings import ROOT
from training import interpret
from training.calibrate import calibrate
from training.charts import EDGE, Chart, phase_charts, reliability_chart
from training.files import write_bytes
from training.history import HEAD, UNFROZEN, Prediction, read_epochs, read_predictions, read_steps
from training.progress import advancer, bars
from training.run_folder import BATCH, Run, read_run

REPORT = "report.html"
PHOTOS = 24  # top losses that are shown, each about 10 KB
THUMBNAIL = 200  # pixels, the short side
MOST_CLASSES = 12  # in the confusion matrix: what can be read on a page
MOST_PAIRS = 20
MOST_RATES = 30  # classes whose rates show at once; the others unfold
PHASES = {HEAD: "The head alone", UNFROZEN: "Everything unfrozen"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training report`."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that train or import wrote")
    parser.add_argument("--data", type=Path, metavar="DATA", help="the photos, if no longer where the run found them")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"page to write (default: RUN/{REPORT})")


def run(args: argparse.Namespace) -> int:
    """Write the page, and say where it is."""
    finished = read_run(args.run_folder, args.data)
    out = args.out or args.run_folder / REPORT
    with bars() as progress:
        page = render(finished, advancer(progress, "photos", PHOTOS))
    write_bytes(out, page)
    print(f"{out}: open it in a browser.")  # noqa: T201
    return 0


@dataclass(frozen=True)
class Shown:
    """One of the photos with the highest loss: a picture of it as a data: URI, or why there is none."""

    said: Prediction
    picture: str
    trouble: str


def render(finished: Run, advance: Callable[[], None] = lambda: None) -> bytes:
    """The page, UTF-8; `advance` is called after each photo. Raises TrainingError if the run's files are broken."""
    templates = Environment(
        loader=FileSystemLoader(ROOT / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    predictions = read_predictions(finished.folder)
    rate = interpret.rates(predictions, finished.classes)
    batch = finished.folder / BATCH
    calibration = calibrate(predictions, finished.classes)
    context = {
        "run": finished,
        "name": finished.folder.resolve().name,
        "rate": rate,
        "by_class": sorted(rate["per_class"].items(), key=lambda each: (-each[1]["error_rate"], each[0])),
        "most_classes": MOST_RATES,
        "worst": shown(finished, interpret.top_losses(predictions, PHOTOS), advance),
        "confused": interpret.most_confused(predictions),
        "most_pairs": MOST_PAIRS,
        "matrix": matrix(predictions, finished.classes),
        "phases": phases(finished),
        "calibration": calibration,
        "reliability": calibration and reliability_chart(calibration),
        "edge": EDGE,
        "batch": data_uri(batch.read_bytes(), "jpeg") if batch.is_file() else "",
        "settings": flat(finished.summary["settings"]),
        "folder": shlex.quote(str(finished.folder)),
        "bundle": shlex.quote(f"models/{finished.folder.resolve().name}"),
        "style": "".join((ROOT / "static" / name).read_text(encoding="utf-8") for name in ("page.css", "about.css")),
        "icon": data_uri((ROOT / "static" / "icon.svg").read_bytes(), "svg+xml"),
    }
    # names of files that are no UTF-8 show a question mark
    return templates.get_template("report.html").render(context).encode(errors="replace")


def shown(finished: Run, worst: Sequence[Prediction], advance: Callable[[], None]) -> list[Shown]:
    """Each of the photos with its picture, or with the reason why it has none."""
    contents = {row.file: row.sha256 for row in finished.rows}
    found = []
    for said in worst:
        try:
            found.append(Shown(said, thumbnail(finished.data / said.file, contents.get(said.file)), ""))
        except OSError:
            found.append(Shown(said, "", "This photo is no longer there."))
        except Refusal as refusal:
            found.append(Shown(said, "", refusal.message))
        advance()
    return found


def thumbnail(path: Path, sha256: str | None) -> str:
    """A small JPEG of the photo as a data: URI. Raises OSError or Refusal, also where it is not the photo judged."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Refusal("broken_image", "This file was changed since the run.")
    small = io.BytesIO()
    fit(read_photo(content, enough=2 * THUMBNAIL), THUMBNAIL, 1.5).save(small, "JPEG", quality=80)
    return data_uri(small.getvalue(), "jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """The picture as a URL that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def matrix(predictions: Sequence[Prediction], classes: Sequence[str]) -> dict[str, Any]:
    """The confusion matrix as {"classes": [names], "rows": [[photos]]}; of many classes, those with most mistakes."""
    chosen: Sequence[str] = classes
    if len(classes) > MOST_CLASSES:
        pairs = interpret.most_confused(predictions)
        named = dict.fromkeys(name for pair in pairs for name in (pair.label, pair.predicted))
        shown = [*named, *(name for name in classes if name not in named)][:MOST_CLASSES]
        chosen = [name for name in classes if name in shown]
    return {"classes": chosen, "rows": interpret.confusion(predictions, chosen).tolist()}


def phases(finished: Run) -> list[tuple[str, list[Chart]]]:
    """The charts of each phase that the run went through, with its name; the last one's kept epoch is marked."""
    best = finished.summary["best_epoch"]
    if best is None:  # an imported network: nothing was trained here
        return []
    epochs, steps = read_epochs(finished.folder), read_steps(finished.folder)
    gone = [phase for phase in PHASES if any(epoch.phase == phase for epoch in epochs)]
    return [(PHASES[phase], phase_charts(epochs, steps, phase, best if phase == gone[-1] else None)) for phase in gone]


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Settings as words to show, nested ones as "augmentation: rotate"."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        words = above + name.replace("_", " ")
        if isinstance(value, Mapping):
            found |= flat(value, f"{words}: ")
        else:
            found[words] = value if isinstance(value, str) else json.dumps(value)
    return found
