"""What an unfinished run keeps at the end of each epoch, so that a killed one goes on as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.errors import TrainingError
from training.history import Epoch, Step
from training.run_folder import STATE

LOGITS, SIMILARITIES = "logits", "similarities"


@dataclass
class State:
    """`asked`: the job as JSON, which must be the same to go on; `fits`: names of finished fits; `logits`: of the last
    phase's epochs so far, by fit, each [V, C], `similarities` each [V]; `parts`: the network's and the optimizer's
    tensors to go on from."""

    asked: str
    fits: list[str] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    logits: dict[str, list[Tensor]] = field(default_factory=dict)
    similarities: dict[str, list[Tensor]] = field(default_factory=dict)
    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def save(self, folder: Path, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write it with the `parts` of the fit at work; a kill at any moment leaves the old file or the new one."""
        words = {
            "asked": self.asked,
            "fits": self.fits,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "steps": [asdict(step) for step in self.steps],
        }
        said = {
            f"{what}.{fit}.{epoch}": each
            for what, found in ((LOGITS, self.logits), (SIMILARITIES, self.similarities))
            for fit, epochs in found.items()
            for epoch, each in enumerate(epochs)
        }
        tensors = {f"{part}.{name}": value for part, found in parts.items() for name, value in found.items()}
        write_tensors(folder / STATE, {**tensors, **said}, {"state": json.dumps(words)})

    def take(self) -> dict[str, dict[str, Tensor]]:
        """The parts of the fit that was stopped, which are handed out once; they are large."""
        parts, self.parts = self.parts, {}
        return parts


def write_tensors(path: Path, tensors: Mapping[str, Tensor], words: dict[str, str] | None = None) -> None:
    """Write a safetensors file beside its place, then rename. Raises OSError."""
    place = path.with_name(path.name + ".tmp")  # a folder: in it, safetensors gives a half-written file any name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    written = place / path.name
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, written, words)
        written.chmod(place.stat().st_mode & 0o666)  # as any other file; safetensors closes it to everyone else
        written.replace(path)
    except SafetensorError as error:  # which has what the system said as text: "(os error 28)"
        number = int("".join(re.findall(r"os error (\d+)", str(error))) or errno.EIO)
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove the state in `folder`, and what a kill may have left of one half written."""
    (folder / STATE).unlink(missing_ok=True)
    shutil.rmtree(folder / (STATE + ".tmp"), ignore_errors=True)


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
    logits, similarities = (by_epoch(tensors, what) for what in (LOGITS, SIMILARITIES))
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, own = name.partition(".")
        parts.setdefault(part, {})[own] = value
    epochs, steps = [Epoch(**epoch) for epoch in words["epochs"]], [Step(**step) for step in words["steps"]]
    return State(asked, words["fits"], epochs, steps, logits, similarities, parts)


def by_epoch(tensors: dict[str, Tensor], what: str) -> dict[str, list[Tensor]]:
    """Take out the tensors called WHAT.FIT.EPOCH: fit → those of its epochs."""
    names = [name.split(".") for name in tensors if name.startswith(what + ".")]
    found: dict[str, list[Tensor]] = {}
    for _, fit, epoch in sorted(names, key=lambda parts: int(parts[2])):
        found.setdefault(fit, []).append(tensors.pop(f"{what}.{fit}.{epoch}"))
    return found
