"""Tails of distributions as log10, and how many reads an answer needs. Nothing here imports scipy."""

import math
from collections.abc import Iterable

from onnxnnw.errors import UsageError

__all__ = [
    "least_reads",
    "log10_binomial_tail",
    "log10_normal_tail",
    "log10_of_either",
    "refuse_impossible_rate",
    "required_reads",
    "required_symbols",
]


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


def log10_of_either(log10_p: float, ways: float) -> float:
    """Bonferroni correction for the best of several views: ``min(1, ways * p)``, as log10."""
    return min(0.0, log10_p + math.log10(ways))


def refuse_impossible_rate(false_positive_rate: float) -> None:
    """Refuse what is no probability.

    Raises:
        UsageError: The rate is not between 0 and 1.
    """
    if not 0 < false_positive_rate < 1:
        raise UsageError(f"a false-positive rate lies between 0 and 1, not at {false_positive_rate}")


def required_reads(false_positive_rate: float, effect: float = 0.5) -> int:
    """How many values must be read before "not traced" may be said: power 95 % at an effect (164 at 1e-6 and 0.5).

    Args:
        false_positive_rate: Of the decision.
        effect: Correlation that a mark would show, above 0.

    Raises:
        UsageError: The rate is not between 0 and 1.
    """
    from statistics import NormalDist  # here, since a verification that ends with "traced" does without it

    refuse_impossible_rate(false_positive_rate)
    quantile = -NormalDist().inv_cdf(false_positive_rate)
    return max(1, math.ceil(((quantile + 1.645) / effect) ** 2))


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


def log10_two_sided(rho: float, n: int) -> float:
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
