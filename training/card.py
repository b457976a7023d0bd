"""model.json: what a bundle says of itself."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from app.bundle import Bundle, content_version, file_entry
from app.card import FORMAT, GRAPH, REFERENCE, WEIGHTS
from training.calibrate import Calibration
from training.run_folder import Run

# What export itself used; those of the training are in its run.json.
LIBRARIES = ("onnx", "nncf", "openvino", "numpy")
FROM_RUN = ("lane", "seed", "settings", "split_sha256", "weights", "date", "measured")


def describe(
    bundle: Bundle,
    run: Run,
    calibration: Calibration | None,
    metrics: dict[str, Any],
    golden: dict[str, Any],
    about: str,
    seen: str,
) -> dict[str, Any]:
    """The card of a bundle whose other files are written already; `version` names the whole content.

    `about` and `seen` are what the person says who exports it, the latter of the weights that training started from.
    """
    names = [GRAPH, WEIGHTS, *(photo["file"] for photo in golden["photos"])]
    names += [REFERENCE] if calibration and calibration.outside_below is not None else []
    made: dict[str, Any] = {
        "format": FORMAT,
        "name": bundle.name,
        "version": "",
        "about": about,
        "architecture": "torchvision resnet34, batch norm folded in",
        "classes": list(bundle.classes),
        "preprocess": asdict(bundle.preprocess),
        "precision": bundle.precision,
        **({"calibration": calibration.as_json()} if calibration else {}),
        **({"usual": bundle.usual} if bundle.usual else {}),
        "metrics": metrics,
        "golden": golden,
        "files": {name: file_entry(bundle.folder / name) for name in names},
        "training": {
            **{key: run.summary[key] for key in FROM_RUN},
            "weights": {**run.summary["weights"], **({"seen": seen} if seen else {})},
            # not where they lay: a bundle travels, and a path says who trained it
            "data": {key: run.summary["data"][key] for key in ("hash", "photos")},
            "versions": {**run.summary["versions"], **{name: version(name) for name in LIBRARIES}},
        },
    }
    made["version"] = content_version(made)
    return made


def in_words(rate: dict[str, Any]) -> str:
    """ "4 of 82 validation photos wrong (4.9 %, 95 % interval 1.9 to 11.9 %)" """
    low, high = (100 * bound for bound in rate["wilson95"])
    return (
        f"{rate['errors']} of {rate['photos']} validation photos wrong "
        f"({100 * rate['error_rate']:.1f} %, 95 % interval {low:.1f} to {high:.1f} %)"
    )
