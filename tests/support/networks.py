"""Small networks to test with, and a few bytes of protobuf to break them with."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 21


def tensor(name: str, values: np.ndarray) -> TensorProto:
    """A tensor whose values are in raw_data."""
    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def weight(name: str, *shape: int, seed: int = 0, scale: float = 0.1, dtype: str = "float32") -> TensorProto:
    """A tensor of normal numbers."""
    return tensor(name, (np.random.default_rng(seed).normal(0, scale, shape)).astype(dtype))


def model_of(
    nodes: Sequence[NodeProto],
    initializers: Sequence[TensorProto],
    inputs: Iterable[str] = ("x",),
    outputs: Iterable[str] = ("y",),
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Iterable[str] = (),
) -> ModelProto:
    """A model around some nodes."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        list(initializers),
    )
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def dense(layers: int = 2, width: int = 48, seed: int = 0, dtype: str = "float32") -> ModelProto:
    """x -> (MatMul, Add, Relu) -> … -> y."""
    nodes, initializers, value = [], [], "x"
    for layer in range(layers):
        initializers.append(weight(f"w{layer}", width, width, seed=seed * 100 + layer, dtype=dtype))
        initializers.append(weight(f"b{layer}", width, seed=seed * 100 + 50 + layer, dtype=dtype))
        out = "y" if layer == layers - 1 else f"h{layer}"
        nodes += [
            helper.make_node("MatMul", [value, f"w{layer}"], [f"m{layer}"], name=f"matmul{layer}"),
            helper.make_node("Add", [f"m{layer}", f"b{layer}"], [f"a{layer}"]),
            helper.make_node("Relu", [f"a{layer}"], [out]),
        ]
        value = out
    return model_of(nodes, initializers)


def convolutional(seed: int = 0) -> ModelProto:
    """Conv, BatchNormalization, ConvTranspose with groups, Gemm: 6,000 weights and metadata, as tools write it."""
    rng = np.random.default_rng(seed)
    model = model_of(
        [
            helper.make_node("Conv", ["x", "c1.weight", "c1.bias"], ["h1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", ["h1", "bn.g", "bn.b", "bn.m", "bn.v"], ["h2"]),
            helper.make_node("Relu", ["h2"], ["h3"]),
            helper.make_node("ConvTranspose", ["h3", "c2.weight"], ["h4"], kernel_shape=[3, 3], group=2),
            helper.make_node("GlobalAveragePool", ["h4"], ["h5"]),
            helper.make_node("Flatten", ["h5"], ["h6"]),
            helper.make_node("Gemm", ["h6", "fc.weight", "fc.bias"], ["y"], transB=1),
        ],
        [
            weight("c1.weight", 16, 3, 3, 3, seed=seed + 1),
            weight("c1.bias", 16, seed=seed + 2),
            *(tensor(f"bn.{part}", rng.uniform(0.5, 1, 16).astype("f4")) for part in "gbmv"),
            weight("c2.weight", 16, 16, 3, 3, seed=seed + 3),
            weight("fc.weight", 100, 32, seed=seed + 4),
            weight("fc.bias", 100, seed=seed + 5),
        ],
    )
    model.producer_name = "a tool"
    model.metadata_props.add(key="licence", value="x" * 50)
    model.graph.doc_string = "documentation"
    return model


def save(model: ModelProto, path: Path) -> Path:
    """Write a model's bytes."""
    path.write_bytes(model.SerializeToString())
    return path


def externalise(model: ModelProto, folder: Path, name: str, place: Callable[[str], str | None]) -> Path:
    """Save with some tensors as external data: ``place`` gives each tensor's file, or None to keep it embedded."""
    for proto in model.graph.initializer:
        location = place(proto.name)
        if location is None:
            continue
        content = numpy_helper.to_array(proto).tobytes()
        target = folder / location
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            file.write(b"\xee" * (-file.tell() % 64))
            offset = file.tell()
            file.write(content)
        point_outside(proto, location, offset, len(content))
    return save(model, folder / name)


def point_outside(proto: TensorProto, location: str, offset: int | None = None, length: int | None = None) -> None:
    """Turn a tensor into external data."""
    for field in ("raw_data", "float_data"):
        proto.ClearField(field)
    proto.data_location = TensorProto.EXTERNAL
    proto.external_data.add(key="location", value=location)
    for key, number in (("offset", offset), ("length", length)):
        if number is not None:
            proto.external_data.add(key=key, value=str(number))


def varint(value: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes | int) -> bytes:
    """A protobuf field: a varint or a length-delimited one."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def subgraph(name: str, nodes: Sequence[NodeProto], outputs: Sequence[str], *tensors: TensorProto) -> GraphProto:
    """A body without inputs, as If has it."""
    ports = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    return helper.make_graph(list(nodes), name, [], ports, list(tensors))


def differing(left: bytes, right: bytes) -> np.ndarray:
    """Offsets at which two equally long files differ."""
    assert len(left) == len(right)
    return np.flatnonzero(np.frombuffer(left, "u1") != np.frombuffer(right, "u1"))
