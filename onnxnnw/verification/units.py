"""The unit in which values are compared, their quantisation grid, and whether changes are clustered."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.matching.match import Match
from onnxnnw.records.row_factors import unit_change

Floats = NDArray[np.float64]

__all__ = ["MIN_LATTICE", "clustered", "in_best_unit", "lattice_levels", "lattice_step", "leveled", "spaced"]

MIN_LATTICE = 12

_FITS, _MIN_GROUPS = 0.25, 8
_MAX_LEVELS, _TOLERANCE = 2**17, 4e-7
_NEAR, _OFF, _PRECISE = 4.0, 0.12, 2.0**-22
_LINES = 8


def spaced(count: int) -> range:
    """A few of the channels, evenly spread."""
    step = max(1, count // _LINES)
    return range(0, min(count, step * _LINES), step)


def in_best_unit(
    match: Match, fold: Floats | None, enrolled: Floats, found: Floats, rows: NDArray[np.int64]
) -> tuple[Floats, bool]:
    """The values in the unit that fits the enrolled ones far better: with what followed the rows folded in, or without.

    Anchors in units of their rows agree either way, so they do not tell whether a normalisation is now part of the weight
    or was cut away behind it.

    Args:
        match: The slot's counterpart.
        fold: What multiplied each row at enrolment; None where nothing did.
        enrolled, found: Values, the latter in the unit that the match has chosen.
        rows: Out-row of each.

    Returns:
        Values, and whether what followed is part of them now.
    """
    if fold is None or not match.folded:
        return found, False
    own = match.slot.row_gain if not match.transposed else None
    ratio = unit_change(own, fold)
    if ratio is None or (own is not None and own.size != fold.size):
        return found, False
    with np.errstate(all="ignore"):
        stored = found / np.broadcast_to(ratio, fold.size)[rows]
    if not np.isfinite(stored).all():
        return found, False
    taken_in, as_it_was = _misfit(enrolled, found), _misfit(enrolled, stored)
    if as_it_was < _FITS * taken_in or (stored == enrolled).all():
        return stored, False
    return found, taken_in < _FITS * as_it_was


def _misfit(enrolled: Floats, found: Floats) -> float:
    """Share of the power of what was found that one factor times what was enrolled does not give."""
    with np.errstate(all="ignore"):
        power = float(enrolled @ enrolled) * float(found @ found)
        share = 1 - float(enrolled @ found) ** 2 / power if power > 0 else 1.0
    return share if math.isfinite(share) else 1.0


def leveled(match: Match, enrolled: Floats, found: Floats) -> Floats:
    """Integers with unknown scale and zero point, fitted to the enrolled values by least squares."""
    slot = match.slot
    if slot.tensor.is_float or "dequantized" in slot.constant.operations() or slot.row_gain is not None:
        return found
    centred = found - found.mean()
    power = float(centred @ centred)
    factor = float(centred @ (enrolled - enrolled.mean())) / power if power > 0 else 0.0
    return found if factor <= 0 else enrolled.mean() + factor * centred


def lattice_levels(values: NDArray[np.float64]) -> int:
    """Number of levels of the coarsest uniform quantisation grid that holds all values (to single precision); 0 without one.

    The step is the greatest common divisor of the differences, by Euclid's algorithm with a tolerance.
    """
    ordered = np.sort(values)
    distinct = ordered[np.append(True, np.diff(ordered) > 0)] if ordered.size else ordered
    span = float(distinct[-1] - distinct[0]) if distinct.size > 1 else 0.0
    scale = float(np.abs(distinct).max()) if distinct.size else 0.0
    if span <= 1e-6 * scale:
        return 0
    tolerance = _TOLERANCE * max(scale, span)
    step = span
    for difference in np.diff(distinct).tolist():
        larger, smaller = max(step, difference), min(step, difference)
        while smaller > 16 * tolerance:
            rest = larger - smaller * round(larger / smaller)
            larger, smaller = smaller, abs(rest)
        step = larger
        if span / step > _MAX_LEVELS or step < 32 * tolerance:
            return 0
    count = round(span / step)
    step = span / count  # the whole span has the smallest relative error
    off = np.abs((distinct - distinct[0]) / step - np.round((distinct - distinct[0]) / step)).max()
    return count + 1 if off < 0.05 and count < _MAX_LEVELS else 0


def lattice_step(values: NDArray[np.float64], guess: float) -> float:
    """The step of the quantisation grid of all values, given a guess within a fifth; 0 where there is none.

    Small gaps between neighbouring values are few steps each and make the step precise enough for larger ones, and so on up to
    the whole range, where a value may be a hundred thousand steps away and still is a whole number of them.
    """
    values = np.unique(values[np.isfinite(values)])
    if values.size < MIN_LATTICE or not 0 < guess < math.inf or guess < _PRECISE * float(np.abs(values).max()):
        return 0.0
    gaps = np.sort(np.diff(values))
    step, reach = guess, _NEAR
    if gaps[0] < 0.5 * guess or gaps[0] > reach * guess:
        return 0.0
    while True:
        near = gaps[gaps <= reach * step]
        counts = np.round(near / step)
        step = float(near @ counts) / float(counts @ counts)
        if reach >= gaps[-1] / step:
            break
        reach *= 2
    span = values - values[0]
    reach = float(gaps[-1]) / step
    while reach < span[-1] / step:  # the same with distances from one end, which need the step ever more precisely
        reach *= 2
        near = span[span <= reach * step]
        counts = np.round(near / step)
        step = float(near @ counts) / float(counts @ counts) if counts.any() else step
    off = span / step - np.round(span / step)
    return step if float(np.sqrt(np.mean(off**2))) < _OFF and abs(step / guess - 1) < 0.35 else 0.0


def clustered(values: Sequence[Floats], groups: Sequence[NDArray[np.int64]]) -> tuple[float, int]:
    """z of the hypothesis that values within a group (a row or an input channel) are independent.

    Args:
        values: Per slot, centred.
        groups: The group of each number.

    Returns:
        Sum of the products of all pairs within a group over its deviation under independence, and how many pairs there are.
    """
    together = variance = 0.0
    pairs = 0
    for numbers, group in zip(values, groups, strict=True):
        if not numbers.size:
            continue
        _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
        if counts.size < _MIN_GROUPS:  # one sum of very many products is nowhere near normal
            continue
        power = float(np.mean(numbers**2))
        together += float((np.bincount(inverse, numbers) ** 2 - np.bincount(inverse, numbers**2)).sum())
        ordered = int((counts * (counts - 1)).sum())
        variance += 2 * ordered * power**2
        pairs += ordered // 2
    return (together / math.sqrt(variance) if variance > 0 else 0.0), pairs
