"""Shapes of the values of a network, as far as they can be inferred, and its messages with their values restored."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto

from onnxnnw.errors import UnsupportedNetwork
from onnxnnw.flow.nodes import Flow
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.stored import byte_length

__all__ = ["Shape", "Shapes", "shapes_of", "tensors_of", "whole"]

Shape = tuple[int | str | None, ...]
"""One entry per axis: a length, a name of one that is open, or None."""

Shapes = dict[int, Shape]

_SMALL = 2**13
_LARGEST = 2**31 - 2**24
"""Bytes of a model that protobuf still writes."""


def tensors_of(message: Any) -> Iterator[TensorProto]:
    """Every TensorProto below a message of a model."""
    stack = [message]
    while stack:
        one = stack.pop()
        if isinstance(one, TensorProto):
            yield one
            continue
        for field, value in one.ListFields():
            if field.message_type is not None:
                stack += [value] if isinstance(value, Message) else list(value)


def whole(network: Network, largest: int = _LARGEST) -> ModelProto:
    """A model with the values of its tensors in it, those of at most ``largest`` bytes; the others stay placeholders.

    Raises:
        UnsupportedNetwork: Together they are more than one file can hold.
    """
    model = ModelProto()
    model.CopyFrom(network.model)
    total = 0
    for proto in tensors_of(model):
        if not proto.external_data:
            continue
        tensor = network.tensor(proto)
        length = byte_length(tensor.data_type, tensor.size)
        if not 0 <= length <= largest:
            continue
        total += length
        if total > _LARGEST:
            raise UnsupportedNetwork(f"{network.path}: holds more than the 2 GiB that fit into one file")
        content = b"".join(tensor.raw_chunks())
        for name in (
            "external_data",
            "data_location",
            "float_data",
            "int32_data",
            "int64_data",
            "double_data",
            "uint64_data",
        ):
            proto.ClearField(name)
        proto.raw_data = content
    return model


def shapes_of(network: Network, flow: Flow) -> Shapes:
    """Shapes by ONNX's own inference, of the values whose names say which they are: not those inside bodies and functions."""
    try:
        known = onnx.shape_inference.infer_shapes(whole(network, _SMALL), data_prop=True)
    except Exception:  # a library's reader of a file from anywhere: without shapes less is understood
        return {}
    shapes: dict[str, Shape] = {}
    for info in (*known.graph.value_info, *known.graph.input, *known.graph.output):
        if info.type.HasField("tensor_type") and info.type.tensor_type.HasField("shape"):
            shapes[info.name] = tuple(
                d.dim_value if d.HasField("dim_value") else (d.dim_param or None)
                for d in info.type.tensor_type.shape.dim
            )
    counts = Counter(flow.names)
    return {value: shapes[name] for value, name in enumerate(flow.names) if counts[name] == 1 and name in shapes} | {
        value: tensor.shape for value, tensor in flow.tensors.items()
    }
