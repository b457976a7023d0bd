"""The engine: uint8 pixels in; logits, features and class activation maps out. Only this module imports openvino."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from app.errors import BundleError
from app.image import Floats, Pixels

# Without this, `import openvino` forks a child that writes under HOME and looks up an analytics host;
# with it, OpenVINO takes its own stub.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
# Its converter of other frameworks' models: 8 MB and 100 modules that nothing here asks for.
sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]

import openvino as ov  # noqa: E402


class Outputs(NamedTuple):
    """What the network says of N photos: logits [N, C], features [N, 512], cam [N, C, 7, 7], all float32."""

    logits: Floats
    features: Floats
    cam: Floats


class Engine(Protocol):
    """Runs one bundle. `streams` photos can be inferred at once, each from a thread of its own."""

    name: str
    streams: int

    def infer(self, pixels: Pixels) -> Outputs:
        """uint8 [N, size, size, 3] RGB → Outputs."""


def off_main_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """The call's result, from another thread if this is the main one.

    Compiling gives its thread another stack for signals, and frees it at some time; Python takes signals in the main
    thread, where the next Ctrl-C would then be a segmentation fault.
    """
    if threading.current_thread() is not threading.main_thread():
        return call(*arguments)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *arguments).result()


class OpenVinoEngine:
    """Runs a bundle's model.onnx with OpenVINO on the CPU: `streams` streams of one thread each."""

    name = "openvino"

    def __init__(self, graph: Path, streams: int) -> None:
        self.streams = streams
        core = ov.Core()
        core.set_property({"ENABLE_MMAP": False})  # a bundle changed on disk must not change the answers
        try:
            self._model = off_main_thread(core.compile_model, core.read_model(graph), "CPU", self._plan())
        except (RuntimeError, ValueError, LookupError, ArithmeticError, MemoryError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:300].rstrip(".")
            raise BundleError(f"OpenVINO cannot read {graph}: {reason}.") from error
        self._requests = threading.local()

    def _plan(self) -> dict[str, Any]:
        return {
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": self.streams,
            # OpenVINO silently computes in bf16 where the CPU has it, about 4 % off; int8 comes from the graph itself
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,  # a neighbour on a pinned core would stall its stream
        }

    def infer(self, pixels: Pixels) -> Outputs:
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._model.create_infer_request()
        request.infer([pixels], share_inputs=True)
        return Outputs(*(np.array(request.get_output_tensor(i).data) for i in range(3)))
