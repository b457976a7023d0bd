"""The operators of ONNX that an export uses, each as a rule: which tensor comes of which others, and at what cost.

None of them lets a tensor grow beyond what its inputs hold: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

FLOAT, UINT8, INT8, INT64 = 1, 2, 3, 7  # ONNX's kinds of numbers
ANY = object()


class Value(NamedTuple):
    """A tensor: its shape if there is one photo, its kind of numbers, and whether they are the same for every photo."""

    shape: tuple[int, ...]
    kind: int
    fixed: bool


Attributes = dict[str, Any]
Rule = Callable[[Sequence[Value], Attributes], Value]


def apply(operator: str, inputs: Sequence[Value], attributes: Attributes) -> tuple[Value, int]:
    """What one of RULES computes, and in how many multiplications or comparisons. Raises ValueError: no export does."""
    rule, known = RULES[operator]
    for name, value in attributes.items():
        if name not in known or known[name] not in (ANY, value):
            raise ValueError(f"no export writes {operator} with {name} {str(value)[:40]}")
    try:
        found = rule(inputs, attributes)
    except (ValueError, LookupError) as error:
        shapes = ", ".join(str(each.shape) for each in inputs)
        raise ValueError(f"no export writes {operator} of {shapes[:200]} with {str(attributes)[:200]}") from error
    return found, math.prod(found.shape) * math.prod(_window(operator, inputs, attributes))


def _window(operator: str, inputs: Sequence[Value], attributes: Attributes) -> Sequence[int]:
    """The shape of what each number of the outcome comes from, where that is more than a number of each input."""
    if operator == "Conv":
        return inputs[1].shape[1:]
    return list(attributes["kernel_shape"]) if operator == "MaxPool" else ()


def _require(truth: bool) -> None:
    if not truth:
        raise ValueError


def _to_float(inputs: Sequence[Value], _: Attributes) -> Value:
    (value,) = inputs
    return value._replace(kind=FLOAT)


def _relu(inputs: Sequence[Value], _: Attributes) -> Value:
    (value,) = inputs
    _require(value.kind == FLOAT)
    return value


def _channels_first(inputs: Sequence[Value], _: Attributes) -> Value:
    (value,) = inputs
    count, height, width, channels = value.shape
    return value._replace(shape=(count, channels, height, width))


def _elementwise(inputs: Sequence[Value], _: Attributes) -> Value:
    """Of two tensors of one shape, or of one and a constant that is repeated to its shape."""
    value, other = sorted(inputs, key=lambda each: each.fixed)
    repeated = (1,) * (len(value.shape) - len(other.shape)) + other.shape
    _require(value.kind == other.kind == FLOAT and not value.fixed)
    for side, own in zip(value.shape, repeated, strict=True):
        _require(own == side or (own == 1 and other.fixed))
    return value


def _quantize(inputs: Sequence[Value], attributes: Attributes) -> Value:
    value, scale, zero = inputs
    _require(value.kind == FLOAT and zero.kind in (INT8, UINT8))
    _check_scale(value, (scale, zero), attributes)
    return value._replace(kind=zero.kind)


def _dequantize(inputs: Sequence[Value], attributes: Attributes) -> Value:
    value, scale, *zero = inputs
    _require(value.kind in (INT8, UINT8) and [each.kind for each in zero] in ([], [value.kind]))
    _check_scale(value, (scale, *zero), attributes)
    return value._replace(kind=FLOAT)


def _check_scale(value: Value, scales: Sequence[Value], attributes: Attributes) -> None:
    """Scale and zero point: one number each, or one for each place on an axis."""
    axis = attributes.get("axis", 1)
    places = value.shape[axis] if axis in range(len(value.shape)) else 1
    _require(scales[0].kind == FLOAT)
    _require(all(each.fixed and each.shape in ((), (1,), (places,)) for each in scales))


def _convolution(inputs: Sequence[Value], attributes: Attributes) -> Value:
    value, weight, *biases = inputs
    (count, channels, *sides), (filters, depth, *kernel) = value.shape, weight.shape
    _require(value.kind == weight.kind == FLOAT and weight.fixed and not value.fixed)
    _require(depth == channels and attributes["kernel_shape"] == kernel)
    _require(biases in ([], [Value((filters,), FLOAT, fixed=True)]))
    return value._replace(shape=(count, filters, *_slid(sides, attributes)))


def _pool(inputs: Sequence[Value], attributes: Attributes) -> Value:
    (value,) = inputs
    count, channels, *sides = value.shape
    _require(value.kind == FLOAT)
    return value._replace(shape=(count, channels, *_slid(sides, attributes)))


def _slid(sides: Sequence[int], attributes: Attributes) -> list[int]:
    """How often a window fits along height and width."""
    kernel, strides, pads = (attributes[name] for name in ("kernel_shape", "strides", "pads"))
    _require(len(sides) == 2)
    found = []
    for side, width, stride, before, after in zip(sides, kernel, strides, pads[:2], pads[2:], strict=True):
        _require(0 <= before < width and 0 <= after < width <= side + before + after and 1 <= stride <= side)
        found.append((side + before + after - width) // stride + 1)
    return found


def _mean(inputs: Sequence[Value], _: Attributes) -> Value:
    """Over height and width: the only whole numbers that a graph may hold name these axes (see app.graph)."""
    value, axes = inputs
    count, channels, _height, _width = value.shape
    _require(value.kind == FLOAT and axes == Value((2,), INT64, fixed=True))
    return value._replace(shape=(count, channels))


SLIDING = {"auto_pad": b"NOTSET", "dilations": [1, 1], "kernel_shape": ANY, "pads": ANY, "strides": ANY}
# Each operator's rule, and the attributes that it may have, with their value if only one will do.
RULES: dict[str, tuple[Rule, dict[str, object]]] = {
    "Add": (_elementwise, {}),
    "Cast": (_to_float, {"to": FLOAT}),
    "Conv": (_convolution, {**SLIDING, "group": 1}),
    "DequantizeLinear": (_dequantize, {"axis": ANY}),
    "MaxPool": (_pool, {**SLIDING, "ceil_mode": 0, "storage_order": 0}),
    "Mul": (_elementwise, {}),
    "QuantizeLinear": (_quantize, {"axis": ANY}),
    "ReduceMean": (_mean, {"keepdims": 0, "noop_with_empty_axes": 0}),
    "Relu": (_relu, {}),
    "Sub": (_elementwise, {}),
    "Transpose": (_channels_first, {"perm": [0, 3, 1, 2]}),
}
