"""Which weights of a candidate may be a reference's, by features that orders and scales of rows and channels leave unchanged."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.balance import balanced, in_channels
from onnxnnw.alignment.weights import Weight

__all__ = ["Likeness", "can_correspond"]

_QUANTILES = 64
_LARGEST = 1024
"""Singular values are computed of matrices with so many rows or columns at most; of others magnitudes alone."""

_MOST = 2.7
"""Channels that were added or removed change a dimension by so much at most."""


def can_correspond(ours: Weight, theirs: Weight) -> bool:
    """Whether two weights could be the same one, with channels added or removed."""
    if ours.kind != theirs.kind or ours.taps != theirs.taps or (ours.groups > 1) != (theirs.groups > 1):
        return False
    if (ours.channels == 1) != (theirs.channels == 1):
        return False
    return all(1 / _MOST <= a / b <= _MOST for a, b in ((ours.rows, theirs.rows), (ours.channels, theirs.channels)))


class Likeness:
    """Distances between weights of two networks; each is read once, when it is first asked for."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Weight, NDArray[np.float32]]] = {}

    def ranked(self, ours: Weight, theirs: Sequence[Weight]) -> list[int]:
        """The candidate's weights that can correspond: the namesake of the same shape first, then the likest."""
        possible = [number for number, weight in enumerate(theirs) if can_correspond(ours, weight)]
        if len(possible) < 2:
            return possible
        return sorted(possible, key=lambda number: (self.distance(ours, theirs[number]), number))

    def distance(self, ours: Weight, theirs: Weight) -> float:
        """Between what is kept of both, and between their shapes."""
        off = abs(np.log(ours.rows / theirs.rows)) + abs(np.log(ours.channels / theirs.channels))
        return float(np.sqrt(np.mean(np.square(self._of(ours) - self._of(theirs))))) + 0.2 * float(off)

    def _of(self, weight: Weight) -> NDArray[np.float32]:
        if id(weight) not in self._known:
            self._known[id(weight)] = weight, described(weight)
        return self._known[id(weight)][1]


def described(weight: Weight) -> NDArray[np.float32]:
    """Quantiles of magnitudes and of singular values of the balanced weight."""
    cube = balanced(in_channels(weight.read(), weight.taps)).values
    flat = np.sort(np.abs(cube), axis=None)
    levels = _levels()
    magnitudes = flat[np.minimum((levels * flat.size).astype(np.int64), flat.size - 1)]
    matrix = cube.reshape(len(cube), -1)
    if min(matrix.shape) > _LARGEST:
        return np.concatenate([magnitudes, np.zeros(_QUANTILES, np.float32)])
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0))  # ascending
    values = values / max(float(np.sqrt(np.mean(values**2))), 1e-30)
    at = levels * values.size - 0.5
    return np.concatenate([magnitudes, np.interp(at, np.arange(values.size), values).astype(np.float32)])


@lru_cache(maxsize=1)
def _levels() -> NDArray[np.float64]:
    return (np.arange(_QUANTILES) + 0.5) / _QUANTILES
