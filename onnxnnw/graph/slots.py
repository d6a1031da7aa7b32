"""One slot per use of a weight, in canonical layout [out, in / groups, *kernel].

A slot is an index map with a decoder, never a copied array. A stored tensor that is used twice is one slot: its first live
use. Weights of dead nodes are no slots at all.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain

from onnxnnw.constants.arrays import Constant
from onnxnnw.constants.constants import Constants
from onnxnnw.constants.rulebook import MAX_GROWTH
from onnxnnw.flow.nodes import Flow, Node
from onnxnnw.flow.tracing import trace_flow
from onnxnnw.graph.computed_tables import FormulaCheck
from onnxnnw.graph.downstream import Downstream
from onnxnnw.graph.live import Live, live_nodes
from onnxnnw.graph.slot import Gains, Slot, region_of
from onnxnnw.graph.slot_view import SlotView, other_constants
from onnxnnw.graph.uses import AS_TABLE, MIN_ELEMENTS, Use, bias_name, weights_of
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.stored import StoredTensor, byte_length

__all__ = ["MIN_ELEMENTS", "SlotView", "find_slots"]

_FORMULAS_TOGETHER = 2**22
"""Elements of tables that are held against a formula while a network is opened."""


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the garbage collector while many objects are made that all stay alive."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
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
    followed = live_nodes(flow, constants)
    found = _Found(followed, constants, flow, min_elements)
    for node in followed.nodes:
        found.look_at(node)
    sure = len(found.weights)
    if followed.possible is not followed.nodes or followed.doubtful:
        certain = set(map(id, followed.nodes))
        for node in followed.possible:
            if id(node) not in certain:
                found.look_at(node)
        for node in followed.nodes:
            if any((id(node), place) in followed.doubtful for place in range(len(node.inputs))):
                found.look_at(node, closed=True)
    elsewhere = _other_uses(followed.possible, flow, constants, found.consumed)
    slots = found.slots(elsewhere | _overlapping(flow), Downstream(flow, constants, followed.possible))
    return SlotView(
        slots=slots[:sure],
        doubtful=slots[sure:],
        not_understood=found.problems,
        flow=flow,
        constants=constants,
        live=followed.nodes,
        possible=followed.possible,
        consumed=found.consumed,
        dead=_unreached(followed.possible, flow),
        nodes=[node for node, *_ in found.weights[:sure]],
    )


class _Found:
    """The weights that nodes use, each stored tensor (or each part of it) once: by its first use."""

    def __init__(self, followed: Live, constants: Constants, flow: Flow, min_elements: int) -> None:
        self.followed, self.constants, self.flow, self.min_elements = followed, constants, flow, min_elements
        self.problems: list[str] = []
        self.weights: list[tuple[Node, int, Constant, Use, StoredTensor, int | None]] = []
        self.consumed: set[tuple[int, int]] = set()
        self._formulas = FormulaCheck(_FORMULAS_TOGETHER)
        self._seen: set[tuple[object, ...]] = set()
        self._regions: dict[tuple[object, ...], int] = {}
        self._layouts: dict[tuple[object, ...], set[str]] = {}

    def look_at(self, node: Node, closed: bool = False) -> None:
        """Collect the weights of one node.

        Args:
            closed: Whether those that are multiplied by nothing are meant, or all others.
        """
        for index, constant, use in weights_of(node, self.constants, self.problems, self.flow, self.min_elements):
            key = id(node), index
            if self.followed.doubtful and (key in self.followed.doubtful) is not closed and key not in self.consumed:
                continue
            self.consumed.add(key)
            stored = constant.stored()
            if not stored:
                continue
            main, others = stored[0], frozenset[tuple[object, ...]]()
            if len(stored) > 1:
                main = max(stored, key=_importance)
                others = frozenset(tensor.place for tensor in stored if _is_weight(tensor) and tensor is not main)
            if len(stored) > 1 and self._is_formula(constant, stored):
                continue
            region = region_of(constant, main)
            self._layouts.setdefault(main.place, set()).add(use.layout)
            if (main.place, region, others) in self._seen:
                continue
            self._seen.add((main.place, region, others))
            self._regions[main.place] = self._regions.get(main.place, 0) + 1
            self.weights.append((node, index, constant, use, main, region[0].start if region else None))

    def _is_formula(self, constant: Constant, stored: list[StoredTensor]) -> bool:
        """Whether a table is computed from far fewer numbers than it has, and follows a formula: nothing is hidden in it."""
        if constant.size <= MAX_GROWTH * sum(tensor.size for tensor in stored):
            return False
        return self._formulas.holds(constant)

    def slots(self, elsewhere: set[int], downstream: Downstream) -> list[Slot]:
        """The collected weights as slots.

        Args:
            elsewhere: Ids of stored tensors that something else reads too.
            downstream: Finds what multiplies their rows.
        """
        out: list[Slot] = []
        for node, index, constant, use, main, start in self.weights:
            part = self._regions[main.place] > 1
            if use.layout == "gather" and not main.is_float:
                constant = downstream.dequantised(node, constant)
            layouts = self._layouts[main.place]
            mixed = len(layouts) > 1 and not layouts.isdisjoint(AS_TABLE)
            out.append(
                Slot(
                    name=main.name if start is None or not part else f"{main.name}[{start}]",
                    use=f"{node.op}.{index}",
                    constant=constant,
                    tensor=main,
                    bias=bias_name(node, index, self.flow),
                    layout=use.layout,
                    conditional=node.conditional,
                    covered=_covered(constant, main),
                    replaceable=_root(node.inputs[index], self.flow) in self.flow.replaceable,
                    shared=id(main) in elsewhere or mixed or (part and start is None),
                    gain=partial(_gain, downstream, node, use.layout, constant),
                    affine=partial(_affine, downstream, node, use.layout, constant),
                    blocked=self.constants.of(node.inputs[index]) if use.layout == "nchwc" else None,
                )
            )
        return out


def _importance(tensor: StoredTensor) -> tuple[float, bool]:
    """Of a weight and its mask, or the places of its elements, the weight is what matters; of codes and their scales, the codes."""
    wide = not tensor.is_float and tensor.itemsize >= 4
    return tensor.size / (4 if wide else 1), tensor.is_float


def _covered(constant: Constant, main: StoredTensor) -> int:
    """Elements for which a constant counts: as many as are stored, where it has far more."""
    stored = constant.stored()
    if len(stored) > 1 and constant.size > MAX_GROWTH * sum(tensor.size for tensor in stored):
        return main.size
    return constant.size


def _gain(downstream: Downstream, node: Node, layout: str, constant: Constant) -> Gains | None:
    return downstream.gains(node, layout, len(constant.shape), constant.shape[0])


def _affine(
    downstream: Downstream, node: Node, layout: str, constant: Constant
) -> tuple[Gains, Gains, tuple[int, ...]] | None:
    return downstream.affine(node, layout, len(constant.shape), constant.shape[0])


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


def _is_weight(tensor: StoredTensor) -> bool:
    return len(tensor.shape) >= 2 and tensor.size >= MIN_ELEMENTS and tensor.readable


def _other_uses(nodes: list[Node], flow: Flow, constants: Constants, consumed: set[tuple[int, int]]) -> set[int]:
    """Ids of the stored tensors that reach what is computed, or an answer, other than as a weight."""
    values = [*flow.outputs, *(value for node in nodes for body in node.bodies for value in body.computed())]
    values += [flow.slices[value][0] for value in values if value in flow.slices]
    out: set[int] = set()
    unread: set[int] = set()
    for value in chain((value for _, _, value in other_constants(nodes, constants, consumed)), values):
        constant = constants.of(value)
        if constant is not None:
            out.update(map(id, constant.stored()))
        elif constants.is_unreadable(value):
            out.update(id(flow.tensors[root]) for root in flow.roots(value, unread) if root in flow.tensors)
    return out


def _unreached(nodes: list[Node], flow: Flow) -> list[StoredTensor]:
    """Stored weights that none of these nodes and no output reads."""
    waiting = {value: tensor for value, tensor in flow.tensors.items() if _is_weight(tensor)}
    for value in flow.outputs:
        waiting.pop(value, None)
    for node in nodes:
        if not waiting:
            break
        for value in node.inputs:
            waiting.pop(value, None)
        for body in node.bodies:
            for value in body.outputs:
                waiting.pop(value, None)
    return list(waiting.values())


def _root(value: int, flow: Flow) -> int:
    """The stored value at the start of a chain of constant operations."""
    for _ in range(64):
        if value in flow.handed or value in flow.slices:
            value = flow.handed.get(value, flow.slices.get(value, (value,))[0])
            continue
        node = flow.producer.get(value)
        if node is None or not node.inputs:
            break
        value = node.inputs[0]
    return value
