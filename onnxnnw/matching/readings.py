"""Alternative readings of a candidate's slot: part of its rows or columns, gates or taps in another order, padded blocks.

Each is a choice of rows and of columns, so that what was read is the record's slot again, element by element.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from onnxnnw.constants.arrays import Positions
from onnxnnw.constants.moved import NCHWC_BLOCKS
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.anchor_agreement import Wanted

__all__ = ["MAX_PARTS", "MergeSteps", "gate_orders", "gates_of", "readings_of"]

MAX_PARTS = 32
"""Parts of equal size in which merged weights are looked at."""

_GATES = {"LSTM": 4, "GRU": 3, "DynamicQuantizeLSTM": 4}
_MAX_AXES, _MAX_MERGED = 3, 4
_MAX_GROUPS = 4096


@dataclass(frozen=True, eq=False)
class Reading:
    """One alternative reading of a candidate's slot.

    Attributes:
        kind: ``rows`` or ``columns`` of a merged weight, ``gates`` or ``taps`` in another order, ``blocks`` without their padding,
            ``groups`` of a convolution that was made dense; empty for the slot as it is.
        rows, columns: Which of the candidate's are the wanted ones, in their order; None where all are.
        block: Length of a block of channels; 0 where the candidate is not blocked.
        enrolled_block: The same of the file that the record was made of, where that was blocked.
        groups: Groups of a convolution.
    """

    kind: str
    rows: Positions | None = None
    columns: Positions | None = None
    block: int = 0
    enrolled_block: int = 0
    groups: int = 0

    def places(self, want: Wanted, slot: Slot) -> Positions:
        """Where a wanted slot's anchors are in the candidate's values."""
        if self.enrolled_block:
            return want.positions
        if self.block:
            places: Positions = np.ravel_multi_index(np.unravel_index(want.positions, want.shape), slot.shape)
            return places
        row, column = want.positions // want.row_size, want.positions % want.row_size
        if self.groups:
            column = column + row // (want.rows // self.groups) * want.row_size
        row = row if self.rows is None else self.rows[row]
        column = column if self.columns is None else self.columns[column]
        return np.asarray(row * slot.row_size + column, np.int64)

    def whole(self, slot: Slot, shape: tuple[int, ...]) -> Slot | None:
        """The slot that rows and columns are chosen of, for a record's of this shape; None where blocks do not divide it."""
        whole = slot.in_blocks(self.block) if self.block else slot
        return whole if whole is None or not self.enrolled_block else whole.blocked_anew(self.enrolled_block, shape)

    def part(self, slot: Slot, shape: tuple[int, ...]) -> Slot:
        """What was read as a slot of its own."""
        if self.block or self.enrolled_block:
            whole = self.whole(slot, shape)
            assert whole is not None, "it was compared"
            return whole.cropped(shape) if whole.shape != shape else whole
        if self.groups:
            return slot.on_diagonal(self.groups)
        return slot if self.rows is None and self.columns is None else slot.chosen(self.rows, self.columns)

    def area(self, slot: Slot) -> tuple[int, int, int, int]:
        """The rectangle that is read: first and last row, first and last column."""
        rows, columns = self.rows, self.columns
        return (
            0 if rows is None else int(rows.min()),
            slot.rows if rows is None else int(rows.max()) + 1,
            0 if columns is None else int(columns.min()),
            slot.row_size if columns is None else int(columns.max()) + 1,
        )


class MergeSteps:
    """Between which rows and columns merged weights may begin: what divides all that may be merged."""

    def __init__(self, missing: Sequence[Wanted]) -> None:
        self.row_sizes = {want.row_size for want in missing}
        self.row_counts = {want.rows for want in missing}
        self._blocked = any(want.layout == "nchwc" for want in missing)
        self._rows = {size: math.gcd(*(w.rows for w in missing if w.row_size == size)) for size in self.row_sizes}
        self._columns = {rows: math.gcd(*(w.row_size for w in missing if w.rows == rows)) for rows in self.row_counts}

    def concern(self, slot: Slot) -> bool:
        """Whether a slot may hold one that is missing."""
        return (
            self._blocked or slot.blocked is not None or slot.row_size in self.row_sizes or slot.rows in self.row_counts
        )

    def of_rows(self, want: Wanted, slot: Slot) -> int:
        """Rows from one possible beginning to the next."""
        return _step(self._rows.get(want.row_size, 1), slot.rows, want.rows)

    def of_columns(self, want: Wanted, slot: Slot) -> int:
        """The same for columns."""
        return _step(self._columns.get(want.rows, 1), slot.row_size, want.row_size)


