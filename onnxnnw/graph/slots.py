"""One slot per use of a weight, in canonical layout [out, in / groups, *kernel].

A slot is an index map with a decoder, never a copied array. A stored tensor that is used twice is one slot: its first live
use. Weights of dead nodes are no slots at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from onnxnnw.graph.constants import Constant, Constants, Positions, Reshaped, Transposed
from onnxnnw.graph.decoding import dequantize
from onnxnnw.graph.file import Network
from onnxnnw.graph.flow import ABSENT, Flow, Node, trace_flow
from onnxnnw.graph.live import live_nodes
from onnxnnw.graph.stored import Array, StoredTensor, byte_length

__all__ = ["MIN_ELEMENTS", "Slot", "SlotView", "find_slots"]

MIN_ELEMENTS = 64
"""Smaller weights carry no mark (DESIGN: eligible)."""


@dataclass(frozen=True)
class _Use:
    """How an operator uses a weight: which input, in which layout, and which inputs scale integers."""

    weight: int
    layout: str
    scale: int | None = None
    zero_point: int | None = None


_USES: dict[str, tuple[_Use, ...]] = {
    "Conv": (_Use(1, "conv"),),
    "FusedConv": (_Use(1, "conv"),),
    "NhwcConv": (_Use(1, "conv"),),
    "ConvTranspose": (_Use(1, "conv_transpose"),),
    "QLinearConv": (_Use(3, "conv", 4, 5),),
    "ConvInteger": (_Use(1, "conv", None, 3),),
    "Gemm": (_Use(1, "gemm"), _Use(0, "gemm_left")),
    "FusedGemm": (_Use(1, "gemm"), _Use(0, "gemm_left")),
    "QGemm": (_Use(3, "gemm", 4, 5),),
    "MatMul": (_Use(1, "matmul"), _Use(0, "rows")),
    "FusedMatMul": (_Use(1, "gemm"), _Use(0, "gemm_left")),
    "QLinearMatMul": (_Use(3, "matmul", 4, 5),),
    "MatMulInteger": (_Use(1, "matmul", None, 3),),
    "MatMulIntegerToFloat": (_Use(1, "matmul", 3, 5),),
    "DynamicQuantizeMatMul": (_Use(1, "matmul", 2, 3),),
    "Gather": (_Use(0, "gather"),),
    "LSTM": (_Use(1, "rnn"), _Use(2, "rnn")),
    "GRU": (_Use(1, "rnn"), _Use(2, "rnn")),
    "RNN": (_Use(1, "rnn"), _Use(2, "rnn")),
}
_KNOWN_DOMAINS = ("", "com.microsoft", "com.microsoft.nchwc")


@dataclass(frozen=True, eq=False)
class Slot:
    """One use of a weight.

    Attributes:
        name: Name of the stored tensor at the root, scoped.
        use: Operator and input, e.g. ``Conv.1``.
        constant: The values in canonical layout.
        tensor: The stored tensor at the root.
        bias: Name of the bias that the same node adds; survives many tools that rename weights.
        layout: How the operator reads it; ``gather`` rows are table entries.
        conditional: The node may never run (it stands in a branch or loop).
        replaceable: A caller may replace the weight at run time.
        shared: A live node that is no weight consumer reads it too.
    """

    name: str
    use: str
    constant: Constant
    tensor: StoredTensor
    bias: str
    layout: str
    conditional: bool
    replaceable: bool
    shared: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Canonical shape."""
        return self.constant.shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.constant.size

    @property
    def rows(self) -> int:
        """Number of out-rows."""
        return self.size // self.row_size

    @property
    def row_size(self) -> int:
        """Elements in one out-row: what one output value is computed from."""
        if len(self.shape) > 2 and self.layout in ("matmul", "rnn", "rows", "gemm", "gemm_left"):
            return self.shape[-1]
        return self.size // max(1, self.shape[0])

    @property
    def transposed(self) -> bool:
        """Whether the stored tensor holds the canonical layout with axes exchanged."""
        return any(operation == "transposed" for operation in self.constant.operations())

    @property
    def read_only(self) -> str:
        """Why the slot's values cannot be changed in place; empty where they can."""
        if self.constant.locate(np.zeros(1, np.int64)) is None:
            return f"{self.name[:80]!r} is computed from {self.tensor.type_name} values"
        return self.tensor.read_only

    def values(self, positions: Positions) -> Array:
        """The values at flat canonical positions, as float64."""
        return self.constant.take(positions).astype(np.float64)

    def array(self) -> Array:
        """All values as (rows, row_size) float32 (float64 where the network stores float64)."""
        values = self.constant.array()
        if values.dtype != np.float64:
            values = values.astype(np.float32, copy=False)
        return values.reshape(self.rows, self.row_size)

    def edits(self, positions: Positions, values: Array) -> tuple[StoredTensor, Positions, bytes]:
        """What to write where: the stored tensor, flat stored positions, the encoded values.

        Raises:
            ValueError: The slot is read-only; see ``read_only``.
        """
        place = self.constant.locate(positions)
        if place is None or self.read_only:
            raise ValueError(self.read_only)
        return place[0], place[1], place[0].encode(values)


