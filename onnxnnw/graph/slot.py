"""One use of a weight, in canonical layout: an index map with a decoder, never a copied array."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxnnw.constants.arrays import Constant, Literal, Positions
from onnxnnw.constants.moved import Diagonal, Gathered, Reshaped, Sliced, as_unblocked, blocked, unblocked
from onnxnnw.network_file.stored import Array, StoredTensor

__all__ = ["Gains", "Region", "Slot", "region_of", "scaled"]

_STACKS = ("matmul", "rnn", "rows", "gemm", "gemm_left", "einsum", "experts", "query")
"""Layouts of which more than two dimensions are a stack of matrices."""

Gains = NDArray[np.float64]


def _nothing() -> None:
    return None


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
        covered: Elements of the network's own slot that this one stands for: more than ``size`` where channels are padded, fewer
            where it is computed from far fewer numbers.
        gain: Finds what multiplies each out-row downstream; see ``row_gain``.
        affine: Finds the same, what is added then, and the values that do so; see ``fold.Downstream.affine``.
        blocked: The stored constant of a blocked convolution, which can be read in more than one way.
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
    covered: int = 0
    gain: "Callable[[], Gains | None]" = field(default=_nothing, repr=False)
    affine: "Callable[[], tuple[Gains, Gains, tuple[int, ...]] | None]" = field(default=_nothing, repr=False)
    blocked: Constant | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "covered", self.covered or self.constant.size)

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
        if len(self.shape) > 2 and self.layout in _STACKS:
            return self.shape[-1]
        return self.size // max(1, self.shape[0])

    @cached_property
    def row_gain(self) -> Gains | None:
        """What multiplies each out-row on the way to the next operator that is not linear; None where nothing does.

        It follows the graph when it is first asked for; the fast path asks for marked slots only.
        """
        return self.gain()

    @property
    def transposed(self) -> bool:
        """Whether the stored tensor holds the canonical layout with axes exchanged."""
        return any(operation == "transposed" for operation in self.constant.operations())

    @property
    def read_only(self) -> str:
        """Why the slot's values cannot be changed in place; empty where they can."""
        if self.constant.locate(np.zeros(1, np.int64)) is None:
            return f"{self.name[:80]!r} is computed from {self.tensor.type_name} values"
        if self.constant.repeats:
            return f"some values of {self.name[:80]!r} stand in several places"
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

    def folded(self) -> Array:
        """``array`` times ``row_gain``: what a file holds after everything that multiplies out-rows was folded in."""
        return scaled(self.array(), self.row_gain)

    def chosen(self, rows: Positions | None, columns: Positions | None = None) -> "Slot":
        """Some rows and columns in some order as a slot of their own; None chooses all."""
        part: Constant = Reshaped(self.constant, (self.rows, self.row_size))
        part = part if rows is None else Gathered(part, 0, rows)
        part = part if columns is None else Gathered(part, 1, columns)
        return replace(
            self,
            constant=part,
            covered=part.size,
            gain=lambda: self.row_gain if rows is None else _of_rows(self.row_gain, rows),
            affine=_nothing,
            blocked=None,
        )

    def on_diagonal(self, groups: int) -> "Slot":
        """A grouped convolution that was made dense: the blocks that are not zero.

        It stands for all of the dense one where everything else is zero.
        """
        whole = Reshaped(self.constant, (self.rows, self.row_size))
        part = Diagonal(whole, groups)
        elsewhere = np.count_nonzero(whole.array()) - np.count_nonzero(part.array())
        covered = self.covered if elsewhere == 0 else part.size
        return replace(self, constant=part, covered=covered, affine=_nothing, blocked=None)

    def in_blocks(self, block: int) -> "Slot | None":
        """A blocked convolution read with this length of block, still padded; None where it cannot be."""
        reading = None if self.blocked is None else unblocked(self.blocked, block)
        return None if reading is None else replace(self, constant=reading, blocked=None)

    def blocked_anew(self, block: int, shape: tuple[int, ...]) -> "Slot | None":
        """The weight as a record has it that was made of a file with blocks of this length, in the longest block that divides it.

        It is folded first: out-rows are no rows any more where the two blocks differ.

        Args:
            shape: With the padding of blocks.

        Returns:
            None where blocks do not divide it.
        """
        values = self.folded().reshape(self.shape)
        padded = np.pad(values, [(0, long - short) for long, short in zip(shape, self.shape, strict=True)])
        stored = blocked(Literal(padded), block)
        reading = None if stored is None else as_unblocked(stored)
        return (
            None if reading is None else replace(self, constant=reading, gain=_nothing, affine=_nothing, blocked=None)
        )

    def cropped(self, shape: tuple[int, ...]) -> "Slot":
        """The same weight without its padding."""
        zeros, ones = (0,) * len(shape), (1,) * len(shape)
        return replace(self, constant=Sliced(self.constant, zeros, ones, shape), covered=self.size)

    def edits(self, positions: Positions, values: Array) -> tuple[StoredTensor, Positions, bytes]:
        """The edits that write values: the stored tensor, flat stored positions, encoded values.

        Raises:
            ValueError: The slot is read-only; see ``read_only``.
        """
        place = self.constant.locate(positions)
        if place is None or self.read_only:
            raise ValueError(self.read_only)
        return place[0], place[1], place[0].encode(values)


def scaled(array: Array, gain: Gains | None) -> Array:
    """(rows, row_size) values, each row times its gain; in the precision of the values."""
    if gain is None:
        return array
    with np.errstate(all="ignore"):
        out: Array = array * gain.astype(array.dtype)[:, None]
    return out


def _of_rows(gain: Gains | None, rows: Positions) -> Gains | None:
    return None if gain is None else gain[rows]


class Region(NamedTuple):
    """A part of a stored tensor: where it begins, and what else tells it from other parts."""

    start: int
    shape: tuple[int, ...]
    detail: object


def region_of(constant: Constant, main: StoredTensor) -> tuple[Region, ...]:
    """Which part of the main stored tensor a constant shows; empty for all of it."""
    out: list[Region] = []
    part: Constant | None = constant
    while part is not None and part.parts:
        kind = type(part)  # faster than isinstance, which asks the abstract class
        if (kind is Sliced or kind is Gathered) and part.size < part.parts[0].size:
            assert isinstance(part, Sliced | Gathered)
            detail = part.strides if isinstance(part, Sliced) else part.indices.tobytes()
            start = int(part.source(np.zeros(1, np.int64))[0]) if part.size else 0
            out.append(Region(start, part.shape, detail))
        parts = part.parts
        part = parts[0] if len(parts) == 1 else next((p for p in parts if any(t is main for t in p.stored())), None)
    return tuple(out)
