"""A sketch of a weight that no order, positive scale or sign of its rows and channels changes: singular values once balanced.

It tells that a network may be a known one in disguise, without the known one at hand. It proves nothing: anybody can build a
matrix with given singular values, and spectra of large weights resemble each other. So a weight has a sketch only where its own
entries, shuffled, would have another one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.balance import balanced, in_channels
from onnxnnw.alignment.weights import Weight

__all__ = ["LEVELS", "NEAR", "TOLERANCE", "Sketches", "agreeing_sketches", "sketch_of", "sketches_of"]

Floats = NDArray[np.float32]

LEVELS = 64
"""Quantiles of singular values that are kept."""

TOLERANCE = 0.005
"""Root mean square between sketches of one weight, at most: 8 bits move them by .002 to .005."""

SEPARATE = 4.0
"""Sketches of a weight's shuffled entries lie so many tolerances away, or it has none."""

NEAR = SEPARATE * TOLERANCE
"""A sketch within this is nearer than its weight's shuffled entries: 20 to 30 % pruned, 4 to 6 bits, noise of .1 deviations."""

_SHUFFLES = 8
_SMALLEST, _LARGEST = 2**9, 2**18
_NARROWEST, _WIDEST = 8, 512
_MOST = 16
_EFFORT = 6e8
"""Multiplications for all sketches of a network: half a second."""


@dataclass(frozen=True)
class Sketches:
    """Of some weights of a network.

    Attributes:
        slots: Which weights.
        values: (weights, levels).
    """

    slots: tuple[int, ...]
    values: Floats


def sketch_of(array: NDArray[np.floating], taps: int) -> Floats:
    """Quantiles of the singular values of a balanced weight, of root mean square 1.

    Args:
        array: (rows, row_size).
        taps: Elements of a row that read one channel.
    """
    cube = balanced(in_channels(array, taps)).values
    matrix = cube.reshape(len(cube), -1)
    gram = (matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix).astype(np.float64)
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(np.nan_to_num(gram)), 0))  # ascending
    values /= max(math.sqrt(float(np.mean(values**2))), 1e-30)
    at = (np.arange(LEVELS) + 0.5) / LEVELS * values.size - 0.5
    return np.interp(at, np.arange(values.size), values).astype(np.float32)


def distance(ours: Floats, theirs: Floats) -> float:
    """Root mean square of the difference."""
    return float(np.sqrt(np.mean(np.square(ours.astype(np.float64) - theirs))))


def can_be_sketched(weight: Weight) -> bool:
    """Whether a weight is neither too small to tell anything nor too large to be looked at."""
    narrow = min(weight.rows, weight.row_size)
    return weight.kind == "product" and _SMALLEST <= weight.size <= _LARGEST and _NARROWEST <= narrow <= _WIDEST


def sketches_of(weights: Sequence[Weight]) -> Sketches:
    """Sketches of a few weights that differ from the sketch of their own shuffled entries; in bounded time."""
    rng = np.random.default_rng(0)  # no secret: it only decides whether a sketch says anything
    slots: list[int] = []
    values: list[Floats] = []
    left = _EFFORT
    usable = [number for number, weight in enumerate(weights) if can_be_sketched(weight)]
    for number in sorted(usable, key=lambda number: (_effort(weights[number]), number)):
        weight = weights[number]
        left -= _effort(weight)
        if left < 0 or len(slots) == _MOST:
            break
        array = weight.read()
        own = sketch_of(array, weight.taps)
        if all(
            distance(own, sketch_of(rng.permutation(array.reshape(-1)).reshape(array.shape), weight.taps))
            >= SEPARATE * TOLERANCE
            for _ in range(_SHUFFLES)
        ):
            slots.append(number)
            values.append(own)
    order = np.argsort(slots)
    return Sketches(
        tuple(slots[n] for n in order), np.array([values[n] for n in order], np.float32).reshape(-1, LEVELS)
    )


def _effort(weight: Weight) -> float:
    narrow = min(weight.rows, weight.row_size)
    return (1 + _SHUFFLES) * float(weight.size * (30 + narrow / 8) + 2 * narrow**3)


def agreeing_sketches(
    kept: Sketches,
    shapes: Sequence[tuple[int, int]],
    weights: Sequence[Weight],
    at_hand: dict[int, Floats],
    tolerance: float = TOLERANCE,
) -> int:
    """How many of the kept sketches a network has, each of its weights standing for one of them at most.

    Args:
        shapes: Rows and row size of each kept sketch's weight.
        weights: Those of a candidate, in any order.
        at_hand: Sketches of these weights by their number, made for records before; more are added.
        tolerance: Root mean square between two that count as one, at most.
    """
    wanted = set(shapes)
    known: dict[int, Floats] = {}
    for number, weight in enumerate(weights):
        if (weight.rows, weight.row_size) in wanted and can_be_sketched(weight) and len(known) < 4 * _MOST:
            if number not in at_hand:
                at_hand[number] = sketch_of(weight.read(), weight.taps)
            known[number] = at_hand[number]
    if not known:
        return 0
    theirs = np.array(list(known.values()), np.float64)
    off = np.sqrt(np.mean(np.square(kept.values.astype(np.float64)[:, None] - theirs), axis=2))  # (kept, known)
    near = ((float(off[place, at]), place, list(known)[at]) for place, at in np.argwhere(off <= tolerance).tolist())
    pairs = sorted(one for one in near if (weights[one[2]].rows, weights[one[2]].row_size) == shapes[one[1]])
    places, numbers = set[int](), set[int]()
    for _, place, number in pairs:
        if place not in places and number not in numbers:
            places.add(place)
            numbers.add(number)
    return len(places)
