"""Tests of association between read and expected values: watermarks, fingerprints, and the standard's own."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.statistics.tails import (
    log10_normal_tail,
    log10_two_sided,
)

__all__ = [
    "Association",
    "Correlations",
    "associate_fingerprint",
    "associate_watermark",
    "beside_ancestor",
    "correlations",
    "correlations_of_groups",
    "pearson",
    "standardise",
]

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

CLIP = 3.0
MIN_CENTRED = 4


@dataclass(frozen=True)
class Association:
    """The association of read and expected values: p-value and effect size.

    Attributes:
        log10_p: One-sided.
        effect: Correlation within slots, -1 … 1.
        read: Number of values that took part.
    """

    log10_p: float
    effect: float
    read: int


@dataclass(frozen=True)
class Correlations:
    """The standard's own decision values, pooled over all slots and two-sided: nominal, see docs/reference/statistics.md.

    Attributes:
        spearman, pearson: Correlation coefficients; 0 where undefined.
        log10_p: Of Spearman's rho, two-sided, by Student's t.
    """

    spearman: float
    pearson: float
    log10_p: float

    def retrieved(self, significance: float) -> bool:
        """The standard's rule: a positive, significant (two-sided) correlation [NNW-TEC 3, "Rho Spearman Value"]."""
        return self.spearman > 0 and self.log10_p < math.log10(significance)


def standardise(values: Floats, groups: Groups) -> Floats:
    """Values centred, scaled and clipped to ±3 within their slot.

    Args:
        values: Finite values.
        groups: Slot number of each value.

    A slot with fewer than 4 values is not centred; one without spread gives zeros.
    """
    if not values.size:
        return values
    count = np.bincount(groups)
    largest = np.zeros(count.size)
    np.maximum.at(largest, groups, np.abs(values))
    scaled = values / np.where(largest > 0, largest, 1)[groups]  # squares of 1e300 would overflow
    mean = np.bincount(groups, scaled) / np.maximum(count, 1)
    mean[count < MIN_CENTRED] = 0
    centred = scaled - mean[groups]
    deviation = np.sqrt(np.bincount(groups, centred**2) / np.maximum(count, 1))
    negligible = deviation <= 1e-12 * np.abs(mean)  # rounding of the mean of equal values is not a spread
    deviation[negligible] = 0
    spread = deviation[groups]
    return np.clip(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0), -CLIP, CLIP)


def associate_watermark(values: Floats, expected: Floats, groups: Groups) -> Association:
    """The strict test of a watermark.

    H0: the candidate was made without this key and without a network that carries the mark. Then ``expected`` (standard
    normal, re-derived from the key) is independent of everything that can be read, so T is standard normal whatever the
    candidate is: heavy tails, pruned, two bits, adaptive adversary.

    Args:
        values: What was read; NaN or infinite values are left out.
        expected: What the key says, standard normal.
        groups: Slot number of each value.
    """
    usable = np.isfinite(values)
    values, expected, groups = values[usable], expected[usable], groups[usable]
    scores = standardise(values, groups)
    power = float(scores @ scores)
    if power == 0:
        return Association(0.0, 0.0, int(values.size))
    product = float(scores @ expected)
    effect = product / math.sqrt(power * float(expected @ expected))
    return Association(log10_normal_tail(product / math.sqrt(power)), effect, int(values.size))


