"""What several weights say of one width: channels that one of them cannot tell apart, dead ones as a rule, take the others' order.

A channel that nothing ever passes has values near zero where it is made and where it is read first; two of them are told apart by
chance there, and clearly by weights further on, which make or read the same channels. No graph is asked: orders that agree on most
of their lines are of one width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.matrices import MatrixAlignment, with_scales
from onnxnnw.alignment.weights import Weight

__all__ = ["in_agreement"]

Positions = NDArray[np.int64]
Floats = NDArray[np.float64]

_SAME = 0.75
"""Share of the lines on which orders of one width agree; those of different widths agree on one line or two."""

_AS_GOOD = 0.25
"""Another's order is taken where a weight's own values fit it worse by less than so much cosine a line."""

_MOST = 64
"""Orders of one length that are held together."""


@dataclass(frozen=True, eq=False)
class _Side:
    """The rows, or the channels, of one aligned weight.

    Attributes:
        number: Of the reference's weight.
        rows: Whether these are its rows.
        order: For each the candidate's; -1 for none.
    """

    number: int
    rows: bool
    order: Positions


def in_agreement(
    reference: Sequence[Weight], candidate: Sequence[Weight], found: Sequence[tuple[int, MatrixAlignment] | None]
) -> list[MatrixAlignment | None]:
    """Alignments of a network's weights that no longer contradict each other in channels which only some of them can tell apart.

    Args:
        found: For each reference weight the number of its counterpart and the alignment with it; None where it has none.
    """
    out = [None if one is None else one[1] for one in found]
    known: dict[tuple[int, int], list[_Side]] = {}
    for number, one in enumerate(found):
        if one is not None and len(one[1].channels) == 1:
            rows, row_size = one[1].candidate_shape
            for side, choice in (
                (_Side(number, True, one[1].rows), rows),
                (_Side(number, False, one[1].channels[0]), row_size // one[1].taps),
            ):
                if side.order.size > 1:
                    known.setdefault((side.order.size, choice), []).append(side)
    for sides in known.values():
        for width in _widths(sides[:_MOST]):
            others = np.array([side.order != width[0].order for side in width])
            for pattern in np.unique(others[:, others.any(0)], axis=1).T:  # who contradicts whom
                lines = np.flatnonzero((others == pattern[:, None]).all(0))
                _settle(width, lines, reference, candidate, found, out)
    return out


def _widths(sides: Sequence[_Side]) -> list[list[_Side]]:
    """Orders that agree on most lines, together."""
    out: list[list[_Side]] = []
    for side in sides:
        like = next((width for width in out if (width[0].order == side.order).mean() >= _SAME), None)
        if like is None:
            out.append([side])
        else:
            like.append(side)
    return out


def _settle(
    width: Sequence[_Side],
    lines: Positions,
    reference: Sequence[Weight],
    candidate: Sequence[Weight],
    found: Sequence[tuple[int, MatrixAlignment] | None],
    out: list[MatrixAlignment | None],
) -> None:
    """Give every weight of a width the order that fits all of them best, in lines on which they differ."""
    at_hand = []
    for side in width:
        one, matrix = found[side.number], out[side.number]
        assert one is not None
        assert matrix is not None
        at_hand.append((_cube(reference[side.number], matrix.taps), _cube(candidate[one[0]], matrix.taps), matrix))
    proposals = [side.order[lines] for side in width]
    fits = [
        [_fit(side, lines, order, *three) for order in proposals] for side, three in zip(width, at_hand, strict=True)
    ]
    best = int(np.sum([[fit.sum() for fit in row] for row in fits], axis=0).argmax())
    for number, (side, (ours, theirs, matrix)) in enumerate(zip(width, at_hand, strict=True)):
        order = (matrix.rows if side.rows else matrix.channels[0]).copy()
        changed = lines[order[lines] != proposals[best]]
        order[lines] = proposals[best]
        if fits[number][number].sum() - fits[number][best].sum() >= _AS_GOOD * changed.size:
            continue  # nothing to change, or its own values are clear
        there = order[order >= 0]
        if np.unique(there).size < there.size:
            continue
        signs = np.sign(matrix.row_scales), np.sign(matrix.channel_scales)
        if side.rows:
            signs[0][changed] = 1
            matrix = replace(matrix, rows=order, row_scales=signs[0], channel_scales=signs[1])
        else:
            signs[1][0, changed] = 1
            matrix = replace(matrix, channels=order[None], row_scales=signs[0], channel_scales=signs[1])
        out[side.number] = with_scales(matrix, ours, theirs)


def _cube(weight: Weight, taps: int) -> NDArray[Any]:
    return weight.read().reshape(weight.rows, -1, taps)


def _fit(
    side: _Side, lines: Positions, order: Positions, ours: NDArray[Any], theirs: NDArray[Any], matrix: MatrixAlignment
) -> Floats:
    """Cosine of each line with what stands at its place in an order, whatever its sign."""
    if side.rows:
        others, scales, places = np.flatnonzero(matrix.channels[0] >= 0), matrix.channel_scales[0], matrix.channels[0]
    else:
        ours, theirs = ours.swapaxes(0, 1), theirs.swapaxes(0, 1)
        others, scales, places = np.flatnonzero(matrix.rows >= 0), matrix.row_scales, matrix.rows
    with np.errstate(all="ignore"):
        one = ours[lines[:, None], others].astype(np.float64)
        other = theirs[order[:, None], places[others]] * scales[others, None]
        products = np.abs(np.einsum("ijt,ijt->i", one, other))
        norms = np.sqrt(np.einsum("ijt,ijt->i", one, one) * np.einsum("ijt,ijt->i", other, other))
        out: Floats = np.nan_to_num(np.where(order >= 0, products / norms, 0.0), nan=0.0, posinf=0.0)
    return out
