"""The test of a mark that was added to weights; the host (the original weights) is cancelled first."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxnnw.statistics.association import CLIP, MIN_CENTRED, Association, standardise
from onnxnnw.statistics.tails import log10_normal_tail, log10_of_either

__all__ = ["HostCancelled", "associate_added", "associate_signs"]

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

POOLED_READS = 8
"""Reads of a slot from which on its slope counts among the others'."""

PRIOR_READS = 4.0
"""A slot's slope is shrunk towards the pooled one as if so many reads had said it."""

ROUNDING = 1e-3
"""A residual below this share of what was added is rounding, and tells nothing."""


@dataclass(frozen=True)
class HostCancelled:
    """What is left of a candidate's values once the host is taken out of them, and what the mark has to do with that.

    Attributes:
        association: Of the residuals with what the key says.
        residuals: Standardised and clipped residual of each value; 0 where it tells nothing, NaN where nothing was read.
        raw_residuals: In the unit of the host; NaN where nothing was read.
        host_effect: Correlation of what was read with the host, within slots: how much the candidate is that network.
        expected_effect: The effect that the mark would show here, were it in: pooled over slots, at most 1.
    """

    association: Association
    residuals: Floats
    raw_residuals: Floats
    host_effect: float
    expected_effect: float

    @property
    def host_agrees(self) -> bool:
        """Whether the candidate holds the host's values, with the mark or without it."""
        return self.host_effect >= 0.25 and self.host_effect * math.sqrt(self.association.read) > 5

    @property
    def only_rounding(self) -> bool:
        """Whether what is left is too small to be the mark."""
        return bool((self.residuals[np.isfinite(self.residuals)] == 0).all())


def associate_added(values: Floats, host: Floats, expected: Floats, groups: Groups, added: Floats) -> HostCancelled:
    """The strict test of an added watermark.

    Per slot, values are fitted by the host: slope a = (S_hx + 4 v a0) / (S_hh + 4 v), shrunk towards the pooled slope a0. The
    residual is centred (4 reads and more), divided by its root mean square, clipped to ±3 and correlated with the key's numbers.
    All that is a function of candidate and host; given both, the key's numbers are still free under H0, so T is standard normal.

    Args:
        values: What was read; NaN or infinite values are left out.
        host: The weights before the mark was added, finite.
        expected: What the key says, standard normal.
        groups: Slot number of each value.
        added: Standard deviation of what was added to each value.
    """
    usable = np.isfinite(values)
    residuals, raw = np.full(values.size, np.nan), np.full(values.size, np.nan)
    x, h, z, k, w = values[usable], host[usable], expected[usable], groups[usable], added[usable]
    if not x.size:
        return HostCancelled(Association(0.0, 0.0, 0), residuals, raw, 0.0, 0.0)
    count = np.bincount(k).astype(np.float64)
    unit_x, unit_h = _largest(x, k, count.size), _largest(h, k, count.size)
    x, h = x / unit_x[k], h / unit_h[k]  # squares of 1e300 would overflow
    several = np.maximum(count, 1)
    mean_x, mean_h = np.bincount(k, x) / several, np.bincount(k, h) / several
    centred_x, centred_h = x - mean_x[k], h - mean_h[k]
    s_hh, s_hx = np.bincount(k, centred_h**2), np.bincount(k, centred_h * centred_x)
    with np.errstate(all="ignore"):
        to_real = unit_x / unit_h
        slopes = s_hx / s_hh * to_real
        pooled = _pooled(slopes, count)
        variance = s_hh / several
        shrunk = (s_hx + PRIOR_READS * variance * pooled / to_real) / (s_hh + PRIOR_READS * variance)
        slope = np.where(s_hh > 0, shrunk, pooled / to_real)
        few = count < MIN_CENTRED
        slope = np.where(few, pooled / to_real, slope)
        slope = np.where(np.isfinite(slope), slope, 0.0)
        left = x - slope[k] * h
        left -= np.where(few, 0.0, np.bincount(k, left) / several)[k]
        spread = np.sqrt(np.bincount(k, left**2) / several)
        mark = np.abs(slope) * np.sqrt(np.bincount(k, (w / unit_h[k]) ** 2) / several)
        silent = (spread < ROUNDING * mark) | (spread <= 1e-12) | ~np.isfinite(spread)
        spread[silent] = 1.0
        score = np.where(silent[k], 0.0, np.clip(left / spread[k], -CLIP, CLIP))
        raw[usable] = left * unit_x[k] / np.where(slope * to_real == 0, 1.0, slope * to_real)[k]
        shown = np.where(silent, 0.0, np.minimum(1.0, mark / spread))
    residuals[usable] = score
    power = float(score @ score)
    product = float(score @ z)
    association = Association(0.0, 0.0, int(x.size))
    if power > 0:
        effect = product / math.sqrt(power * float(z @ z))
        association = Association(log10_normal_tail(product / math.sqrt(power)), effect, int(x.size))
    heard = np.where(silent, 0.0, count)
    expected_effect = float((shown * heard).sum() / heard.sum()) if heard.sum() else 0.0
    return HostCancelled(association, residuals, raw, _correlation(x, h, k), expected_effect)


SIGNS = 3.18
"""P(sum of s e / sqrt(sum of s^2) >= t) is at most so many times the normal tail at t, for any s and free signs e."""


def associate_signs(values: Floats, host: Floats, signs: Floats, groups: Groups, added: Floats) -> HostCancelled:
    """The strict test of an added watermark of signs: as ``associate_added``, but p is a bound that holds for signs.

    A sum of signs is no normal number, and where few residuals are large its tail can lie above the normal one; never by more
    than the factor 1 / (4 Q(sqrt 2)) < 3.18 [Bentkus and Dzindzalieta, A tight Gaussian bound for weighted sums of Rademacher
    random variables, Bernoulli 21 (2015)].

    Args:
        values, host, groups, added: See ``associate_added``.
        signs: What the key says, -1 or 1 each.
    """
    found = associate_added(values, host, signs, groups, added)
    p = log10_of_either(found.association.log10_p, SIGNS)
    return replace(found, association=replace(found.association, log10_p=p))


def _largest(values: Floats, groups: Groups, size: int) -> Floats:
    """The largest magnitude in each group; 1 where all are zero."""
    out = np.zeros(size)
    np.maximum.at(out, groups, np.abs(values))
    return np.where(out > 0, out, 1.0)


def _pooled(slopes: Floats, count: Floats) -> float:
    """The median slope over the reads of all slots that have enough of them; 1 where none has."""
    chosen = np.flatnonzero((count >= POOLED_READS) & np.isfinite(slopes))
    if not chosen.size:
        return 1.0
    order = chosen[np.argsort(slopes[chosen])]
    reach = np.cumsum(count[order])
    return float(slopes[order[int(np.searchsorted(reach, reach[-1] / 2))]])


def _correlation(left: Floats, right: Floats, groups: Groups) -> float:
    one, other = standardise(left, groups), standardise(right, groups)
    power = float(one @ one) * float(other @ other)
    return float(one @ other) / math.sqrt(power) if power > 0 else 0.0
