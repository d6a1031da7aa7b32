"""Two weights -> which row and which channel of one is which of the other, with scales, signs and a score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.balance import Cube, balanced, in_channels
from onnxnnw.alignment.clearness import is_clear
from onnxnnw.alignment.grouped import group_orders
from onnxnnw.alignment.scales import scales_of
from onnxnnw.alignment.search import GOOD, Order, Start, find_order, improved

__all__ = ["MatrixAlignment", "Start", "align_matrices", "with_scales"]

Positions = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MatrixAlignment:
    """Where each row and channel of a reference weight stands in a candidate's.

    ``reference[r, c, t]`` is about ``row_scales[r] * channel_scales[g, c] * candidate[rows[r], channels[g, c], t]``, g the group of
    row r.

    Attributes:
        rows: (rows,) the candidate's row of each reference row; -1 for none.
        channels: (groups, channels) the candidate's channel, among those that its row reads; -1 for none.
        row_scales, channel_scales: Of the same shapes, signs included.
        score: Cosine of both once balanced, over what was matched. It says nothing by itself in small weights: strangers reach .75.
        taps: Elements of a row that read one channel.
        candidate_shape: Rows and row size of the candidate's weight.
        clear: Whether no stranger agrees so well, in whatever order; asked up to ``search.GOOD`` only. Small and grouped weights
            never say so.
    """

    rows: Positions
    channels: Positions
    row_scales: Floats
    channel_scales: Floats
    score: float
    taps: int
    candidate_shape: tuple[int, int]
    clear: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and row size of the reference."""
        return len(self.rows), self.channels.shape[1] * self.taps

    @property
    def matched(self) -> float:
        """Share of the reference's elements that have a counterpart."""
        rows, channels = (self.rows >= 0).astype(np.float64), (self.channels >= 0).mean(1)
        return (
            float((rows.reshape(len(channels), -1).mean(1) * channels).mean()) if rows.size and channels.size else 0.0
        )

    @property
    def reordered(self) -> bool:
        """Whether any row or channel stands elsewhere."""
        rows, channels = np.arange(len(self.rows)), np.arange(self.channels.shape[1])
        return bool((self.rows != rows).any() or (self.channels != channels).any())

    @property
    def rescaled(self) -> bool:
        """Whether any row or channel was multiplied by anything."""
        return bool((np.abs(self.row_scales) != 1).any() or (np.abs(self.channel_scales) != 1).any())

    @property
    def flipped(self) -> bool:
        """Whether any row or channel has the opposite sign."""
        return bool((self.row_scales < 0).any() or (self.channel_scales < 0).any())

    def sources(self, positions: Positions) -> tuple[Positions, Floats]:
        """Flat positions of the reference -> flat positions of the candidate, and factors; -1 and NaN where there is none."""
        row_size = self.channels.shape[1] * self.taps
        row, (channel, tap) = positions // row_size, np.divmod(positions % row_size, self.taps)
        group = row // (len(self.rows) // len(self.channels))
        their_row, their_channel = self.rows[row], self.channels[group, channel]
        there = (their_row >= 0) & (their_channel >= 0)
        places = (their_row * self.candidate_shape[1]) + their_channel * self.taps + tap
        factors = self.row_scales[row] * self.channel_scales[group, channel]
        return np.where(there, places, -1), np.where(there, factors, np.nan)

    def applied(self, candidate: NDArray[Any]) -> NDArray[Any]:
        """The candidate's (rows, row_size) values in the reference's order and unit; NaN where there is no counterpart."""
        cube = candidate.reshape(self.candidate_shape[0], -1, self.taps)
        groups, channels = self.channels.shape
        out = np.empty((len(self.rows), channels, self.taps), candidate.dtype)
        part = len(self.rows) // groups
        with np.errstate(all="ignore"):
            for group, (order, scales) in enumerate(zip(self.channels, self.channel_scales, strict=True)):
                some = slice(group * part, (group + 1) * part)
                block = cube[self.rows[some][:, None], order]
                factors = np.outer(self.row_scales[some], scales)
                if (factors != 1).any():
                    block = block * factors[..., None].astype(candidate.dtype)
                if (order < 0).any() or (self.rows[some] < 0).any():
                    block[self.rows[some] < 0] = np.nan
                    block[:, order < 0] = np.nan
                out[some] = block
        return out.reshape(len(self.rows), -1)


