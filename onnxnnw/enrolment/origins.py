"""Weights that unrelated networks may share, which carry no fingerprint: linear models, near-identities, ancestors, tables.

Two logistic regressions that were fitted to halves of one data set come out alike, for their optimum is one; recurrent weights that
started as the identity stay near it; and what stands in a common ancestor, or in a network that has nothing to do with this
one, was not made here. A watermark writes values of its own and may lie in any of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import Anchors
from onnxnnw.constants.arrays import Constant
from onnxnnw.flow.nodes import ABSENT, Node
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.network_file.stored import Array
from onnxnnw.records.record import Record

__all__ = ["is_near_identity", "of_ancestors", "of_strangers", "without_hidden_units"]

_LINEAR = frozenset(
    (
        "MatMul Gemm Conv ConvTranspose Gather Einsum MatMulInteger ConvInteger QLinearMatMul QLinearConv FusedMatMul MatMulNBits "
        "DynamicQuantizeMatMul MatMulIntegerToFloat FusedGemm EmbeddingBag LinearClassifier LinearRegressor "
        "Add Sub Mul Div Sum Mean Neg Reshape Transpose Flatten Squeeze Unsqueeze Concat Split Slice Identity Cast ReduceMean "
        "ReduceSum "
        "AveragePool GlobalAveragePool BatchNormalization Pad Dropout QuantizeLinear DequantizeLinear DynamicQuantizeLinear Expand "
        "Tile "
        "Scaler Shape ConstantOfShape QLinearAdd QLinearMul QLinearAveragePool QLinearGlobalAveragePool QLinearConcat"
    ).split()
)
"""What keeps a linear model linear. All that stands not here may be a hidden unit."""

_PRODUCTS = frozenset("Mul Div MatMul Gemm Einsum FusedMatMul QLinearMul".split())
"""Linear only where one side is constant."""

_MIN_SIDE, _MAX_BLOCKS, _POWER, _CLEAR = 8, 64, 0.02, 6.0
_SAME, _SAMPLE, _SHARE = 1e-6, 256, 0.5
_MIN_ANCHORS = 16


def without_hidden_units(view: SlotView) -> set[int]:
    """Ids of the slots that stand between inputs and outputs without a hidden unit: the weights of linear models.

    A hidden unit is something that is not linear with weights before and behind it. Whatever is not known to be linear counts, and
    so do loops and branches: of those nothing is said.
    """
    if not view.flow.has_graph and len(view.slots) > 1:  # nobody knows what stands between them
        return set()
    nodes = view.possible
    weighted: dict[int, list[Node]] = defaultdict(list)
    has_weight: set[int] = set()
    for node in nodes:
        for place, value in enumerate(node.inputs):
            if (id(node), place) in view.consumed:
                has_weight.add(id(node))
                constant = view.constants.status(value)
                if isinstance(constant, Constant):
                    for tensor in constant.stored():
                        weighted[id(tensor)].append(node)
    hidden = {id(node) for node in nodes if not _is_linear(node, view)}
    behind = _reached(nodes, has_weight, hidden, forwards=True)
    before = _reached(nodes[::-1], has_weight, hidden, forwards=False)
    out = set()
    for slot in view.slots:
        users = weighted.get(id(slot.tensor), [])
        if users and not any(id(user) in hidden or id(user) in behind or id(user) in before for user in users):
            out.add(id(slot))
    return out


def _is_linear(node: Node, view: SlotView) -> bool:
    if node.op not in _LINEAR or node.bodies or node.conditional or node.function is not None:
        return False
    if node.op in _PRODUCTS:
        computed = [value for value in node.inputs[:2] if value != ABSENT and view.constants.status(value) is None]
        return len(computed) < 2
    return True


def _reached(nodes: Sequence[Node], has_weight: set[int], hidden: set[int], forwards: bool) -> set[int]:
    """Ids of the nodes that are reached from a weight through something that is not linear; nodes in the order of the way."""
    from_weight: set[int] = set()
    through: set[int] = set()
    out = set()
    for node in nodes:
        come, go = (node.inputs, node.outputs) if forwards else (node.outputs, node.inputs)
        seen = any(value in from_weight for value in come)
        passed = any(value in through for value in come)
        if passed:
            out.add(id(node))
        given = [value for value in go if value != ABSENT]
        if seen or id(node) in has_weight:
            from_weight.update(given)
        if passed or (id(node) in hidden and (seen or id(node) in has_weight)):
            through.update(given)
    return out


def is_near_identity(array: Array) -> bool:
    """Whether square blocks of a matrix, such as the gates of a recurrent weight, have an identity in them.

    The diagonal's mean stands out from the other entries, and holds a fiftieth of the block's power or more.

    Args:
        array: (rows, row_size).
    """
    rows, columns = array.shape
    side = min(rows, columns)
    if side < _MIN_SIDE or max(rows, columns) % side or max(rows, columns) // side > _MAX_BLOCKS:
        return False
    for number in range(max(rows, columns) // side):
        part = slice(number * side, (number + 1) * side)
        if _has_identity(np.asarray(array[part] if rows >= columns else array[:, part], np.float64)):
            return True
    if columns > rows and columns % rows == 0:  # taps lie side by side: every k-th column is one tap's
        taps = columns // rows
        return any(_has_identity(np.asarray(array[:, tap::taps], np.float64)) for tap in range(taps))
    return False


def _has_identity(block: NDArray[np.float64]) -> bool:
    largest = float(np.abs(block).max(initial=0))
    if not 0 < largest < np.inf:
        return False
    block = block / largest
    side = len(block)
    diagonal = np.diag(block)
    others = (float(block.sum()) - float(diagonal.sum())) / (side * (side - 1))
    power = max(0.0, float((block**2).sum()) - float(diagonal @ diagonal)) / (side * (side - 1))
    spread = float(np.sqrt(max(0.0, power - others**2)))
    ahead = abs(float(diagonal.mean()) - others)
    if ahead * np.sqrt(side) <= _CLEAR * max(spread, float(diagonal.std()) / 2):
        return False
    return ahead**2 * side > _POWER * (power * side * (side - 1) + float(diagonal @ diagonal))


def of_ancestors(view: SlotView, ancestors: Iterable[SlotView]) -> set[int]:
    """Ids of the slots that hold, to 1e-6, what a slot of an ancestor holds, at half of their values or more."""
    out: set[int] = set()
    for ancestor in ancestors:
        by_shape: dict[tuple[int, int], list[Slot]] = defaultdict(list)
        for slot in ancestor.slots:
            by_shape[slot.rows, slot.row_size].append(slot)
        for slot in view.slots:
            if id(slot) in out:
                continue
            shape = slot.rows, slot.row_size
            places = np.unique(np.linspace(0, slot.size - 1, _SAMPLE).astype(np.int64))
            own = slot.values(places)
            turned = places % shape[1] * shape[0] + places // shape[1]
            likely = [(other, False) for other in by_shape[shape] if _alike(own, other.values(places))]
            likely += [(other, True) for other in by_shape[shape[::-1]] if _alike(own, other.values(turned))]
            for other, transposed in likely[:_MAX_BLOCKS]:
                there = other.array().T if transposed else other.array()
                if _alike(slot.array().reshape(-1), there.reshape(-1)):
                    out.add(id(slot))
                    break
    return out


def of_strangers(view: SlotView, records: Sequence[Record]) -> set[int]:
    """Ids of the slots that hold, to 1e-6, what records of unrelated networks hold at their anchors and samples: shared tables."""
    out: set[int] = set()
    for record in records:
        anchors = Anchors(record)
        for number, entry in enumerate(record.slots):
            shape = entry.live_rows + len(entry.dead_rows), entry.row_size
            for slot in view.slots:
                if id(slot) in out or (slot.rows, slot.row_size) not in (shape, shape[::-1]):
                    continue
                places, values, _ = anchors.looked_at(number)
                if places.size < _MIN_ANCHORS or not np.ptp(values) > 0:
                    continue
                turned = places % shape[1] * shape[0] + places // shape[1]
                same = (slot.rows, slot.row_size) == shape and _alike(values, slot.values(places))
                if same or ((slot.rows, slot.row_size) == shape[::-1] and _alike(values, slot.values(turned))):
                    out.add(id(slot))
    return out


def _alike(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    """Whether half of the values that are not zero agree to 1e-6 of the largest."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    used = ((one != 0) | (other != 0)) & np.isfinite(one) & np.isfinite(other)
    if not used.any():
        return False
    largest = max(float(np.abs(one[used]).max()), float(np.abs(other[used]).max()))
    return float((np.abs(one[used] - other[used]) <= _SAME * largest).mean()) >= _SHARE
