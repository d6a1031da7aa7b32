"""Canonical digests: independent of how a network is stored, and sensitive to every bit of every weight.

A Merkle tree over all of the graph that is not dead for certain, from the ordered outputs: a node is H(domain, operator, opset,
attributes in all their fields, digests of its inputs, its outputs where there are several), a leaf is H(element type, dims,
little-endian bytes). At the root stand names, types and shapes of inputs and outputs, for callers bind by name, and which
initializers a caller may replace. Names inside, storage, node order, documentation and Identity nodes do not count; biases,
normalisation and the names of local functions do, since a runtime may have an operator of that name.

Equal digests vouch for the function only where nothing was passed over: see ``Digests.doubts``.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import AttributeProto, FunctionProto, NodeProto, SparseTensorProto, ValueInfoProto

from onnxnnw.flow.names import key_of
from onnxnnw.flow.nodes import ABSENT, Body, Flow, Node
from onnxnnw.flow.unread import contents_of_functions
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.stored import StoredTensor
from onnxnnw.notices import tell

if TYPE_CHECKING:
    from onnxnnw.network_file.patch import Edit
from onnxnnw.graph.doubts import doubts_of

__all__ = ["DIGEST_FORMAT", "Digests", "leaf_digest", "network_digest", "network_digests"]

DIGEST_FORMAT = "onnxnnw/digest/2"
"""Version 1 left out what zero products seemed to hide, and the names of inputs and outputs; it vouches for nothing."""

_DOMAIN = b"onnxnnw/digest/1\0"  # of single tensors, which both versions hash alike
_NETWORK = DIGEST_FORMAT.encode() + b"\0"
_SMALL = 64
"""A leaf of so many elements belongs to the graph; a larger one is a weight, and not part of the graph's own digest."""

_UNREPEATABLE = ("Random", "Bernoulli", "Multinomial")
"""Beginnings of the names of operators of which two are not the same, however alike."""


@dataclass(frozen=True)
class Digests:
    """The digest of a network and of what it is made of, in hexadecimal.

    Attributes:
        network: The canonical digest.
        tensors: Digest of each stored tensor that is read, by its scoped name.
        graph: The digest of the graph alone: of large tensors only element type and dims count.
        metadata: Of the model's metadata_props, which no runtime computes with.
        doubts: Why two networks of equal digest need not compute the same; empty where they must.
        as_inputs: Digests of the tensors that a caller may replace, together with the input: until version 0.2 records kept
            these instead of the tensors' own.
    """

    network: str
    tensors: Mapping[str, str]
    graph: str = ""
    metadata: str = ""
    doubts: tuple[str, ...] = ()
    as_inputs: frozenset[str] = frozenset()


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
    tell(f"computing the digest of {network.path.name}")
    view = view if view is not None else find_slots(network)
    digest = _Digest(network, view, edits or {})
    whole = digest.hex()
    tensors = {view.flow.names[value]: own.hex() for value, own in digest.leaves.items()}
    as_inputs = frozenset(digest.values[value].hex() for value in digest.leaves if value in view.flow.replaceable)
    digest.values = {value: digest.values[value] for value in digest.leaves}  # there may be millions of others
    graph = _Digest(network, view, {}, digest).hex()
    metadata = sorted((prop.key, prop.value) for prop in network.model.metadata_props)
    hashed = hashlib.sha256(repr(metadata).encode()).hexdigest()
    doubts = tuple(doubts_of(network.model, view.flow, view.possible))
    return Digests(whole, tensors, graph, hashed, doubts, as_inputs)


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


def _in_order(node: Node) -> list[Body]:
    """The bodies of a node, however its attributes are ordered."""
    return sorted(node.bodies, key=lambda body: body.attribute)


def _port(port: ValueInfoProto) -> tuple[bytes, bytes]:
    """Name, type and shape of an input or output, as callers see them."""
    return port.name.encode(), port.type.SerializeToString(deterministic=True)


