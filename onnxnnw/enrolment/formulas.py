"""Tables that were computed rather than trained: unrelated networks share them, so fingerprints leave them out."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.network_file.stored import Array

__all__ = ["is_formula"]

_R2, _LINES, _LENGTH, _SPAN = 0.98, 64, 32, 1024
_HUMPS, _MAGNITUDES, _ORTHOGONAL = 0.9, 16, 1e-4


def is_formula(array: Array) -> bool:
    """Whether a table was computed rather than trained.

    STFT, CQT and sinusoidal positions: every such table is predicted by a recurrence of order two along its rows or columns, median
    R2 above .998 in the ones that were measured, at most .77 in real layers. Banks of filters (mel, triangular, averaging): lines
    that rise once and fall once and are nowhere negative. Hadamard, Haar and permutation matrices: orthogonal lines of a few
    magnitudes; trained signs are not exactly orthogonal.
    """
    for lines in (array, array.T):
        if lines.shape[1] < _LENGTH:
            continue
        chosen = lines[np.linspace(0, len(lines) - 1, min(len(lines), _LINES)).astype(np.int64)].astype(np.float64)
        if _recurrence_r2(chosen[:, :_SPAN]) >= _R2 or _are_humps(chosen) or _are_signs_of_a_transform(chosen):
            return True
    return False


def _are_humps(lines: NDArray[np.float64]) -> bool:
    """Whether nearly all lines that hold anything rise once and fall once, and are nowhere negative."""
    used = lines[(lines != 0).any(1)]
    if not len(used) or (used >= 0).all(1).mean() < _HUMPS:
        return False
    steps = np.diff(used, axis=1)
    fallen = np.logical_or.accumulate(steps < 0, axis=1)
    humps = (used >= 0).all(1) & ~(fallen & (steps > 0)).any(1)
    return float(humps.mean()) >= _HUMPS


def _are_signs_of_a_transform(lines: NDArray[np.float64]) -> bool:
    """Whether lines of a few magnitudes are orthogonal."""
    if len(lines) < _LENGTH or _magnitudes(lines[0]) > _MAGNITUDES or _magnitudes(lines) > _MAGNITUDES:
        return False
    if not np.isfinite(lines).all():
        return False
    products = lines @ lines.T
    powers = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    np.fill_diagonal(products, 0)
    return bool((powers > 0).all()) and bool((np.abs(products) <= _ORTHOGONAL * powers).all())


def _magnitudes(values: NDArray[np.float64]) -> int:
    """Number of different magnitudes."""
    return int(np.unique(np.abs(values).astype(np.float32)).size)


def _recurrence_r2(chosen: NDArray[np.float64]) -> float:
    """Median R2 of predicting a value from its two predecessors in its line."""
    first, second, third = (chosen[:, k : chosen.shape[1] - 2 + k] for k in range(3))
    power = ((third - third.mean(1, keepdims=True)) ** 2).sum(1)
    aa, ab, bb = (second**2).sum(1), (second * first).sum(1), (first**2).sum(1)
    ay, by = (second * third).sum(1), (first * third).sum(1)
    with np.errstate(all="ignore"):  # least squares of two unknowns, for all lines at once
        determinant = aa * bb - ab**2
        a = np.where(determinant > 1e-12 * aa * bb, (ay * bb - by * ab) / determinant, ay / aa)
        b = np.where(determinant > 1e-12 * aa * bb, (by * aa - ay * ab) / determinant, 0)
        rest = ((third - a[:, None] * second - b[:, None] * first) ** 2).sum(1)
        scores = 1 - rest / power
    scores = scores[np.isfinite(scores)]
    return float(np.median(scores)) if scores.size else 0.0
