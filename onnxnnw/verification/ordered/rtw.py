"""Align a layer that carries an RTW mark by other layers, so that the test is independent of the alignment.

Aligned to the marked layer, a stranger's bits were 64 % right: the mark is in the means that an alignment follows. So rows and
channels take orders that other layers found. Which of these belongs to the layer its anchors decide, which count as zero in the
mark's projections.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment import MatrixAlignment
from onnxnnw.candidate import Anchors
from onnxnnw.matching.anchor_agreement import agreement
from onnxnnw.methods.rtw import mark_of
from onnxnnw.records.record import Record
from onnxnnw.verification.ordered.reference import Aligned, AlignedWeights

__all__ = ["without_own_order"]

Positions = NDArray[np.int64]

_MOST = 12
"""Orders of one length that are tried."""


def without_own_order(record: Record, anchors: Anchors, aligned: Aligned) -> AlignedWeights:
    """The candidate's weights with the marked layer in an order of other layers; without it where they have none of its size."""
    number = mark_of(record).slot
    own = aligned.orders.get(number)
    others = {other: order for other, order in aligned.orders.items() if other != number}
    matches = list(aligned.weights.matches)
    best: tuple[float, MatrixAlignment] | None = None
    match = matches[number]
    if own is not None and match is not None:
        places, values = anchors.of(number)
        for rows in _orders(len(own.rows), own.candidate_shape[0], others):
            for channels in _orders(own.channels.shape[1], own.candidate_shape[1] // own.taps, others):
                plain = replace(
                    own,
                    rows=rows,
                    channels=np.broadcast_to(channels, own.channels.shape),
                    row_scales=np.ones(own.row_scales.shape),
                    channel_scales=np.ones(own.channel_scales.shape),
                )
                at, factors = plain.sources(places)
                found = np.where(at >= 0, match.slot.values(np.maximum(at, 0)) * factors, np.nan)
                there = np.isfinite(found)
                z = agreement(found[there], values[there])
                if best is None or z > best[0]:
                    best = z, plain
    if best is None or match is None:
        matches[number] = None
        return AlignedWeights(matches, aligned.weights.live, None, orders=others)
    matches[number] = replace(match, agreement=best[0])
    return AlignedWeights(matches, aligned.weights.live, None, orders={**others, number: best[1]})


def _orders(count: int, candidates: int, others: dict[int, MatrixAlignment]) -> list[Positions]:
    """Orders of so many channels that other layers found, each once; the same order last."""
    found: list[Positions] = []
    for order in others.values():
        for one, size in (
            (order.rows, order.candidate_shape[0]),
            (order.channels[0], order.candidate_shape[1] // order.taps),
        ):
            if one.size == count and size == candidates and not any(np.array_equal(one, each) for each in found):
                found.append(one)
    same = np.arange(count, dtype=np.int64)
    if count <= candidates and not any(np.array_equal(same, each) for each in found):
        found.append(same)
    return found[:_MOST]