@dataclass(frozen=True, eq=False)
class SlotView:
    """What ``find_slots`` saw.

    Attributes:
        slots: In the order of the live nodes, each stored tensor once.
        not_understood: Live uses of weights that this version cannot read: name or operator, with the reason.
        flow: The flattened network.
        live: Its live nodes.
        dead: Stored weights that no output depends on.
    """

    slots: list[Slot]
    not_understood: list[str]
    flow: Flow = field(repr=False)
    live: list[Node] = field(repr=False)
    dead: list[StoredTensor] = field(repr=False)

    def by_name(self) -> dict[str, Slot]:
        """Slots by name; names are unique among stored tensors of one scope, and the first live use wins."""
        out: dict[str, Slot] = {}
        for slot in self.slots:
            out.setdefault(slot.name, slot)
        return out


def find_slots(network: Network, min_elements: int = MIN_ELEMENTS) -> SlotView:
    """All slots of a network that an output depends on.

    Args:
        network: An opened network.
        min_elements: Smaller weights are left out.

    Raises:
        UnreadableNetwork: The graph contradicts itself.
    """
    flow = trace_flow(network)
    constants = Constants(flow)
    live = live_nodes(flow, constants)
    slots: list[Slot] = []
    problems: list[str] = []
    seen: set[tuple[object, ...]] = set()
    read: set[int] = set()
    overlapping = _overlapping(flow)
    elsewhere = _other_uses(live, flow, constants)
    for node in live:
        for index, constant, use in _weights(node, constants, problems, flow, min_elements):
            stored = constant.stored()
            read.update(map(id, stored))
            if not stored or stored[0].place in seen:
                continue
            seen.add(stored[0].place)
            value = node.inputs[index]
            slots.append(
                Slot(
                    name=stored[0].name,
                    use=f"{node.op}.{index}",
                    constant=constant,
                    tensor=stored[0],
                    bias=_bias_name(node, index, flow),
                    layout=use.layout,
                    conditional=node.conditional,
                    replaceable=_root(value, flow) in flow.replaceable,
                    shared=id(stored[0]) in elsewhere or id(stored[0]) in overlapping,
                )
            )
    read |= elsewhere
    dead = [t for t in flow.tensors.values() if _is_weight(t) and id(t) not in read]
    return SlotView(slots, problems, flow, live, dead)


def _overlapping(flow: Flow) -> set[int]:
    """Stored tensors whose bytes are also part of another one; only external data can be built like that."""
    extents = sorted(
        (str(t.source.path), t.offset, t.offset + byte_length(t.data_type, t.size), number)
        for number, t in flow.tensors.items()
        if t.storage == "external" and t.source is not None and t.size
    )
    out: set[int] = set()
    reach = last = None
    for path, start, stop, number in extents:
        tensor = flow.tensors[number]
        if reach is not None and last is not None and reach[0] == path and start < reach[1]:
            if tensor.place != last.place:
                out |= {id(tensor), id(last)}
            if stop <= reach[1]:
                continue
        reach, last = (path, stop), tensor
    return out


