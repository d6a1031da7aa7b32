"""How well a candidate's values agree with a record's anchors: as folded values, in units of their out-row, or as stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxnnw.constants.arrays import Positions
from onnxnnw.graph.slot import Slot, scaled
from onnxnnw.matching.row_scale import row_magnitudes, row_scales
from onnxnnw.matching.slot_scales import SlotScales
from onnxnnw.network_file.stored import Array

__all__ = [
    "FOLDED",
    "STORED",
    "TRANSPOSED",
    "AnchorTable",
    "Content",
    "Wanted",
    "agreement",
    "agreements",
    "row_agreements",
]

FOLDED, TRANSPOSED, STORED = range(3)
"""How anchors were found: in folded values, in the transpose of those, in stored values."""

MIN_ANCHORS = 8
_CAP = 40.0
_AT_ONCE = 64
"""Slots whose anchors lie in memory side by side."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """A slot of a record: how it was called, how large it is, and its anchors.

    Attributes:
        name, bias: Its own name and that of the bias beside it.
        rows, row_size: Canonical size.
        positions: Where its anchors are.
        values: What they were, as stored.
        shape: Canonical shape.
        use, layout: What used it, and how; see ``slots.Slot``.
        further: More values outside the mark, and where: parts of a slot may hold few of its anchors.
        folds: What multiplied each anchor's row downstream; None in records that do not say it.
        row_scales: Root mean square of each anchor's folded row; None in records that do not say it.
        columns: Balanced magnitude of each column, or of each channel's (row_size is a multiple of their number), see
            ``row_scale.column_scales``; None in records that do not say it.
    """

    name: str
    bias: str
    rows: int
    row_size: int
    positions: Positions
    values: NDArray[np.float64]
    shape: tuple[int, ...] = ()
    use: str = ""
    layout: str = ""
    further: "tuple[Positions, NDArray[np.float64]] | None" = field(default=None, repr=False)
    folds: NDArray[np.float64] | None = field(default=None, repr=False)
    row_scales: NDArray[np.float64] | None = field(default=None, repr=False)
    columns: NDArray[np.float64] | None = field(default=None, repr=False)


def agreement(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """z = atanh(r) sqrt(n - 3) of anchors read against anchors kept; 0 with fewer than 8 readable ones."""
    return float(row_agreements(found[None], expected[None])[0])


def agreements(found: Sequence[Array], expected: Sequence[Array]) -> NDArray[np.float64]:
    """``agreement`` of many slots at once; they may have different numbers of anchors."""
    width = max((values.size for values in expected), default=0)
    out = np.empty(len(found))
    for start in range(0, len(found), _AT_ONCE):
        pairs = list(zip(found[start : start + _AT_ONCE], expected[start : start + _AT_ONCE], strict=True))
        both = np.full((2, len(pairs), width), np.nan)
        for row, pair in enumerate(pairs):
            both[:, row, : pair[0].size] = pair
        out[start : start + _AT_ONCE] = row_agreements(both[0], both[1])
    return out


def row_agreements(found: Array, expected: Array) -> NDArray[np.float64]:
    """The same for many: (k, n) arrays, NaN for anchors that are missing or not finite."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    usable = np.isfinite(found) & np.isfinite(expected)
    count = usable.sum(axis=1)
    left, right = np.where(usable, found, 0), np.where(usable, expected, 0)
    with np.errstate(all="ignore"):
        left = left / np.abs(left).max(axis=1, initial=0, keepdims=True)
        right = right / np.abs(right).max(axis=1, initial=0, keepdims=True)
        left = np.where(usable, left - (left.sum(axis=1) / count)[:, None], 0)
        right = np.where(usable, right - (right.sum(axis=1) / count)[:, None], 0)
        r = (left * right).sum(axis=1) / np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
        z = np.arctanh(np.clip(r, -1, 1)) * np.sqrt(np.maximum(count - 3, 0))
    z = np.where((count >= MIN_ANCHORS) & np.isfinite(r), z, 0)
    return np.clip(z, -_CAP, _CAP)