class _Digest:
    """One walk over a network; with ``whole``, an earlier walk, the digest of the graph without its weights."""

    def __init__(
        self, network: Network, view: SlotView, edits: "Mapping[int, Edit]", whole: "_Digest | None" = None
    ) -> None:
        self.network, self.flow, self.live = network, view.flow, view.possible
        self.edits = {edit.tensor.place: edit for edit in edits.values()}
        self.values: dict[int, bytes] = {ABSENT: b"\0" * 32}
        self.leaves: dict[int, bytes] = {}
        self.whole = whole
        self.unrepeatable = 0
        self.functions: dict[tuple[str, str, str], bytes] = {}

    def hex(self) -> str:
        flow = self.flow
        if self.whole is None:
            self._leaves(flow)
        else:
            self._shapes(flow, self.whole)
        ports = self.network.model.graph
        given = dict(zip(flow.ports, ports.input, strict=True))
        for value, port in given.items():
            if value not in flow.replaceable:
                self.values[value] = self._hash(b"input", *_port(port))
            elif value in self.values:
                self.values[value] = self._hash(b"replaceable", *_port(port), self.values[value])
        for value, proto in flow.opaque.items():
            self.values.setdefault(value, self._opaque(proto))
        for node in self.live:
            for number, body in enumerate(_in_order(node)):
                for place, value in enumerate(body.inputs):
                    formal = _pack(body.level, number, place, len(body.inputs))
                    self.values.setdefault(value, self._hash(b"formal", formal))
        for node in self.live:
            self._node(node)
        inputs = [part for port in ports.input for part in _port(port)]
        outputs = [
            part
            for value, port in zip(flow.outputs, ports.output, strict=True)
            for part in (*_port(port), self._of(value))
        ]
        counts = _pack(len(ports.input), len(flow.outputs))
        return self._hash(b"network", counts, *inputs, *outputs).hex()

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
        ordered = sorted(needed)
        tensors = [flow.tensors[value] for value in ordered]
        from concurrent.futures import ThreadPoolExecutor  # brings logging: only where something is hashed

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing and reading release the GIL
            digests = pool.map(lambda tensor: leaf_digest(tensor, self.edits.get(tensor.place)), tensors)
            self.leaves = dict(zip(ordered, digests, strict=True))
        self.values.update(self.leaves)

    def _shapes(self, flow: Flow, whole: "_Digest") -> None:
        """Large leaves as their element types and dims, small ones as they are."""
        for value in whole.leaves:
            tensor = flow.tensors[value]
            if tensor.size <= _SMALL:
                self.values[value] = whole.values[value]
            else:
                self.values[value] = self._hash(b"shape", _pack(tensor.data_type, len(tensor.shape), *tensor.shape))

    def _node(self, node: Node) -> None:
        if node.op == "Identity" and not node.domain and len(node.inputs) == len(node.outputs) == 1:
            inner = self._of(node.inputs[0])
            called = (node.proto.domain, node.proto.op_type)
            if called[0] not in ("", "ai.onnx") or called[1] != "Identity":  # where a local function ends
                self.values[node.outputs[0]] = self._hash(b"call", *(part.encode() for part in called), inner)
                return
            if not node.proto.attribute:
                self.values[node.outputs[0]] = inner
                return
        parts = [node.domain.encode(), node.op.encode(), _pack(node.version, len(node.inputs))]
        if len(node.outputs) > 1:  # how many there are decides what some operators compute: Split, BatchNormalization
            parts.append(_pack(len(node.outputs), *(value == ABSENT for value in node.outputs)))
        if node.op.startswith(_UNREPEATABLE):
            self.unrepeatable += 1
            parts.append(_pack(self.unrepeatable))
        if node.function is not None:
            parts.append(self._function(node.function))
        parts += [self._of(value) for value in node.inputs]
        attributes = node.attributes()
        for name in sorted(attributes):
            parts += [name.encode(), self._attribute(attributes[name])]
        for body in _in_order(node):
            parts += [body.attribute.encode(), _pack(len(body.outputs)), *(self._of(value) for value in body.outputs)]
        digest = self._hash(b"node", *parts)
        for place, value in enumerate(node.outputs):
            if value != ABSENT:
                self.values[value] = self._hash(b"output", digest, _pack(place))

    def _function(self, function: FunctionProto) -> bytes:
        """A local function that is not read, with all that it calls; hashed once however often it is called."""
        key = key_of(function)
        if key not in self.functions:
            parts: list[bytes] = []
            for content, tensors in contents_of_functions(self.network, [function]):
                parts += [content, *map(leaf_digest, tensors)]
            self.functions[key] = self._hash(b"function", *parts)
        return self.functions[key]

    def _attribute(self, attribute: AttributeProto) -> bytes:
        """An attribute in all its fields; graphs are hashed as the bodies of their node."""
        tensors = [attribute.t, *attribute.tensors] if attribute.HasField("t") else list(attribute.tensors)
        sparse = list(attribute.sparse_tensors)
        if attribute.HasField("sparse_tensor"):
            sparse.insert(0, attribute.sparse_tensor)
        plain = AttributeProto()
        plain.CopyFrom(attribute)
        for field in (
            "name",
            "doc_string",
            "ref_attr_name",
            "t",
            "tensors",
            "sparse_tensor",
            "sparse_tensors",
            "g",
            "graphs",
        ):
            plain.ClearField(field)
        graphs = len(attribute.graphs) + attribute.HasField("g")
        return self._hash(
            b"attribute",
            plain.SerializeToString(deterministic=True),
            _pack(len(tensors), len(sparse), graphs),
            *(leaf_digest(self.network.tensor(t, attribute.name)) for t in tensors),
            *map(self._sparse, sparse),
        )

    def _opaque(self, proto: SparseTensorProto | NodeProto) -> bytes:
        """A constant that is not read as numbers: its bytes are hashed."""
        if isinstance(proto, SparseTensorProto):
            return self._hash(b"opaque", self._sparse(proto))
        parts = ((attribute.name.encode(), self._attribute(attribute)) for attribute in proto.attribute)
        return self._hash(b"opaque", *(part for pair in sorted(parts) for part in pair))

    def _sparse(self, proto: SparseTensorProto) -> bytes:
        parts = (leaf_digest(self.network.tensor(part, "sparse tensor")) for part in (proto.values, proto.indices))
        return self._hash(b"sparse", _pack(*proto.dims), *parts) if proto.HasField("values") else b""

    @staticmethod
    def _hash(kind: bytes, *parts: bytes) -> bytes:
        hasher = hashlib.sha256(_NETWORK + kind + b"\0")
        for part in parts:
            hasher.update(len(part).to_bytes(8, "little") + part)
        return hasher.digest()