def _weights(
    node: Node, constants: Constants, problems: list[str], flow: Flow, min_elements: int
) -> Iterator[tuple[int, Constant, _Use]]:
    """The weights of one node in canonical layout."""
    uses = _USES.get(node.op) if node.domain in _KNOWN_DOMAINS else None
    if uses is None:
        if node.domain not in ("", "ai.onnx.ml") and any(_large(constants, v) for v in node.inputs):
            problems.append(
                f"{_shown(f'{node.domain}.{node.op}')} is not an operator that this version reads weights of"
            )
        return
    for use in uses:
        if use.weight >= len(node.inputs) or node.inputs[use.weight] == ABSENT:
            continue
        value = node.inputs[use.weight]
        constant = constants.of(value)
        if constant is None:
            if constants.is_unreadable(value):
                shown = _shown(flow.names[value])
                problems.append(f"{shown} reaches {node.op} by constant operations that are not understood")
            continue
        if len(constant.shape) < 2 or constant.size < min_elements:
            continue
        if use.scale is not None or use.zero_point is not None:
            constant = _integer(node, use, constant, constants)
        canonical = _canonical(node, use.layout, constant) if constant is not None else None
        if canonical is None:
            problems.append(f"{_shown(flow.names[value])} does not fit {node.op}")
        else:
            yield use.weight, canonical, use
            if use.layout in ("gemm", "matmul"):
                return  # two constant factors: the right one is the weight


def _shown(name: str) -> str:
    """A name from a file, fit for a terminal."""
    return repr(name[:80])[1:-1]


def _integer(node: Node, use: _Use, constant: Constant, constants: Constants) -> Constant | None:
    """Integers of an integer operator as real numbers; without a scale at hand, up to the scale of a row."""
    given = [node.inputs[i] if i is not None and i < len(node.inputs) else ABSENT for i in (use.scale, use.zero_point)]
    scale, zero = (constants.of(value) if value != ABSENT else None for value in given)
    return dequantize(constant, scale, zero, 0 if use.layout == "conv" else -1)


def _canonical(node: Node, layout: str, constant: Constant) -> Constant | None:
    rank = len(constant.shape)
    flipped = (*range(rank - 2), rank - 1, rank - 2)
    if layout == "matmul":
        return Transposed(constant, flipped)
    if layout == "gemm":
        return constant if node.integer("transB", 0) else Transposed(constant, flipped)
    if layout == "gemm_left":
        return Transposed(constant, flipped) if node.integer("transA", 0) else constant
    if layout == "conv_transpose":
        groups = node.integer("group", 1)
        channels, out = constant.shape[:2]
        if groups < 1 or channels % groups:
            return None
        kernel = constant.shape[2:]
        split = Reshaped(constant, (groups, channels // groups, out, *kernel))
        swapped = Transposed(split, (0, 2, 1, *range(3, 3 + len(kernel))))
        return Reshaped(swapped, (groups * out, channels // groups, *kernel))
    return constant


def _large(constants: Constants, value: int) -> bool:
    if value == ABSENT:
        return False
    constant = constants.of(value)
    return constant is not None and len(constant.shape) >= 2 and constant.size >= MIN_ELEMENTS


def _is_weight(tensor: StoredTensor) -> bool:
    return len(tensor.shape) >= 2 and tensor.size >= MIN_ELEMENTS and tensor.readable


def _other_uses(live: list[Node], flow: Flow, constants: Constants) -> set[int]:
    """Stored tensors that reach a live node other than as its weight."""
    out: set[int] = set(map(id, (flow.tensors[v] for v in flow.outputs if v in flow.tensors)))
    for node in live:
        uses = _USES.get(node.op, ()) if node.domain in _KNOWN_DOMAINS else ()
        weights = {use.weight for use in uses}
        for index, value in enumerate(node.inputs):
            if index in weights or value == ABSENT:
                continue
            constant = constants.of(value)
            if constant is not None and node.outputs and constants.status(node.outputs[0]) is None:
                out.update(id(tensor) for tensor in constant.stored())
    return out


def _bias_name(node: Node, index: int, flow: Flow) -> str:
    place = {"QLinearConv": 8, "QGemm": 6, "LSTM": 3, "GRU": 3, "RNN": 3}.get(node.op, 2)
    if index != 1 or place >= len(node.inputs) or node.inputs[place] == ABSENT:
        return ""
    return flow.names[node.inputs[place]]


def _root(value: int, flow: Flow) -> int:
    """The stored value at the start of a chain of constant operations."""
    for _ in range(64):
        node = flow.producer.get(value)
        if node is None or not node.inputs:
            break
        value = node.inputs[0]
    return value
