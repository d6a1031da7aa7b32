"""The size of what is not read as weights: bytes as stored, and elements of an input."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import AttributeProto, SparseTensorProto, TensorProto

from onnxnnw.flow.nodes import UNREAD, Node
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.stored import StoredTensor, byte_length

__all__ = ["UNKNOWN", "all_bytes", "beside", "bytes_of", "bytes_of_attribute", "elements_of", "named"]

UNKNOWN = 2**40
"""Elements of something without bounds."""


def named(node: Node) -> str:
    """An operator's name for people."""
    domain = node.domain.removeprefix(UNREAD)
    return f"{domain}.{node.op}".removeprefix(".")[:100]


def bytes_of(tensor: StoredTensor, elements: int) -> int:
    return max(0, byte_length(tensor.data_type, elements))


def all_bytes(tensor: StoredTensor) -> int:
    """Bytes of a tensor as it is stored, texts included."""
    length = byte_length(tensor.data_type, tensor.size)
    if length >= 0:
        return length
    content: Any = tensor.inline
    return sum(len(text) for text in content.tolist()) if content is not None else 0


def elements_of(tensor_type: Any) -> int:
    """Elements of an input; ``UNKNOWN`` where its shape does not say."""
    if not tensor_type.HasField("shape"):
        return UNKNOWN
    amount = 1
    for dim in tensor_type.shape.dim:
        if not dim.HasField("dim_value"):
            return UNKNOWN
        amount *= max(0, dim.dim_value)
    return min(amount, UNKNOWN)


def beside(network: Network, location: bytes) -> int:
    """Bytes of a compiled file beside the network; ``UNKNOWN`` where the file is missing."""
    if not isinstance(network.path, Path):
        return UNKNOWN  # behind an address: nothing is asked for that is not read
    try:
        return (network.path.parent / os.fsdecode(location)).stat().st_size
    except (OSError, ValueError):
        return UNKNOWN


def bytes_of_attribute(network: Network, node: Node, name: str, attribute: AttributeProto) -> int:
    """Bytes that an attribute holds, in the file or outside."""
    amount = int(attribute.ByteSize())
    if attribute.HasField("g") or attribute.graphs:
        amount = sum(len(text) for text in attribute.strings[:]) + len(attribute.s)
    amount += sum(all_bytes(network.tensor(tensor, name)) for tensor in _tensors(attribute))
    if node.op == "EPContext" and name == "ep_cache_context" and not node.integer("embed_mode", 1):
        amount += beside(network, attribute.s)
    return amount


def _tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse: list[SparseTensorProto] = [*attribute.sparse_tensors]
    if attribute.HasField("sparse_tensor"):
        sparse.append(attribute.sparse_tensor)
    for each in sparse:
        if each.HasField("values"):
            yield from (each.values, each.indices)
