"""What an unfinished run keeps at the end of each epoch, so that a killed one goes on as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.errors import TrainingError
from training.history import Epoch, Step
from training.run_folder import STATE

# Where it is written; a folder, as safetensors puts a file with a name of its own making beside the one it is to write.
PLACE = STATE + ".tmp"


@dataclass
class State:
    """`asked`: the job as JSON, which must be the same to go on; `fits`: names of finished fits; `logits`: of the last
    phase's epochs so far, by fit, each [V, C]; `tensors`: network.*, optimizer.* and best.* of the fit at work."""

    asked: str
    fits: list[str] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    logits: dict[str, list[Tensor]] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it beside its place, then rename: a kill at any moment leaves the old or the new one.

        Raises OSError.
        """
        words = {
            "asked": self.asked,
            "fits": self.fits,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "steps": [asdict(step) for step in self.steps],
        }
        logits = {f"logits.{fit}.{n}": each for fit, found in self.logits.items() for n, each in enumerate(found)}
        place = folder / PLACE
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        try:
            save_file({**self.tensors, **logits}, place / STATE, {"state": json.dumps(words)})
            (place / STATE).replace(folder / STATE)
        except SafetensorError as error:  # which has what the system said as text: "(os error 28)"
            number = int("".join(re.findall(r"os error (\d+)", str(error))) or errno.EIO)
            raise OSError(number, os.strerror(number), str(folder / STATE)) from error
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix` and a dot, without it."""
        return {n.removeprefix(prefix + "."): t for n, t in self.tensors.items() if n.startswith(prefix + ".")}


def discard(folder: Path) -> None:
    """Remove the state in `folder`, and what a kill may have left of one half written."""
    (folder / STATE).unlink(missing_ok=True)
    shutil.rmtree(folder / PLACE, ignore_errors=True)


def load_state(folder: Path, asked: str) -> State:
    """The state that lies in `folder`, or a fresh one; raises TrainingError if it is another job's, or broken."""
    path = folder / STATE
    if not path.exists():
        return State(asked)
    try:
        with safe_open(path, framework="pt") as file:
            words = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read ({error}): delete {folder} to start anew.") from error
    if words["asked"] != asked:
        raise TrainingError(
            f"{folder} holds an unfinished run of other photos or settings: repeat its command to go on with it, "
            "give another --out, or delete it."
        )
    logits: dict[str, list[Tensor]] = {}
    for name in sorted((n for n in tensors if n.startswith("logits.")), key=lambda n: int(n.rsplit(".", 1)[1])):
        logits.setdefault(name.split(".")[1], []).append(tensors.pop(name))
    epochs, steps = [Epoch(**epoch) for epoch in words["epochs"]], [Step(**step) for step in words["steps"]]
    return State(asked, words["fits"], epochs, steps, logits, tensors)
