"""Synthetic ONNX networks of any size, written as a stream: no file is ever held in memory.

    python -m benchmarks.networks FILE --bytes N [--layer BYTES] [--form FORM] [--external] [--filled SHARE]
    python -m benchmarks.networks FILE --nodes N

The same size and seed give the same weights in every form, so a record of the plain network traces the others.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxnnw.network_file.wire import encode_bytes_field, encode_varint

__all__ = ["FORMS", "Layer", "layers_of", "write_network", "write_nodes"]

FORMS = ("plain", "renamed", "folded", "int8")
LAYER = 4 * 2**20

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # field numbers of ModelProto, GraphProto and TensorProto
_ALIGNMENT = 4096
_OPSET, _IR_VERSION = 17, 8

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A convolution (3 x 3) or a matrix: shape as stored, and the seed of its values."""

    shape: tuple[int, ...]
    seed: int

    def values(self) -> Floats:
        """He-initialised weights with rows of unequal size, as training leaves them."""
        rng = np.random.default_rng(self.seed)
        fan_in = math.prod(self.shape[1:]) if len(self.shape) == 4 else self.shape[0]
        values: Floats = rng.standard_normal(self.shape, dtype=np.float32)
        values *= np.float32(math.sqrt(2 / fan_in))
        values *= self._per_row(rng.uniform(0.5, 2, self.rows).astype(np.float32))
        return values

    @property
    def rows(self) -> int:
        """Out-rows: the first axis of a convolution, the last of a matrix."""
        return self.shape[0] if len(self.shape) == 4 else self.shape[-1]

    @property
    def axis(self) -> int:
        """The axis of the out-rows."""
        return 0 if len(self.shape) == 4 else 1

    def folded(self) -> Floats:
        """The same with another scale for each out-row, as folding a normalisation leaves it."""
        rng = np.random.default_rng(self.seed + 10**9)
        return self.values() * self._per_row(rng.uniform(0.3, 3, self.rows).astype(np.float32))

    def quantised(self) -> tuple[NDArray[np.int8], Floats]:
        """Symmetric 8-bit integers per out-row, and their scales."""
        values = self.values()
        others = tuple(axis for axis in range(values.ndim) if axis != self.axis)
        scales: Floats = np.abs(values).max(axis=others) / np.float32(127)
        values /= self._per_row(scales)
        return np.rint(values).astype(np.int8), scales

    def _per_row(self, values: Floats) -> Floats:
        return values.reshape(-1, 1, 1, 1) if self.axis == 0 else values


