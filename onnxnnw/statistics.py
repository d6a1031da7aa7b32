"""The probabilities behind a verdict: numbers in, numbers out; all p-values as log10.

Derivations and calibration: docs/reference/statistics.md. Nothing here imports scipy, because the fast path of ``verify`` lives
from starting quickly; the tests compare with scipy.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UsageError

__all__ = [
    "Association",
    "Correlations",
    "associate_fingerprint",
    "associate_watermark",
    "correlations",
    "least_reads",
    "log10_binomial_tail",
    "log10_normal_tail",
    "log10_of_either",
    "refuse_impossible_rate",
    "required_reads",
    "required_symbols",
    "standardise",
]

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

CLIP = 3.0
MIN_CENTRED = 4


@dataclass(frozen=True)
class Association:
    """How strongly what was read goes with what was expected.

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


def log10_normal_tail(t: float) -> float:
    """log10 of the upper tail of the standard normal distribution, accurate for any t."""
    if t < 25:
        return math.log10(0.5 * math.erfc(t / math.sqrt(2)))
    if math.isinf(t):
        return -math.inf
    series = 1 - t**-2 + 3 * t**-4 - 15 * t**-6
    return -t * t / (2 * math.log(10)) - math.log10(t * math.sqrt(2 * math.pi)) + math.log10(series)


def log10_binomial_tail(successes: int, trials: int, probability: float) -> float:
    """log10 of P(X >= successes) for X ~ Binomial(trials, probability); exact up to rounding, at any depth.

    Args:
        successes: 0 or fewer gives log10(1) = 0.
        trials: n.
        probability: Of one success, strictly between 0 and 1.
    """
    if successes <= 0:
        return 0.0
    if successes > trials:
        return -math.inf
    odds = probability / (1 - probability)
    if successes > trials * probability:
        rising = ((trials - k) / (k + 1) * odds for k in range(successes, trials))
        return min(0.0, _log_of_terms(successes, trials, probability, rising) / math.log(10))
    falling = (k / (trials - k + 1) / odds for k in range(successes - 1, 0, -1))
    return math.log1p(-math.exp(_log_of_terms(successes - 1, trials, probability, falling))) / math.log(10)


def _log_of_terms(first: int, trials: int, probability: float, ratios: Iterable[float]) -> float:
    """Natural logarithm of a sum of binomial probabilities, away from the mean, so that each is smaller than the last.

    Args:
        first: Where the sum begins.
        trials, probability: Of the distribution.
        ratios: Of each following probability to the one before, at most 1.
    """
    terms, ratio = [1.0], 1.0  # each probability over the first
    for factor in ratios:
        ratio *= factor
        terms.append(ratio)
        if ratio < 1e-25:
            break
    return (
        math.lgamma(trials + 1)
        - math.lgamma(first + 1)
        - math.lgamma(trials - first + 1)
        + first * math.log(probability)
        + (trials - first) * math.log1p(-probability)
        + math.log(math.fsum(terms))
    )


def log10_of_either(log10_p: float, ways: int) -> float:
    """The Bonferroni bound for the best of several ways to look: ``min(1, ways * p)``."""
    return min(0.0, log10_p + math.log10(ways))


def refuse_impossible_rate(false_positive_rate: float) -> None:
    """Refuse what is no probability.

    Raises:
        UsageError: The rate is not between 0 and 1.
    """
    if not 0 < false_positive_rate < 1:
        raise UsageError(f"a false-positive rate lies between 0 and 1, not at {false_positive_rate}")


def required_reads(false_positive_rate: float) -> int:
    """How many values must be read before "not traced" may be said: power 95 % at effect 0.5 (164 at 1e-6).

    Raises:
        UsageError: The rate is not between 0 and 1.
    """
    from statistics import NormalDist  # here, since a verification that ends with "traced" does without it

    refuse_impossible_rate(false_positive_rate)
    quantile = -NormalDist().inv_cdf(false_positive_rate)
    return max(1, math.ceil(((quantile + 1.645) / 0.5) ** 2))


def least_reads(false_positive_rate: float) -> int:
    """With fewer values not even an untouched mark, whose effect is 1, can be significant in one of two views (24 at 1e-6).

    Raises:
        UsageError: The rate is not between 0 and 1.
    """
    from statistics import NormalDist

    refuse_impossible_rate(false_positive_rate)
    return max(1, math.ceil(NormalDist().inv_cdf(false_positive_rate / 2) ** 2))


def required_symbols(false_positive_rate: float, by_chance: float, by_mark: float) -> int:
    """How many Symbols must be read before "not traced" may be said: 95 % power where each is right with ``by_mark``.

    Args:
        false_positive_rate: Of the decision.
        by_chance: Probability that a Symbol is right without the mark.
        by_mark: Probability that it is right where the mark is there, damaged as it may be.

    Raises:
        UsageError: The rate is not between 0 and 1.
    """
    refuse_impossible_rate(false_positive_rate)
    log10_rate, count = math.log10(false_positive_rate), 1
    while True:
        threshold = next(
            (k for k in range(count + 1) if log10_binomial_tail(k, count, by_chance) <= log10_rate), count + 1
        )
        if log10_binomial_tail(threshold, count, by_mark) >= math.log10(0.95):
            return count
        count += 1


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


def correlations(values: Floats, expected: Floats) -> Correlations:
    """Pearson and Spearman correlation over all values, as the standard computes them [NNW-TEC 7.2.3]."""
    usable = np.isfinite(values) & np.isfinite(expected)
    values, expected = values[usable], expected[usable]
    rho = _pearson(_ranks(values), _ranks(expected))
    return Correlations(rho, _pearson(values, expected), _log10_two_sided(rho, values.size))


def _pearson(left: Floats, right: Floats) -> float:
    if left.size < 2:
        return 0.0
    left = left / (np.abs(left).max() or 1)
    right = right / (np.abs(right).max() or 1)
    left, right = left - left.mean(), right - right.mean()
    power = float(left @ left) * float(right @ right)
    return max(-1.0, min(1.0, float(left @ right) / math.sqrt(power))) if power > 0 else 0.0


def _ranks(values: Floats) -> Floats:
    """Ranks from 1, ties shared."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[inverse].astype(np.float64)


def _log10_two_sided(rho: float, n: int) -> float:
    """log10 of P(\\|R\\| >= \\|rho\\|) by Student's t with n - 2 degrees of freedom."""
    freedom = n - 2
    if freedom < 1:
        return 0.0
    rest = (1 - rho) * (1 + rho)  # x = v / (v + t^2) of the incomplete beta function I_x(v/2, 1/2)
    return -math.inf if rest <= 0 else min(0.0, _log10_incomplete_beta(freedom / 2, 0.5, rest))


def _log10_incomplete_beta(a: float, b: float, x: float) -> float:
    """log10 of the regularised incomplete beta function, by Lentz's continued fraction [NIST DLMF 8.17.22]."""
    if x >= 1:
        return 0.0
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x >= (a + 1) / (a + b + 2):
        other = math.exp(front) * _beta_fraction(b, a, 1 - x) / b
        return math.log10(max(1 - other, 1e-300))
    return (front + math.log(_beta_fraction(a, b, x) / a)) / math.log(10)


def _beta_fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    out = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 + step * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + step / c
            c = c if abs(c) > tiny else tiny
            out *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return out