class AnchorTable:
    """The anchors of wanted slots of one size, side by side."""

    def __init__(self, wanted: Sequence[Wanted], shape: tuple[int, int]) -> None:
        self.shape = shape
        width = max((want.positions.size for want in wanted), default=0)
        self.places = np.zeros((len(wanted), width), np.int64)
        self.values = np.full(self.places.shape, np.nan)
        self.row_scales = np.full(self.places.shape, np.nan)
        self.folded = any(want.folds is not None for want in wanted)
        self.folds = np.ones(self.places.shape)
        for row, want in enumerate(wanted):
            count = want.positions.size
            self.places[row, :count] = want.positions
            self.values[row, :count] = want.values if want.folds is None else want.values * want.folds
            if want.folds is not None:
                self.folds[row, :count] = np.where(want.folds == 0, 1, want.folds)
            if want.row_scales is not None:
                self.row_scales[row, :count] = want.row_scales

    @classmethod
    def stacked(cls, tables: "Sequence[AnchorTable]") -> "AnchorTable":
        """Several tables of equally many anchors as one, for ``compare``."""
        if len(tables) == 1:
            return tables[0]
        out = cls([], tables[0].shape)
        out.values = np.concatenate([table.values for table in tables])
        out.row_scales = np.concatenate([table.row_scales for table in tables])
        return out

    def agree(
        self, slot: Slot, rows: NDArray[np.int64], scales: SlotScales
    ) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Agreement of a slot with some of the wanted ones, and how it was found."""
        scores = np.full(rows.size, -np.inf)
        how = np.full(rows.size, FOLDED, np.int8)
        if not rows.size:
            return scores, how
        stored, shape = slot.array(), self.shape
        array = scaled(stored, slot.row_gain) if self.folded else stored
        places = self.places[rows]
        if array.shape == shape:
            content = Content(array, scales.of_rows(slot, array, self.folded))
            scores = self.compare(content, places, rows)
            if self.folded and (slot.row_gain is not None or (self.folds[rows] != 1).any()):
                z = row_agreements(stored.reshape(-1)[places], self.values[rows] / self.folds[rows])
                how = np.where(z > scores, STORED, how).astype(np.int8)
                scores = np.maximum(scores, z)
        if len(slot.shape) == 2 and array.shape == shape[::-1]:
            z = row_agreements(array.reshape(-1)[places % shape[1] * shape[0] + places // shape[1]], self.values[rows])
            how = np.where(z > scores, TRANSPOSED, how).astype(np.int8)
            scores = np.maximum(scores, z)
        return scores, how

    def read(self, slot: Slot) -> Array:
        """A candidate's values: folded, if the record knows what was folded."""
        return slot.folded() if self.folded else slot.array()

    def compare(self, content: "Content", places: Positions, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The better agreement of folded values and of values in units of their rows, at ``places`` of the content."""
        scores = row_agreements(content.flat[places], self.values[rows])
        if np.isfinite(self.row_scales[rows]).any():
            with np.errstate(all="ignore"):
                scaled_z = row_agreements(content.row_scaled(places), self.values[rows] / self.row_scales[rows])
            scores = np.where(np.abs(scaled_z) > np.abs(scores), scaled_z, scores)
        return scores


class Content:
    """A candidate's values with the scales of their rows."""

    def __init__(self, array: Array, scales: NDArray[np.float64] | None = None) -> None:
        self.flat, self.row_size = array.reshape(-1), array.shape[1]
        self.row_scales = row_scales(row_magnitudes(array)) if scales is None else scales

    def row_scaled(self, places: Positions) -> NDArray[np.float64]:
        out: NDArray[np.float64] = self.flat[places] / self.row_scales[places // self.row_size]
        return out