def layers_of(size: int, layer: int = LAYER) -> list[Layer]:
    """Layers of about ``layer`` bytes each (at least 8) that make ``size`` bytes: convolutions, then matrices."""
    layer = min(layer, size // 8)
    count = max(8, round(size / layer))
    channels, width = max(4, math.isqrt(layer // 36)), max(8, math.isqrt(layer // 4))
    out = [Layer((channels, channels, 3, 3), seed) for seed in range(count // 2)]
    widths = [channels, *[width] * (count - len(out))]
    return out + [Layer((widths[i], widths[i + 1]), len(out) + i) for i in range(len(widths) - 1)]


@dataclass(frozen=True)
class _Tensor:
    """An initializer whose values come when they are written."""

    proto: TensorProto
    length: int
    layer: Layer
    form: str

    def content(self) -> bytes | memoryview:
        if self.form == "int8":
            return memoryview(self.layer.quantised()[0]).cast("B")
        values = self.layer.folded() if self.form == "folded" else self.layer.values()
        return memoryview(values).cast("B")


def write_network(
    path: Path, size: int, layer: int = LAYER, form: str = "plain", external: bool = False, filled: float = 1.0
) -> None:
    """Write a chain of convolutions and matrices with about ``size`` bytes of float32 weights.

    Args:
        path: The model file.
        size: Bytes of weights, as float32 whatever the form.
        layer: Bytes per layer.
        form: ``plain``; ``renamed``; ``folded``, renamed with other row scales; ``int8``, renamed and dequantised.
        external: Weights beside the model in ``FILE.data``.
        filled: Share of the layers that hold values; the others are holes in a sparse file (external only).
    """
    layers = layers_of(size, layer)
    name = "w{}" if form == "plain" else "onnx::Weight_{}"
    tensors = []
    for number, one in enumerate(layers):
        data_type = TensorProto.INT8 if form == "int8" else TensorProto.FLOAT
        proto = TensorProto(name=name.format(number), data_type=data_type, dims=one.shape)
        tensors.append(_Tensor(proto, math.prod(one.shape) * (1 if form == "int8" else 4), one, form))
    graph = _graph(layers, tensors, form)
    if external:
        _write_external(path, graph, tensors, filled)
    else:
        _write_embedded(path, graph, tensors)


def _graph(layers: list[Layer], tensors: list[_Tensor], form: str) -> onnx.GraphProto:
    """Nodes, ports and biases; the weights come later."""
    nodes, small, flat = [], [], False
    value = "x"
    for number, (one, tensor) in enumerate(zip(layers, tensors, strict=True)):
        weight = tensor.proto.name
        if form == "int8":
            scale = f"{weight}_scale"
            small.append(_floats(scale, one.quantised()[1]))
            nodes.append(helper.make_node("DequantizeLinear", [weight, scale], [f"{weight}_real"], axis=one.axis))
            weight = f"{weight}_real"
        small.append(_floats(f"{tensor.proto.name}_bias", np.zeros(one.rows, np.float32)))
        if one.axis == 0:
            inputs = [value, weight, small[-1].name]
            nodes.append(helper.make_node("Conv", inputs, [f"sum{number}"], pads=[1, 1, 1, 1]))
        else:
            if not flat:
                nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
                nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
                value, flat = "flat", True
            nodes.append(helper.make_node("MatMul", [value, weight], [f"product{number}"]))
            nodes.append(helper.make_node("Add", [f"product{number}", small[-1].name], [f"sum{number}"]))
        nodes.append(helper.make_node("Relu", [f"sum{number}"], [f"y{number}"]))
        value = f"y{number}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", layers[0].shape[1], "height", "width"])]
    outputs = [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["batch", layers[-1].rows])]
    return helper.make_graph(nodes, "benchmark", inputs, outputs, small)


def _floats(name: str, values: Floats) -> TensorProto:
    return TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape, raw_data=values.tobytes())


def _header() -> bytes:
    model = onnx.ModelProto(ir_version=_IR_VERSION, producer_name="onnxnnw benchmarks")
    model.opset_import.add(version=_OPSET)
    return bytes(model.SerializeToString())


def _write_embedded(path: Path, graph: onnx.GraphProto, tensors: list[_Tensor]) -> None:
    """The framing of protobuf by hand: every length is known before the first weight is made."""
    body = graph.SerializeToString()
    framed = []
    length = len(body)
    for tensor in tensors:
        head = tensor.proto.SerializeToString() + _tag(_RAW_DATA) + encode_varint(tensor.length)
        head = _tag(_INITIALIZER) + encode_varint(len(head) + tensor.length) + head
        framed.append((head, tensor))
        length += len(head) + tensor.length
    with path.open("wb") as file:
        file.write(_header() + _tag(_GRAPH) + encode_varint(length) + body)
        for head, tensor in framed:
            file.write(head)
            file.write(tensor.content())