def align_matrices(
    reference: NDArray[Any],
    candidate: NDArray[Any],
    taps: int = 1,
    groups: int = 1,
    candidate_groups: int = 1,
    starts: Sequence[Start] = (),
) -> MatrixAlignment:
    """Find the rows, channels, scales and signs of one weight in another.

    Whatever must not influence the result, a mark above all, is taken out of ``reference`` before this is called.

    Args:
        reference, candidate: (rows, row_size) each; they may differ in both. What is not finite counts as 0.
        taps: Elements of a row that read one channel; equal on both sides.
        groups, candidate_groups: Of a grouped convolution.
        starts: Orders that were found elsewhere and may hold here; what agrees best decides.
    """
    ours, theirs = in_channels(reference, taps), in_channels(candidate, taps)
    if groups > 1 or candidate_groups > 1:
        orders = group_orders(ours, theirs, groups, candidate_groups, starts)
    else:
        orders = [_order_of(ours, theirs, starts)]
    whole = _joined(orders, candidate.shape, taps)
    return with_scales(whole, reference.reshape(ours.shape), candidate.reshape(theirs.shape))


def _order_of(ours: Cube, theirs: Cube, starts: Sequence[Start]) -> Order:
    """The order; where channels were added or removed, once more with scales that only what was matched decides."""
    one, other = balanced(ours).values, balanced(theirs).values
    order = find_order(one, other, starts)
    added = ours.shape != theirs.shape and order.score >= 0.1
    for _ in range(2 if added else 0):
        units = (
            _among_matched(ours, order.rows >= 0, order.channels >= 0),
            _among_matched(theirs, _chosen(order.rows, theirs.shape[0]), _chosen(order.channels, theirs.shape[1])),
        )
        again = improved(*units, replace(order, score=-1.0), signed=True)
        if again.score <= order.score:
            break
        order, (one, other) = again, units
    return order if order.score > GOOD else replace(order, clear=is_clear(one, other, order))


def _chosen(order: Positions, count: int) -> NDArray[np.bool_]:
    out = np.zeros(count, np.bool_)
    out[order[order >= 0]] = True
    return out


def _among_matched(cube: Cube, rows: NDArray[np.bool_], channels: NDArray[np.bool_]) -> Cube:
    """All of a weight, in units that only some rows and channels decide."""
    inner = balanced(np.ascontiguousarray(cube[np.ix_(rows, channels)]))
    of_rows, of_channels = np.ones(len(rows)), np.ones(len(channels))
    of_rows[rows], of_channels[channels] = inner.rows, inner.channels
    with np.errstate(all="ignore"):
        if not rows.all():
            lines = cube[~rows][:, channels] / inner.channels[None, :, None]
            of_rows[~rows] = np.sqrt(np.mean(np.square(lines), axis=(1, 2)))
        if not channels.all():
            rest = cube[:, ~channels] / of_rows[:, None, None]
            of_channels[~channels] = np.sqrt(np.mean(np.square(rest), axis=(0, 2)))
        down = np.where(of_rows > 0, of_rows, 1)[:, None, None].astype(np.float32)
        across = np.where(of_channels > 0, of_channels, 1)[None, :, None].astype(np.float32)
        out: Cube = np.nan_to_num(cube / down / across, nan=0.0, posinf=0.0, neginf=0.0)
    return out


def _joined(orders: Sequence[Order], candidate_shape: tuple[int, ...], taps: int) -> MatrixAlignment:
    """The orders of all groups as one; scales are signs as yet."""
    return MatrixAlignment(
        rows=np.concatenate([order.rows for order in orders]),
        channels=np.stack([order.channels for order in orders]),
        row_scales=np.concatenate([order.row_signs for order in orders]).astype(np.float64),
        channel_scales=np.stack([order.channel_signs for order in orders]).astype(np.float64),
        score=float(np.mean([order.score for order in orders])),
        taps=taps,
        candidate_shape=(candidate_shape[0], candidate_shape[1]),
        clear=all(order.clear for order in orders),
    )


def with_scales(whole: MatrixAlignment, reference: NDArray[Any], candidate: NDArray[Any]) -> MatrixAlignment:
    """The same with the magnitudes of its scales, group by group."""
    part = len(whole.rows) // len(whole.channels)
    rows, channels = whole.row_scales.copy(), whole.channel_scales.copy()
    for group, order in enumerate(whole.channels):
        some = np.arange(group * part, (group + 1) * part)
        known, there = some[whole.rows[some] >= 0], np.flatnonzero(order >= 0)
        if known.size and there.size:
            down, across = scales_of(reference, candidate, (known, there), (whole.rows[known], order[there]))
            rows[known] *= down
            channels[group, there] *= across
    return replace(whole, row_scales=rows, channel_scales=channels)
