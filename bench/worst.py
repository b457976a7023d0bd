"""The worst photos that are still read, each decoded in a process of its own: `python -m bench.worst`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from app.errors import Refusal
from app.image import Preprocess, model_input, read_photo
from app.settings import ROOT
from bench.worst_photos import KINDS, png

BAR_S, BAR_MB = 1.0, 300.0
HANG_S = 60.0


@dataclass(frozen=True)
class Seen:
    """What one photo took: CPU seconds of all threads, growth of the resident memory at its peak in 10⁶ bytes."""

    verdict: str
    cpu_s: float
    grown_mb: float


def observe(data: bytes) -> Seen:
    """Decode in this process. Linux only: the peak is the kernel's own, set back before."""
    Path("/proc/self/clear_refs").write_text("5")
    before, used = _memory("VmRSS"), _cpu_s()
    preprocess = Preprocess()
    try:
        model_input(read_photo(data, enough=2 * preprocess.resize), preprocess)
    except Refusal as refusal:
        verdict = refusal.code
    else:
        verdict = "answered"
    return Seen(verdict, _cpu_s() - used, _memory("VmHWM") - before)


def observe_alone(data: bytes) -> Seen:
    """The same in a fresh process. Raises CalledProcessError if it dies of the photo."""
    command = [sys.executable, "-m", "bench.worst", "--child"]
    done = subprocess.run(command, input=data, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=HANG_S)
    return Seen(**json.loads(done.stdout))


def _memory(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(name)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _child() -> None:
    data = sys.stdin.buffer.read()
    observe(png(8, 8))  # imports and warm-up
    print(json.dumps(observe(data).__dict__))


def main() -> None:
    """Print a row for each kind."""
    if sys.argv[1:] == ["--child"]:
        return _child()
    print(f"{'kind':44} {'MB':>6} {'CPU, s':>7} {'grown, MB':>9}  verdict")
    for name, make in KINDS.items():
        data = make()
        seen = observe_alone(data)
        over = " OVER" if seen.cpu_s >= BAR_S or seen.grown_mb >= BAR_MB else ""
        print(
            f"{name:44} {len(data) / 1e6:6.2f} {seen.cpu_s:7.2f} {seen.grown_mb:9.0f}  {seen.verdict}{over}", flush=True
        )
    return None


if __name__ == "__main__":
    main()
