"""The tests of ``association`` for many fingerprints at once: the same numbers, up to the rounding of sums in another order."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.statistics.association import Association, Correlations, correlations, standardise
from onnxnnw.statistics.tails import log10_normal_tail, log10_two_sided

__all__ = ["Expected", "associate_fingerprints", "correlations_of_each", "ranks_of_each"]

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of many records, and what follows from it alone.

    Attributes:
        values: (R, N), finite or not.
        groups: (R, N), number of the slot of each value, over all records.
        rows: (R, N), number of the out-row of each value, over all records.
        record_of: Of which record each row is.
    """

    values: Floats
    groups: Numbers
    rows: Numbers
    record_of: Numbers

    @cached_property
    def standardised(self) -> Floats | None:
        """All values as ``standardise`` has them; None where some are not finite."""
        if not np.isfinite(self.values).all():
            return None
        return standardise(self.values.reshape(-1), self.groups.reshape(-1))


def associate_fingerprints(values: Floats, expected: Expected) -> list[Association]:
    """``association.associate_fingerprint`` of each record.

    Args:
        values: (R, N) control-corrected values in the candidate; non-finite ones are left out.
        expected: The same at enrolment.
    """
    count = len(values)
    usable = np.isfinite(values)
    right = expected.standardised if usable.all() else None
    if right is None:
        usable &= np.isfinite(expected.values)
    record = np.broadcast_to(np.arange(count)[:, None], values.shape)[usable]
    groups, rows = expected.groups[usable], expected.rows[usable]
    left = standardise(values[usable], groups)
    right = standardise(expected.values[usable], groups) if right is None else right
    powers = np.bincount(record, left * left, count) * np.bincount(record, right * right, count)
    products = left * right
    totals, reads = np.bincount(record, products, count), np.bincount(record, minlength=count)
    width = expected.record_of.size
    sums, sizes = np.bincount(rows, products, width), np.bincount(rows, minlength=width)
    means = totals / np.maximum(reads, 1)
    off = np.where(sizes > 0, np.square(sums - sizes * means[expected.record_of]), 0.0)
    spreads = np.bincount(expected.record_of, off, count)
    lines = np.bincount(expected.record_of[sizes > 0], minlength=count)
    every = zip(powers.tolist(), totals.tolist(), reads.tolist(), spreads.tolist(), lines.tolist(), strict=True)
    return [_association(*one) for one in every]


def _association(power: float, total: float, reads: int, spread: float, lines: int) -> Association:
    """One record's, from its sums."""
    if power == 0:
        return Association(0.0, 0.0, reads)
    effect = total / math.sqrt(power)
    if lines < 2:
        return Association(0.0, effect, reads)
    spread *= lines / (lines - 1)
    by_row = total / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, total)
    return Association(log10_normal_tail(min(effect * math.sqrt(reads), by_row)), effect, reads)


def correlations_of_each(
    values: Floats, expected: Floats, ranked: tuple[Floats, NDArray[np.bool_]]
) -> list[Correlations]:
    """``association.correlations`` of each record.

    Args:
        values, expected: (R, N).
        ranked: ``ranks_of_each`` of what is expected.
    """
    finite = np.isfinite(values).all(axis=1) & np.isfinite(expected).all(axis=1)
    ranks, distinct = ranks_of_each(values)
    others, others_distinct = ranked
    together = finite & distinct & others_distinct & (values.shape[1] > 1)
    rho, r = _pearson(ranks, others), _pearson(values, expected)
    tails = _log10_two_sided(rho, values.shape[1])
    out = []
    for number, plain in enumerate(together.tolist()):
        if plain:
            out.append(Correlations(float(rho[number]), float(r[number]), float(tails[number])))
        else:  # ties and gaps are rare
            out.append(correlations(values[number], expected[number]))
    return out


def ranks_of_each(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Ranks from 1 in each line; and where no two values are equal."""
    order = np.argsort(values, axis=1)
    ascending = np.take_along_axis(values, order, 1)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, np.arange(1.0, values.shape[1] + 1)[None], 1)
    return ranks, (ascending[:, 1:] != ascending[:, :-1]).all(axis=1)


def _pearson(left: Floats, right: Floats) -> Floats:
    with np.errstate(all="ignore"):
        sides = []
        for values in (left, right):
            largest = np.abs(values).max(axis=1, initial=0, keepdims=True)
            scaled = values / np.where(largest == 0, 1, largest)
            sides.append(scaled - scaled.mean(axis=1, keepdims=True))
        power = np.square(sides[0]).sum(axis=1) * np.square(sides[1]).sum(axis=1)
        r = (sides[0] * sides[1]).sum(axis=1) / np.sqrt(power)
    out: Floats = np.where(power > 0, np.clip(r, -1, 1), 0.0)
    return out


def _log10_two_sided(rho: Floats, n: int) -> Floats:
    """``tails.log10_two_sided`` of each, where it is near 0; the function itself elsewhere."""
    out = np.zeros(rho.size)
    freedom = n - 2
    if freedom < 1:
        return out
    rest = (1 - rho) * (1 + rho)
    near = rest >= (freedom / 2 + 1) / (freedom / 2 + 2.5)  # most are: such a rho says little
    for number in np.flatnonzero(~near).tolist():
        out[number] = log10_two_sided(float(rho[number]), n)
    near &= rest < 1
    a, b, x = freedom / 2, 0.5, rest[near]
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * np.log(x) + b * np.log1p(-x)
    out[near] = np.log10(np.maximum(1 - np.exp(front) * _beta_fraction(b, a, 1 - x) / b, 1e-300))
    return out


def _beta_fraction(a: float, b: float, x: Floats) -> Floats:
    """The continued fraction of ``tails`` at several places."""
    tiny = 1e-300
    c, d = np.ones(x.size), 1 / np.maximum(1 - (a + b) * x / (a + 1), tiny)
    out = d.copy()
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 + step * d
            d = 1 / np.where(np.abs(d) > tiny, d, tiny)
            c = 1 + step / c
            c = np.where(np.abs(c) > tiny, c, tiny)
            out *= c * d
        if (np.abs(c * d - 1) < 1e-15).all():
            break
    return out
