"""Checkpoint → folded network → ONNX graph → model.onnx and weights.safetensors, every large tensor once."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from onnx import StringStringEntryProto, TensorProto, numpy_helper
from onnxscript import optimizer
from safetensors.numpy import save
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights

from app.bundle import Array
from app.bundle_files import tensor_places
from app.card import GRAPH, WEIGHTS
from app.engine_torch import Network
from app.image import Preprocess
from training.files import write_bytes

OUTPUTS = ("logits", "features", "cam")
# torchvision's batch norm epsilon
EPSILON = 1e-5
# How NNCF names a quantised weight: by quantize, and by compress_weights.
DECORATION = re.compile(r"^(?:q_output_)?(.*\.weight)(?:_\d+|_quantized)$")


def fold(checkpoint: dict[str, Tensor], classes: int, preprocess: Preprocess) -> Network:
    """The checkpoint's network with each batch norm folded into the convolution before it, in eval mode."""
    network = Network(classes, preprocess)
    tensors = network.state_dict()
    for name in [n for n in tensors if n.endswith(".weight") and n != "fc.weight"]:
        conv = name.removesuffix(".weight")
        norm = conv.replace("downsample.0", "downsample.1").replace("conv", "bn")
        mean, var, weight, bias = (
            checkpoint[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        tensors[name], tensors[f"{conv}.bias"] = fuse_conv_bn_weights(
            checkpoint[name], None, mean, var, EPSILON, weight, bias
        )
    tensors["fc.weight"], tensors["fc.bias"] = checkpoint["fc.weight"], checkpoint["fc.bias"]
    network.load_state_dict(tensors)
    network.eval()
    return network


def to_onnx(network: Network, preprocess: Preprocess) -> onnx.ModelProto:
    """The network as an ONNX graph: pixels uint8 [N, size, size, 3] → logits, features, cam; tensors inside, f32."""
    # two photos, as torch.export would fix the batch axis at the size of an example of one
    example = torch.zeros(2, preprocess.size, preprocess.size, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations, none of them ours to mend
        exported = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["pixels"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    program = cast(torch.onnx.ONNXProgram, exported)
    # the exporter folds no more than 8,192 numbers: from 17 classes on it would leave fc.weight to be reshaped
    size = network.fc.weight.numel()
    optimizer.optimize(program.model, input_size_limit=size, output_size_limit=size)
    return program.model_proto


def write(model: onnx.ModelProto, folder: Path) -> None:
    """Write model.onnx and weights.safetensors; the graph's large tensors become external data in the latter."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    _name_tensors(model.graph)
    large = {tensor.name: tensor for tensor in model.graph.initializer if _is_weight(tensor.name)}
    arrays = {name: np.ascontiguousarray(_stored(name, numpy_helper.to_array(t))) for name, t in large.items()}
    write_bytes(folder / WEIGHTS, save(arrays))  # save_file would make it unreadable for the container's user
    places = tensor_places(folder)
    for name, tensor in large.items():
        _point(tensor, *places[name])
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.graph.ClearField("value_info")
    write_bytes(folder / GRAPH, model.SerializeToString())


def _is_weight(name: str) -> bool:
    """Whether a tensor belongs to the network; the scales of quantised activations and the axes are the graph's own."""
    return name.endswith((".weight", ".bias", ".weight_scale")) or name in ("scale", "shift")


def _name_tensors(graph: onnx.GraphProto) -> None:
    """torchvision's names: the exporter reshapes fc.weight to a 1 × 1 convolution, NNCF decorates quantised weights."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    rename = {next(n for n in graph.node if n.output[0] == "cam").input[1]: "fc.weight"}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            name = DECORATION.sub(r"\1", node.input[0])
            rename |= {node.input[0]: name, node.input[1]: f"{name}_scale"}
            if len(node.input) == 3:
                _drop_zero_point(graph, node)
    for node in graph.node:
        node.input[:] = [rename.get(name, name) for name in node.input]
    for tensor in graph.initializer:
        tensor.name = rename.get(tensor.name, tensor.name)
        if tensor.name.endswith(".weight_scale"):
            tensor.dims[:] = [int(np.prod(tensor.dims))]  # compress_weights gives it the weight's rank


def _drop_zero_point(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Weights are quantised symmetrically: a zero point of zeros says nothing, and ONNX lets it be left out."""
    zero = next(t for t in graph.initializer if t.name == node.input[2])
    if numpy_helper.to_array(zero).any():
        raise ValueError(f"{node.input[0]} has a zero point other than 0")
    del node.input[2]
    graph.initializer.remove(zero)


def _stored(name: str, array: Array) -> Array:
    return array.reshape(array.shape[:2]) if name == "fc.weight" else array


def _point(tensor: TensorProto, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.ClearField("int32_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": WEIGHTS, "offset": str(offset), "length": str(length)}
    tensor.external_data.extend(StringStringEntryProto(key=key, value=value) for key, value in entries.items())