def _write_external(path: Path, graph: onnx.GraphProto, tensors: list[_Tensor], filled: float) -> None:
    data = path.with_name(path.name + ".data")
    with data.open("wb") as file:
        for number, tensor in enumerate(tensors):
            offset = -(-file.tell() // _ALIGNMENT) * _ALIGNMENT
            file.seek(offset)
            if int((number + 1) * filled) > int(number * filled):
                file.write(tensor.content())
            else:
                file.seek(offset + tensor.length)
            tensor.proto.data_location = TensorProto.EXTERNAL
            for key, text in (("location", data.name), ("offset", str(offset)), ("length", str(tensor.length))):
                tensor.proto.external_data.add(key=key, value=text)
        file.truncate()
    graph.initializer.extend(tensor.proto for tensor in tensors)
    path.write_bytes(_header() + encode_bytes_field(_GRAPH, graph.SerializeToString()))


def _tag(number: int) -> bytes:
    return encode_varint(number << 3 | 2)


def write_nodes(path: Path, nodes: int, width: int = 64) -> None:
    """Write a network of many small nodes, in blocks of 21 as exported transformers have them."""
    rng = np.random.default_rng(nodes)
    with path.open("wb") as file:
        file.write(_header())
        blocks = max(1, round(nodes / 21))
        ports = helper.make_graph(
            [],
            "benchmark",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
            [helper.make_tensor_value_info(f"y{blocks - 1}", TensorProto.FLOAT, ["batch", width])],
        ).SerializeToString()
        pieces = [ports, *(_block(number, width, rng) for number in range(blocks))]
        file.write(_tag(_GRAPH) + encode_varint(sum(map(len, pieces))))
        file.writelines(pieces)


def _block(number: int, width: int, rng: np.random.Generator) -> bytes:
    """A residual block of 21 nodes: a normalisation in single steps, a projection with its bias, a GELU."""
    nodes: list[onnx.NodeProto] = []
    before, at = ("x" if number == 0 else f"y{number - 1}"), f"/layers.{number}/"

    def add(op: str, *inputs: str, out: str = "", **attributes: object) -> str:
        out = out or f"{at}{op}_{len(nodes)}_output_0"
        nodes.append(helper.make_node(op, list(inputs), [out], f"{at}{op}_{len(nodes)}", **attributes))
        return out

    def constant(value: float | list[int]) -> str:
        kind = {"value_float": value} if isinstance(value, float) else {"value_ints": value}
        return add("Constant", **kind)

    centred = add("Sub", before, add("ReduceMean", before, axes=[-1]))
    variance = add("ReduceMean", add("Mul", centred, centred), axes=[-1])
    normal = add("Div", centred, add("Sqrt", add("Add", variance, constant(1e-5))))
    scaled = add("Add", add("Mul", normal, f"layers.{number}.norm.weight"), f"layers.{number}.norm.bias")
    product = add("Add", add("MatMul", scaled, f"onnx::MatMul_{number}"), f"layers.{number}.bias")
    gate = add("Add", add("Erf", add("Div", product, constant(1.4142135))), constant(1.0))
    gelu = add("Mul", add("Mul", product, gate), constant(0.5))
    add("Add", before, gelu, out=f"y{number}")
    projection = rng.standard_normal((width, width), dtype=np.float32) / np.float32(math.sqrt(width))
    weights = [
        (f"onnx::MatMul_{number}", projection),
        *((f"layers.{number}.{name}", np.ones(width, np.float32)) for name in ("norm.weight", "norm.bias", "bias")),
    ]
    graph = onnx.GraphProto(node=nodes, initializer=[_floats(name, values) for name, values in weights])
    return bytes(graph.SerializeToString())


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("path", type=Path)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--bytes", type=int)
    size.add_argument("--nodes", type=int)
    parser.add_argument("--layer", type=int, default=LAYER)
    parser.add_argument("--form", choices=FORMS, default="plain")
    parser.add_argument("--external", action="store_true")
    parser.add_argument("--filled", type=float, default=1.0)
    return parser.parse_args(arguments)


def _write(arguments: list[str]) -> None:
    options = _parsed(arguments)
    if options.nodes is not None:
        write_nodes(options.path, options.nodes)
    else:
        write_network(options.path, options.bytes, options.layer, options.form, options.external, options.filled)


if __name__ == "__main__":
    _write(sys.argv[1:])
