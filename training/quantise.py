"""int8 through a gate: NNCF quantises the graph, and the answers decide whether it may be used."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from app.answer import Floats
from app.image import Pixels

# nncf asks openvino's telemetry for an upload of its usage; both take their stub when it cannot be imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
# nncf imports ONNX Runtime, which from 1.29 on files events under HOME and uploads them to Microsoft (its #27379).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

MIN_VIEWS = 1000
CLEAR_LEAD = 0.1
MIN_AGREEMENT = 0.99
MAX_MEAN_CHANGE = 0.02
MIN_CAM_CORRELATION = 0.95


@dataclass(frozen=True)
class Gate:
    """How int8 answers differ from f32 ones over the same views, and their class activation maps from the trained
    network's; what the bars are stands in `passed`."""

    views: int
    clear_views: int
    agreement: float
    mean_change: float
    cam_correlation: float

    @property
    def passed(self) -> bool:
        """Same first class in ≥ 99 % of the views where f32 leads by > 0.1, and mean |Δp| ≤ 0.02, on ≥ 1,000 views;
        class activation maps that correlate by ≥ 0.95."""
        same = self.agreement >= MIN_AGREEMENT and self.mean_change <= MAX_MEAN_CHANGE
        return self.views >= MIN_VIEWS and same and self.cam_correlation >= MIN_CAM_CORRELATION

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def gate(reference: Floats, quantised: Floats, cam_correlation: float) -> Gate:
    """Compare probabilities [V, C] of the f32 and the int8 graph on the same V views."""
    ranked = np.sort(reference, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > CLEAR_LEAD
    same = reference.argmax(axis=1) == quantised.argmax(axis=1)
    agreement = float(same[clear].mean()) if clear.any() else 0.0
    mean_change = float(np.abs(reference - quantised).mean())
    return Gate(len(reference), int(clear.sum()), agreement, mean_change, cam_correlation)


def quantise(model: onnx.ModelProto, pixels: Iterable[Pixels], advance: Callable[[], None]) -> onnx.ModelProto:
    """The graph with int8 weights and activations, calibrated on `pixels`; pooling, class layer and outputs stay float.

    `overflow_fix` keeps weights to 7 bits, so that CPUs without VNNI give the same answers. `advance` is called as each
    of `pixels` is looked at.
    """
    nncf = _nncf()
    examples = [image[None] for image in pixels]

    def look(image: Pixels) -> dict[str, Pixels]:
        advance()
        return {"pixels": image}

    with redirect_stdout(io.StringIO()):  # where NNCF draws bars of its own, for files too
        return nncf.quantize(  # type: ignore[no-any-return]
            model,
            nncf.Dataset(examples, look),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(examples),
            ignored_scope=nncf.IgnoredScope(names=_float_nodes(model)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )


def quantise_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with int8 weights and float arithmetic: as small as int8, as slow as f32, closer to it."""
    nncf = _nncf()
    with redirect_stdout(io.StringIO()):
        return nncf.compress_weights(  # type: ignore[no-any-return]
            model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=nncf.IgnoredScope(names=_float_nodes(model))
        )


def _float_nodes(model: onnx.ModelProto) -> list[str]:
    """The class layer and the pooling: the nodes from `cam` and `features` on."""
    outputs = ("cam", "features", "logits")
    return [n.name for n in model.graph.node if n.output[0] in outputs or n.op_type == "ReduceMean"]


def _nncf() -> Any:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # a missing CUDA runtime is no fault
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf
