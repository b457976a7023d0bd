"""The commands that come after cleaning, as lines to be copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.run_folder import Run
from training.words import command


def advice(run: Run, work: Path) -> dict[str, Any]:
    """Where deleted photos lie, the command that takes the moves back, and those that train anew and compare."""
    data = [str(run.data)]
    if work != run.data / "_tellapart":
        data += ["--work", str(work)]
    again = run.folder.with_name(run.folder.resolve().name + "-cleaned")
    return {
        "quarantine": str(work / "quarantine"),
        "undo": command("verify", *data, "--undo"),
        "next": [
            command("split", *data, "--again"),
            command("train", *data, "--out", str(again), *flags(run.summary)),
            command("compare", str(run.folder), str(again)),
        ],
    }


def flags(summary: dict[str, Any]) -> list[str]:
    """The flags of the run that decide most, where they are not train's defaults: its lane and what it started from.

    FOLDER is to be filled in."""
    found = ["--lane", "fast"] if summary["lane"] == "fast" else []
    weights = summary["weights"]
    if weights["name"] == "none":
        found += ["--weights", "none"]
    elif weights["source"].startswith("file ") and summary["lane"] != "imported":
        found += ["--weights", f"FOLDER/{weights['name']}"]  # where it lay is not kept
    return found