def associate_fingerprint(values: Floats, enrolled: Floats, groups: Groups, rows: Groups) -> Association:
    """The strict test of a fingerprint, after shared structure was taken out of both sides by control reads.

    Args:
        values, enrolled: Control-corrected values in the candidate and at enrolment; non-finite ones are left out.
        groups: Slot number of each value.
        rows: Number of the out-row of each value; taps of one kernel are not independent, so rows are what is counted.
    """
    usable = np.isfinite(values) & np.isfinite(enrolled)
    values, enrolled, groups, rows = values[usable], enrolled[usable], groups[usable], rows[usable]
    left, right = standardise(values, groups), standardise(enrolled, groups)
    power = float(left @ left) * float(right @ right)
    if power == 0:
        return Association(0.0, 0.0, int(values.size))
    products = left * right
    total = float(products.sum())
    effect = total / math.sqrt(power)
    _, row = np.unique(rows, return_inverse=True)
    size = np.bincount(row)
    if size.size < 2:
        return Association(0.0, effect, int(values.size))
    spread = float(((np.bincount(row, products) - size * (total / products.size)) ** 2).sum())
    spread *= size.size / (size.size - 1)
    by_row = total / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, total)
    t = min(effect * math.sqrt(products.size), by_row)
    return Association(log10_normal_tail(t), effect, int(values.size))


def beside_ancestor(found: Floats, enrolled: Floats, ancestor: Floats, groups: Groups) -> tuple[Floats, Floats]:
    """What candidate and enrolled network have besides an ancestor: within each slot, the difference, less what goes along with it.

    Trainings that only shrink the values of one ancestor would agree otherwise.

    Args:
        found, enrolled, ancestor: (N,), what stands at the same positions in each; NaN where nothing was read.
        groups: (N,), number of the slot.

    Returns:
        Both sides; NaN in a slot of fewer than 4 reads.
    """
    found, enrolled = found - ancestor, enrolled - ancestor
    for slot in np.unique(groups):
        chosen = (groups == slot) & np.isfinite(found) & np.isfinite(enrolled)
        if chosen.sum() < MIN_CENTRED:
            found[groups == slot] = np.nan
            continue
        direction = ancestor[chosen] - ancestor[chosen].mean()
        power = float(direction @ direction)
        if power > 0:
            for side in (found, enrolled):
                side[chosen] -= float(side[chosen] @ direction) / power * direction
    return found, enrolled


def correlations(values: Floats, expected: Floats) -> Correlations:
    """Pearson and Spearman correlation over all values, as the standard computes them [NNW-TEC 7.2.3]."""
    usable = np.isfinite(values) & np.isfinite(expected)
    values, expected = values[usable], expected[usable]
    rho = pearson(_ranks(values), _ranks(expected))
    return Correlations(rho, pearson(values, expected), log10_two_sided(rho, values.size))


def pearson(left: Floats, right: Floats) -> float:
    """Pearson's correlation of finite values; 0 where it is undefined."""
    if left.size < 2:
        return 0.0
    left = left / (np.abs(left).max() or 1)
    right = right / (np.abs(right).max() or 1)
    left, right = left - left.mean(), right - right.mean()
    power = float(left @ left) * float(right @ right)
    return max(-1.0, min(1.0, float(left @ right) / math.sqrt(power))) if power > 0 else 0.0


_NO_SPREAD = 1e-9
"""Deviations below this share of a mean may be rounding, which correlates with anything."""


def correlations_of_groups(left: Floats, right: Floats, groups: Groups) -> Floats:
    """Pearson's correlation within each group, up to rounding; NaN where that would decide it.

    Args:
        left, right: Finite values.
        groups: Number of the group of each pair.
    """
    count = np.bincount(groups)
    sides, spreads = [], []
    with np.errstate(all="ignore"):
        for values in (left, right):
            largest = np.zeros(count.size)
            np.maximum.at(largest, groups, np.abs(values))
            scaled = values / largest[groups]
            mean = np.bincount(groups, scaled) / count
            sides.append(scaled - mean[groups])
            spread = np.sqrt(np.bincount(groups, sides[-1] ** 2))
            spreads.append(np.where(spread > _NO_SPREAD, spread, np.nan))
        r: Floats = np.bincount(groups, sides[0] * sides[1]) / (spreads[0] * spreads[1])
    return r


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties shared."""
    order = np.argsort(values)
    ascending = values[order]
    if (ascending[1:] != ascending[:-1]).all():
        ranks = np.empty(values.size)
        ranks[order] = np.arange(1, values.size + 1)
        return ranks
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[inverse].astype(np.float64)
