"""model.onnx, looked through before OpenVINO reads it: it can come from a stranger.

Only what an export writes passes: its eleven operators; constants that are there, or are the tensor of that name in
weights.safetensors; tensors and arithmetic of the size that photos need. So reading it opens no other file, and
compiling and running it takes a bounded amount of memory and time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from app.card import WEIGHTS
from app.operators import FLOAT, INT8, INT64, RULES, UINT8, Attributes, Value, apply
from app.protobuf import BYTES, VARINT, Message, fields, one, varints

# ResNet34 at 224 × 224 takes some 240 nodes, 40 million numbers and 4 billion multiplications.
MOST_NODES = 1_000
MOST_NUMBERS = 100_000_000
MOST_STEPS = 40_000_000_000

INPUT, OUTPUTS, FEATURES = "pixels", ("logits", "features", "cam"), 512
ITEM_BYTES = {FLOAT: 4, UINT8: 1, INT8: 1, INT64: 8}
AXES = [2, 3]  # a photo's height and width: the only whole numbers that a graph needs
INT, STRING, INTS = 2, 3, 7  # kinds of attributes

# The fields that an export writes, by https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
MODEL: Message = {
    1: ("ir_version", VARINT),
    2: ("producer_name", BYTES),
    3: ("producer_version", BYTES),
    7: ("graph", BYTES),
    8: ("opset_import", BYTES),
    14: ("metadata_props", BYTES),
}
OPSET: Message = {1: ("domain", BYTES), 2: ("version", VARINT)}
GRAPH: Message = {
    1: ("node", BYTES),
    2: ("name", BYTES),
    5: ("initializer", BYTES),
    11: ("input", BYTES),
    12: ("output", BYTES),
    16: ("metadata_props", BYTES),
}
NODE: Message = {
    1: ("input", BYTES),
    2: ("output", BYTES),
    3: ("name", BYTES),
    4: ("op_type", BYTES),
    5: ("attribute", BYTES),
    7: ("domain", BYTES),
    8: ("overload", BYTES),
}
ATTRIBUTE: Message = {
    1: ("name", BYTES),
    3: ("i", VARINT),
    4: ("s", BYTES),
    8: ("ints", VARINT),
    20: ("type", VARINT),
}
TENSOR: Message = {
    1: ("dims", VARINT),
    2: ("data_type", VARINT),
    4: ("float_data", BYTES),
    5: ("int32_data", BYTES),
    7: ("int64_data", BYTES),
    8: ("name", BYTES),
    9: ("raw_data", BYTES),
    13: ("external_data", BYTES),
    14: ("data_location", VARINT),
}
NUMBERS = ("raw_data", "float_data", "int32_data", "int64_data")
ENTRY: Message = {1: ("key", BYTES), 2: ("value", BYTES)}
NAMED: Message = {1: ("name", BYTES), 2: ("type", BYTES), 4: ("metadata_props", BYTES)}
TYPE: Message = {1: ("tensor_type", BYTES)}
TENSOR_TYPE: Message = {1: ("elem_type", VARINT), 2: ("shape", BYTES)}
SHAPE: Message = {1: ("dim", BYTES)}
DIMENSION: Message = {1: ("dim_value", VARINT), 2: ("dim_param", BYTES)}

# Byte offset and length of each tensor in weights.safetensors.
Places = Mapping[str, tuple[int, int]]


def check(data: bytes, places: Places, classes: int, size: int) -> None:
    """Refuse a graph that no export writes for so many classes and size × size pixels. Raises ValueError saying why."""
    model = fields(data, MODEL)
    if any(domain for opset in model["opset_import"] for domain in fields(opset, OPSET)["domain"]):
        raise ValueError("it has operators from outside of ONNX")
    graph = fields(one(model["graph"], "graph"), GRAPH)
    values = {INPUT: _photo(one(graph["input"], "input"), size)}
    for tensor in graph["initializer"]:
        _add(values, *_constant(tensor, places))
    if len(graph["node"]) > MOST_NODES:
        raise ValueError(f"it has more than {MOST_NODES:,} nodes")
    numbers = steps = 0
    for node in graph["node"]:
        name, value, more = _computed(node, values)
        _add(values, name, value)
        numbers, steps = numbers + math.prod(value.shape), steps + more
        if numbers > MOST_NUMBERS or steps > MOST_STEPS:
            raise ValueError(f"it takes more than {MOST_NUMBERS:,} numbers or {MOST_STEPS:,} multiplications a photo")
    names = [_text(one(fields(output, NAMED)["name"], "name")) for output in graph["output"]]
    _check_outputs(names, values, classes)


def _photo(data: bytes, size: int) -> Value:
    """The graph's one input."""
    info = fields(data, NAMED)
    kind = fields(one(fields(one(info["type"], "type"), TYPE)["tensor_type"], "type"), TENSOR_TYPE)
    dims = [fields(dim, DIMENSION)["dim_value"] for dim in fields(one(kind["shape"], "shape"), SHAPE)["dim"]]
    if info["name"] != [INPUT.encode()] or kind["elem_type"] != [UINT8] or dims != [[], [size], [size], [3]]:
        raise ValueError(f"its input is not {INPUT}, uint8 [N, {size}, {size}, 3]")
    return Value((1, size, size, 3), UINT8, fixed=False)


