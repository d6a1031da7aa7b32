"""Canonical digests: the same network gives the same digest however it is stored, and no weight bit goes unnoticed.

A Merkle tree over all of the graph that is not dead for certain, from the ordered outputs: a node is H(domain, operator, opset,
sorted attributes, digests of its inputs, number of outputs where there are several), a leaf is H(element type, dims, little-endian
bytes). Names, storage, node order, documentation, Identity nodes and the borders of local functions do not count; biases and
normalisation do.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import AttributeProto, NodeProto, SparseTensorProto

from onnxnnw.graph.file import Network
from onnxnnw.graph.flow import ABSENT, Flow, Node
from onnxnnw.graph.slots import SlotView, find_slots
from onnxnnw.graph.stored import StoredTensor

if TYPE_CHECKING:
    from onnxnnw.graph.patch import Edit

__all__ = ["Digests", "leaf_digest", "network_digest", "network_digests"]

_DOMAIN = b"onnxnnw/digest/1\0"


@dataclass(frozen=True)
class Digests:
    """The digest of a network and of what it is made of, in hexadecimal.

    Attributes:
        network: The canonical digest.
        tensors: Digest of each stored tensor that a live node reads, by its scoped name.
    """

    network: str
    tensors: Mapping[str, str]


def network_digest(network: Network, view: SlotView | None = None, edits: "Mapping[int, Edit] | None" = None) -> str:
    """The canonical digest of a network alone; see ``network_digests``."""
    return network_digests(network, view, edits).network


def network_digests(
    network: Network, view: SlotView | None = None, edits: "Mapping[int, Edit] | None" = None
) -> Digests:
    """The canonical digests of a network; weights are streamed, on as many cores as there are.

    Args:
        network: An opened network.
        view: Its slots, where they are known already.
        edits: Changes by ``id`` of the stored tensor: the digests as if they had been written.
    """
    view = view if view is not None else find_slots(network)
    digest = _Digest(network, view, edits or {})
    whole = digest.hex()
    return Digests(whole, {view.flow.names[value]: digest.values[value].hex() for value in digest.leaves})


def leaf_digest(tensor: StoredTensor, edit: "Edit | None" = None) -> bytes:
    """Digest of one stored tensor, optionally as if changed."""
    hasher = hashlib.sha256(_DOMAIN + b"tensor\0")
    hasher.update(_pack(tensor.data_type, len(tensor.shape), *tensor.shape))
    if edit is None:
        for chunk in tensor.raw_chunks():
            hasher.update(chunk)
    else:
        width, start = tensor.itemsize, 0
        positions = np.asarray(edit.positions)
        order = np.argsort(positions)
        places, values = positions[order], np.frombuffer(edit.content, f"V{width}")[order]
        for chunk in tensor.raw_chunks():
            elements = np.frombuffer(bytearray(chunk), f"V{width}")
            low, high = np.searchsorted(places, (start, start + elements.size))
            elements[places[low:high] - start] = values[low:high]
            hasher.update(elements.tobytes())
            start += elements.size
    return hasher.digest()


def _pack(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little", signed=True) for number in numbers)


class _Digest:
    def __init__(self, network: Network, view: SlotView, edits: "Mapping[int, Edit]") -> None:
        self.network, self.flow, self.live = network, view.flow, view.possible
        self.edits = {edit.tensor.place: edit for edit in edits.values()}
        self.values: dict[int, bytes] = {ABSENT: b"\0" * 32}
        self.leaves: list[int] = []

    def hex(self) -> str:
        flow = self.flow
        self._leaves(flow)
        for number, value in enumerate(flow.inputs):
            self.values[value] = self._hash(b"input", number.to_bytes(8, "little"))
        for value, proto in flow.opaque.items():
            self.values.setdefault(value, self._opaque(proto))
        for node in self.live:
            for number, body in enumerate(node.bodies):
                for place, value in enumerate(body.inputs):
                    formal = _pack(body.level, number, place, len(body.inputs))
                    self.values.setdefault(value, self._hash(b"formal", formal))
        for node in self.live:
            self._node(node)
        outputs = [self._of(value) for value in flow.outputs]
        return self._hash(b"network", *outputs).hex()

    def _of(self, value: int) -> bytes:
        known = self.values.get(value)
        if known is None:  # a name from nowhere, or a branch that is never taken
            known = self.values[value] = self._hash(b"unknown")
        return known

    def _leaves(self, flow: Flow) -> None:
        """Digests of the stored tensors that live nodes read."""
        needed = {v for node in self.live for v in node.inputs if v in flow.tensors}
        needed |= {v for node in self.live for body in node.bodies for v in body.outputs if v in flow.tensors}
        needed |= {v for v in flow.outputs if v in flow.tensors}
        self.leaves = ordered = sorted(needed)
        tensors = [flow.tensors[value] for value in ordered]
        from concurrent.futures import ThreadPoolExecutor  # brings logging: only where something is hashed

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing and reading release the GIL
            digests = pool.map(lambda tensor: leaf_digest(tensor, self.edits.get(tensor.place)), tensors)
            self.values.update(zip(ordered, digests, strict=True))

    def _node(self, node: Node) -> None:
        if node.op == "Identity" and not node.domain:
            self.values[node.outputs[0]] = self._of(node.inputs[0])
            return
        parts = [node.domain.encode(), node.op.encode(), _pack(node.version, len(node.inputs))]
        if len(node.outputs) > 1:  # how many there are decides what some operators compute: Split, BatchNormalization
            parts.append(_pack(len(node.outputs)))
        parts += [self._of(value) for value in node.inputs]
        attributes = node.attributes()
        for name in sorted(attributes):
            parts += [name.encode(), self._attribute(attributes[name])]
        for body in node.bodies:
            parts += [body.attribute.encode(), _pack(len(body.outputs)), *(self._of(value) for value in body.outputs)]
        digest = self._hash(b"node", *parts)
        for place, value in enumerate(node.outputs):
            if value != ABSENT:
                self.values[value] = self._hash(b"output", digest, _pack(place))

    def _attribute(self, attribute: AttributeProto) -> bytes:
        if attribute.HasField("g") or attribute.graphs:
            return b"graph"
        tensors = [attribute.t, *attribute.tensors] if attribute.HasField("t") else list(attribute.tensors)
        if tensors:
            return self._hash(b"tensors", *(leaf_digest(self.network.tensor(t, attribute.name)) for t in tensors))
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            return self._hash(b"sparse", *map(self._sparse, (attribute.sparse_tensor, *attribute.sparse_tensors)))
        plain = AttributeProto()
        plain.CopyFrom(attribute)
        for field in ("name", "doc_string", "ref_attr_name"):
            plain.ClearField(field)
        return self._hash(b"plain", plain.SerializeToString(deterministic=True))

    def _opaque(self, proto: SparseTensorProto | NodeProto) -> bytes:
        """A constant that is not read as numbers: its content all the same."""
        if isinstance(proto, SparseTensorProto):
            return self._hash(b"opaque", self._sparse(proto))
        parts = ((attribute.name.encode(), self._attribute(attribute)) for attribute in proto.attribute)
        return self._hash(b"opaque", *(part for pair in sorted(parts) for part in pair))

    def _sparse(self, proto: SparseTensorProto) -> bytes:
        parts = (leaf_digest(self.network.tensor(part, "sparse tensor")) for part in (proto.values, proto.indices))
        return self._hash(b"sparse", _pack(*proto.dims), *parts) if proto.HasField("values") else b""

    @staticmethod
    def _hash(kind: bytes, *parts: bytes) -> bytes:
        hasher = hashlib.sha256(_DOMAIN + kind + b"\0")
        for part in parts:
            hasher.update(len(part).to_bytes(8, "little") + part)
        return hasher.digest()