def _step(together: int, whole: int, part: int) -> int:
    """The greatest common divisor of all that may be merged; of these two where that leaves too many beginnings."""
    if whole % together or whole // together > MAX_PARTS:
        together = math.gcd(whole, part)
    return together if whole // together <= MAX_PARTS else 0


def gates_of(use: str, shape: Sequence[int]) -> int:
    """How many gates a recurrent weight has; 0 where it is none."""
    gates = _GATES.get(use.partition(".")[0], 0)
    return gates if gates and len(shape) == 3 and shape[1] % gates == 0 else 0


def gate_orders(directions: int, gates: int, rows: int) -> Iterator[Positions]:
    """Rows with their gates in every other order, in each direction alike."""
    natural = np.arange(rows).reshape(directions, gates, -1)
    for order in list(permutations(range(gates)))[1:]:
        yield natural[:, list(order)].reshape(-1)


def readings_of(want: Wanted, slot: Slot, steps: MergeSteps) -> Iterator[Reading]:
    """How a wanted slot may be contained in a candidate's."""
    if slot.blocked is not None and len(slot.shape) == len(want.shape):
        for block in NCHWC_BLOCKS:
            if all(n <= m < n + block for n, m in zip(want.shape, slot.shape, strict=True)):
                yield Reading("blocks", block=block)
    if want.layout == "nchwc" and len(slot.shape) == len(want.shape):
        for length, block in product(NCHWC_BLOCKS if slot.blocked is not None else (0,), NCHWC_BLOCKS):
            if all(n <= m < n + block for n, m in zip(slot.shape, want.shape, strict=True)):
                yield Reading("blocks", block=length, enrolled_block=block)
    gates, directions = gates_of(want.use, want.shape), want.shape[0] if want.shape else 1
    own = 0 if gates else gates_of(slot.use, slot.shape)
    if own and want.rows % slot.shape[1] == 0:
        gates, directions = own, want.rows // slot.shape[1]
    if slot.rows == want.rows and slot.row_size == want.row_size:
        yield Reading("")
        if gates:
            yield from (Reading("gates", rows) for rows in gate_orders(directions, gates, want.rows))
        yield from _taps(want, slot)
    elif slot.row_size == want.row_size and slot.rows > want.rows:
        step = steps.of_rows(want, slot)
        for start in range(0, slot.rows - want.rows + 1, step) if step else ():
            yield Reading("rows", np.arange(start, start + want.rows))
        whole = slot.rows // want.rows if gates and slot.rows % want.rows == 0 else 0
        for number in range(whole if whole <= _MAX_MERGED else 0):
            for rows in gate_orders(directions, gates, want.rows):
                yield Reading("gates", rows + number * want.rows)
    elif slot.rows == want.rows and slot.row_size > want.row_size:
        groups, rest = divmod(slot.row_size, want.row_size)
        dense = len(want.shape) > 2 and want.layout.startswith("conv") and want.shape[2:] == slot.shape[2:]
        if dense and not rest and groups <= _MAX_GROUPS and want.rows % groups == 0:
            yield Reading("groups", groups=groups)
        step = steps.of_columns(want, slot) if len(slot.shape) == 2 else 0
        last = slot.row_size - want.row_size
        for start in range(0, last + 1, step) if step else ():
            columns = np.arange(start, start + want.row_size)
            yield Reading("columns", None, columns)
            if gates and start in (0, last):
                yield from (Reading("gates", rows, columns) for rows in gate_orders(directions, gates, want.rows))


def _taps(want: Wanted, slot: Slot) -> Iterator[Reading]:
    """A kernel as a matrix, or a matrix as a kernel, whose columns run through channels and taps in another order."""
    kernel, matrix = (want.shape, slot.shape) if len(want.shape) > 2 else (slot.shape, want.shape)
    layout = want.layout if len(want.shape) > 2 else slot.layout
    if len(matrix) != 2 or not layout.startswith("conv") or not 3 <= len(kernel) <= _MAX_AXES + 1:
        return
    axes = tuple(kernel[1:])
    natural = np.arange(math.prod(axes)).reshape(axes)
    for order in permutations(range(len(axes))):
        columns = natural.transpose(order).reshape(-1)  # of the matrix: which of the kernel's
        if (columns == np.arange(columns.size)).all():
            continue
        yield Reading("taps", None, np.argsort(columns) if len(want.shape) > 2 else columns)