def _constant(data: bytes, places: Places) -> tuple[str, Value]:
    """A tensor whose numbers are all there, in itself or in WEIGHTS."""
    tensor = fields(data, TENSOR)
    name, kind, shape = _text(one(tensor["name"], "name")), one(tensor["data_type"], "kind"), tuple(tensor["dims"])
    if kind not in ITEM_BYTES or len(shape) > 4 or not all(0 < side < 1 << 31 for side in shape):
        raise ValueError(f"its tensor {name!r} is none of an export")
    count, held = math.prod(shape), [(field, tensor[field]) for field in NUMBERS if tensor[field]]
    if tensor["data_location"] in ([], [0]):
        whole = len(held) == 1 and not tensor["external_data"] and _is_whole(kind, count, *held[0])
    else:
        whole = not held and _is_place(tensor["external_data"], places.get(name), count * ITEM_BYTES[kind])
    if not whole:
        raise ValueError(f"its tensor {name!r} is not whole: as many numbers as it says, in it or in {WEIGHTS}")
    return name, Value(shape, kind, fixed=True)


def _is_whole(kind: int, count: int, field: str, values: list[bytes]) -> bool:
    """Whether a field holds `count` numbers of that kind. Whole numbers must be AXES."""
    data = one(values, field)
    if field == "int32_data":
        return kind in (UINT8, INT8) and len(varints(data)) == count
    if field == "int64_data":
        return kind == INT64 and varints(data) == AXES and count == len(AXES)
    if kind == INT64:
        return data == b"".join(axis.to_bytes(8, "little") for axis in AXES) and count == len(AXES)
    return len(data) == count * ITEM_BYTES[kind] and (field == "raw_data" or kind == FLOAT)


def _is_place(entries: list[bytes], place: tuple[int, int] | None, length: int) -> bool:
    """Whether external data is just that place in WEIGHTS, and of that length."""
    if place is None or place[1] != length:
        return False
    wanted = {"location": WEIGHTS, "offset": str(place[0]), "length": str(length)}
    found = [fields(entry, ENTRY) for entry in entries]
    pairs = [(_text(one(entry["key"], "key")), _text(one(entry["value"], "value"))) for entry in found]
    return sorted(pairs) == sorted(wanted.items())


def _computed(data: bytes, values: dict[str, Value]) -> tuple[str, Value, int]:
    """Name and value of what a node computes, and how many multiplications that takes."""
    node = fields(data, NODE)
    if any(node["domain"]) or any(node["overload"]):
        raise ValueError("it has operators from outside of ONNX")
    operator = _text(one(node["op_type"], "operator"))
    if operator not in RULES:
        raise ValueError(f"{operator!r} is no operator of an export")
    inputs = []
    for name in map(_text, node["input"]):
        if name not in values:
            raise ValueError(f"it uses {name!r} before it is there")
        inputs.append(values[name])
    value, steps = apply(operator, inputs, _attributes(node["attribute"]))
    return _text(one(node["output"], f"output of {operator}")), value, steps


def _attributes(datas: list[bytes]) -> Attributes:
    found: Attributes = {}
    for data in datas:
        attribute = fields(data, ATTRIBUTE)
        name, kind = _text(one(attribute["name"], "name")), one(attribute["type"], "kind")
        held = [field for field in ("i", "s", "ints") if attribute[field]]
        if name in found or held != {INT: ["i"], STRING: ["s"], INTS: ["ints"]}.get(kind):
            raise ValueError(f"its attribute {name!r} is none of an export")
        found[name] = attribute["ints"] if kind == INTS else one(attribute[held[0]], name)
    return found


def _check_outputs(names: list[str], values: dict[str, Value], classes: int) -> None:
    if tuple(names) != OUTPUTS or not all(name in values for name in names):
        raise ValueError(f"its outputs are not {', '.join(OUTPUTS)}")
    logits, features, cam = (values[name] for name in OUTPUTS)
    sides = cam.shape[2:]
    wanted = [Value(shape, FLOAT, fixed=False) for shape in ((1, classes), (1, FEATURES), (1, classes, *sides))]
    if [logits, features, cam] != wanted or len(sides) != 2:
        raise ValueError(f"its outputs have shapes {logits.shape}, {features.shape} and {cam.shape}")


def _add(values: dict[str, Value], name: str, value: Value) -> None:
    if name in values:
        raise ValueError(f"it has {name!r} twice")
    values[name] = value


def _text(data: bytes) -> str:
    """A name, which may come to stand in a message."""
    text = data.decode()
    if not text.isprintable() or len(text) > 200:
        raise ValueError("it has a name that is none of an export")
    return text
