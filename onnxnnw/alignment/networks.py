"""All weights of two networks -> which is which, and in each which channel is which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.agreeing import in_agreement
from onnxnnw.alignment.likeness import Likeness, can_correspond
from onnxnnw.alignment.matrices import MatrixAlignment, align_matrices
from onnxnnw.alignment.search import GOOD, Start
from onnxnnw.alignment.weights import Weight

__all__ = ["NetworkAlignment", "SlotAlignment", "align_networks"]

_TRIED = 4
"""Weights of a candidate that each of the reference's is held against where no name helps and none agrees well."""

_ORDERS = 8
"""Orders of one length that are tried where a weight says little of its own."""

_FOUND = 0.2
"""Below this score a pair is left to others: nothing corresponds."""


@dataclass(frozen=True, eq=False)
class SlotAlignment:
    """A reference weight and its counterpart.

    Attributes:
        candidate: Number of the candidate's weight.
        matrix: Which row and channel is which.
    """

    candidate: int
    matrix: MatrixAlignment

    @property
    def score(self) -> float:
        """Of the alignment, 0 to 1."""
        return self.matrix.score


@dataclass(frozen=True, eq=False)
class NetworkAlignment:
    """Two networks.

    Attributes:
        slots: For each reference weight its counterpart, or None.
        sizes: Elements of each reference weight.
    """

    slots: tuple[SlotAlignment | None, ...]
    sizes: tuple[int, ...]

    @property
    def matched(self) -> float:
        """Share of the reference's elements that have a counterpart."""
        found = sum(one.matrix.matched * n for one, n in zip(self.slots, self.sizes, strict=True) if one is not None)
        return found / max(1, sum(self.sizes))

    @property
    def score(self) -> float:
        """Mean score, by elements."""
        found = sum(one.score * n for one, n in zip(self.slots, self.sizes, strict=True) if one is not None)
        return found / max(1, sum(self.sizes))


def align_networks(reference: Sequence[Weight], candidate: Sequence[Weight]) -> NetworkAlignment:
    """Find each weight of one network in another, and its rows and channels there.

    Weights are read when it is their turn, one pair at a time. Names are tried first; where they say nothing, the likest
    weights are, and the alignment's own score decides.

    Args:
        reference: Weights with whatever must not influence the result taken out.
        candidate: All weights that may be meant.
    """
    pairs = _Pairs(reference, candidate)
    for number in range(len(reference)):
        pairs.by_name(number)
    for number in sorted(range(len(reference)), key=lambda number: -reference[number].size):
        pairs.by_content(number)
    slots = pairs.by_neighbours(pairs.chosen())
    agreed = in_agreement(reference, candidate, [None if one is None else (one.candidate, one.matrix) for one in slots])
    slots = tuple(
        None if one is None or matrix is None else SlotAlignment(one.candidate, matrix)
        for one, matrix in zip(slots, agreed, strict=True)
    )
    return NetworkAlignment(slots, tuple(weight.size for weight in reference))


class _Pairs:
    """Pairs of weights that were held together."""

    def __init__(self, reference: Sequence[Weight], candidate: Sequence[Weight]) -> None:
        self.reference, self.candidate = reference, candidate
        self.likeness = Likeness()
        self.tried: dict[tuple[int, int], MatrixAlignment] = {}
        self.settled: dict[int, int] = {}
        names: dict[str, int] = {}
        for index, weight in enumerate(candidate):
            names.setdefault(weight.name, index)
        self.names = names

    def align(self, number: int, other: int, starts: Sequence[Start] = ()) -> MatrixAlignment:
        """Hold two weights together."""
        if (number, other) not in self.tried:
            ours, theirs = self.reference[number], self.candidate[other]
            self.tried[number, other] = align_matrices(
                ours.read(), theirs.read(), ours.taps, ours.groups, theirs.groups, starts
            )
        return self.tried[number, other]

    def by_name(self, number: int) -> None:
        """Take the namesake where it agrees well."""
        ours = self.reference[number]
        other = self.names.get(ours.name)
        if other is None or not can_correspond(ours, self.candidate[other]):
            return
        if _agrees(self.align(number, other)):
            self.settled[number] = other

    def by_content(self, number: int) -> None:
        """Hold a weight against the likest of those that are free, until one agrees well."""
        if number in self.settled:
            return
        free = sorted(set(range(len(self.candidate))) - set(self.settled.values()))
        ranked = self.likeness.ranked(self.reference[number], [self.candidate[index] for index in free])
        for place in ranked[:_TRIED]:
            if _agrees(self.align(number, free[place])):
                self.settled[number] = free[place]
                return

    def by_neighbours(self, slots: Sequence[SlotAlignment | None]) -> tuple[SlotAlignment | None, ...]:
        """Try the orders of weights that agree well on those that do not: what one makes another reads, in one order.

        Depthwise, tiny and coarsely quantised weights say little of their own order. What agrees best decides.
        """
        known = _Orders([one.matrix for one in slots if one is not None and _agrees(one.matrix)])
        out = list(slots)
        for number, one in enumerate(slots):
            if one is None or _agrees(one.matrix):
                continue
            ours, theirs = self.reference[number], self.candidate[one.candidate]
            starts = known.of(ours, theirs)
            if starts:
                again = align_matrices(ours.read(), theirs.read(), ours.taps, ours.groups, theirs.groups, starts)
                if again.score > one.score:
                    out[number] = SlotAlignment(one.candidate, again)
        return tuple(out)

    def chosen(self) -> tuple[SlotAlignment | None, ...]:
        """Every weight with its best, each of the candidate's once."""
        out: list[SlotAlignment | None] = [None] * len(self.reference)
        taken = set(self.settled.values())
        for number, other in self.settled.items():
            out[number] = SlotAlignment(other, self.tried[number, other])
        rest = [
            (m.score * m.matched, n, o) for (n, o), m in self.tried.items() if n not in self.settled and o not in taken
        ]
        for score, number, other in sorted(rest, key=lambda one: (-one[0], one[1:])):
            if out[number] is None and other not in taken and score > _FOUND:
                out[number] = SlotAlignment(other, self.tried[number, other])
                taken.add(other)
        return tuple(out)


def _agrees(matrix: MatrixAlignment) -> bool:
    """Whether it is found: no other weight and no other order need be tried."""
    return matrix.score > GOOD or matrix.clear


class _Orders:
    """Orders that were found, by how many channels they put in order and how many there are to choose from."""

    def __init__(self, matrices: Sequence[MatrixAlignment]) -> None:
        self.known: dict[tuple[int, int], list[NDArray[np.int64]]] = {}
        for matrix in matrices:
            rows, row_size = matrix.candidate_shape
            self._keep(matrix.rows, rows)
            if len(matrix.channels) == 1:
                self._keep(matrix.channels[0], row_size // matrix.taps)

    def _keep(self, order: NDArray[np.int64], choice: int) -> None:
        several = self.known.setdefault((order.size, choice), [])
        if len(several) < _ORDERS and not any(np.array_equal(order, each) for each in several):
            several.append(order)

    def of(self, ours: Weight, theirs: Weight) -> list[Start]:
        """Where the search for one weight in another may begin."""
        rows = self.known.get((ours.rows, theirs.rows), [])
        channels = self.known.get((ours.channels, theirs.channels), []) if ours.channels > 1 else []
        return [*(Start(rows=order) for order in rows), *(Start(channels=order) for order in channels)]
