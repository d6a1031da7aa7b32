"""Trials in, numbers out: counts, shares with exact limits, means with Student's limits, impact and error."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from onnxnnw.report.fields import Numbers
from onnxnnw.report.trials import Detection, Trial, TrialVerdict
from onnxnnw.report.units import KEYS, Unit, by_unit

__all__ = [
    "CONFIDENCE",
    "STANDARD",
    "STRICT",
    "Counts",
    "Decision",
    "Mean",
    "Share",
    "at_most",
    "claims",
    "counts",
    "error",
    "exact_limits",
    "found",
    "impact",
    "mean",
    "relative_change",
    "share",
    "symbol_error_rate",
]

CONFIDENCE = 0.95

Kind = TypeVar("Kind", bound=Trial)
Decision = str
STANDARD: Decision = "standard"
STRICT: Decision = "strict"


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % confidence limits [NNW-NNT]; one value has none."""

    value: float
    count: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Share:
    """k of n trials, with 95 % limits that count keys (or marked networks), not trials.

    Attributes:
        units: How many different keys were asked.
    """

    hits: int
    count: int
    low: float
    high: float
    units: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.count


@dataclass(frozen=True)
class Counts:
    """A detector's answers over M (D + 1) networks, M of them unmarked [NNW-NNT]."""

    true_positives: int
    true_negatives: int
    false_positives: int
    false_negatives: int

    @property
    def networks(self) -> int:
        """M (D + 1), those that were tested."""
        return self.true_positives + self.true_negatives + self.false_positives + self.false_negatives

    @property
    def false_positive_ratio(self) -> float:
        """FP / (M (D + 1))."""
        return self.false_positives / self.networks

    @property
    def false_negative_ratio(self) -> float:
        """FN / (M (D + 1))."""
        return self.false_negatives / self.networks


def found(verdict: TrialVerdict, decision: Decision) -> bool:
    """Whether the mark is there: by the standard's decision, or by the strict one."""
    return verdict.retrieved if decision == STANDARD else verdict.traced


def counts(trials: Iterable[Detection], decision: Decision) -> Counts:
    """Count networks, not trials: a marked one by its own record, an unmarked one as FP where any record finds itself in it.

    Args:
        trials: Of one mark, one modification and one value; trials with wrong keys are left out.
    """
    kept = [trial for trial in trials if trial.key is None]
    marked = [found(trial.verdict, decision) for trial in kept if trial.truth]
    unmarked = sorted((t.model, found(t.verdict, decision)) for t in kept if not t.truth)
    accused = [any(hit for _, hit in asked) for _, asked in groupby(unmarked, key=lambda pair: pair[0])]
    return Counts(sum(marked), len(accused) - sum(accused), sum(accused), len(marked) - sum(marked))


def share(trials: Sequence[Kind], hit: Callable[[Kind], bool], unit: Unit = KEYS) -> Share | None:
    """A share with 95 % limits by key; None of nothing.

    Trials that ask one key again are no further draws. The limits are Clopper and Pearson's for as many draws as there are keys,
    or fewer where keys were asked unequally often: (sum n)² / sum n² for n trials of each [Kish 1965]. The share of so many
    is no whole number, to which they are continued. Twenty copies of one key's trials have the limits of that one key. Where
    none hit, or all, every key says so, however often it was asked.
    """
    if not trials:
        return None
    asked = [len(own) for own in by_unit(trials, unit).values()]
    hits, count = sum(map(hit, trials)), len(trials)
    draws = len(asked) if hits in (0, count) else count**2 / sum(n**2 for n in asked)
    low, high = exact_limits(hits / count * draws, draws)
    return Share(hits, count, low, high, len(asked))


def exact_limits(hits: float, count: float) -> tuple[float, float]:
    """Clopper and Pearson's 95 % limits, continued to numbers that are not whole."""
    from scipy.stats import beta

    tail, rest = (1 - CONFIDENCE) / 2, count - hits
    low = float(beta.ppf(tail, hits, rest + 1)) if hits > 1e-9 else 0.0
    low = low if low > 1e-9 else 0.0  # of a part of one hit it is smaller than anything that could be meant
    high = float(beta.ppf(1 - tail, hits + 1, rest)) if rest > 1e-9 else 1.0
    return low, high


def claims(trials: Iterable[Detection]) -> list[Detection]:
    """The trials for which a p-value is claimed."""
    return [trial for trial in trials if trial.verdict.log10_p is not None]


def at_most(level: float) -> Callable[[Detection], bool]:
    """Whether a claimed p-value is at most ``level``."""
    edge = math.log10(level) + 1e-12
    return lambda trial: trial.verdict.log10_p is not None and trial.verdict.log10_p <= edge


def mean(trials: Iterable[Kind], value: Callable[[Kind], float | None], unit: Unit = KEYS) -> Mean | None:
    """Mean with Student's 95 % limits over keys, or over trainings; None of nothing, values that are None left out.

    Trials of one key (or training) are averaged first: several of them are no further draws.
    """
    known = []
    for own in by_unit(trials, unit).values():
        values = [one for one in map(value, own) if one is not None]
        if values:
            known.append(math.fsum(values) / len(values))
    if not known:
        return None
    middle = math.fsum(known) / len(known)
    if len(known) < 2:
        return Mean(middle, 1, None, None)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(known) - 1)) * statistics.stdev(known) / math.sqrt(len(known))
    return Mean(middle, len(known), middle - half, middle + half)


def relative_change(changed: Numbers | None, before: Numbers | None, metric: str) -> float | None:
    """|changed - before| / |before| in %; None where one is not known or the denominator is 0."""
    if not changed or not before or metric not in changed or not before.get(metric):
        return None
    return abs(changed[metric] - before[metric]) / abs(before[metric]) * 100


def impact(trial: Detection, metric: str) -> float | None:
    """Impact of the mark [NNW-TEC Eq. 1, in %]: of an unmodified marked network, against its unmarked counterpart."""
    if not trial.truth or trial.modification is not None:
        return None
    return relative_change(trial.quality, trial.unmarked, metric)


def error(trial: Detection, metric: str) -> float | None:
    """Error of a modification [NNW-TEC Eq. 2, in %]: of a modified network, against the same before."""
    return None if trial.modification is None else relative_change(trial.quality, trial.unmodified, metric)


def symbol_error_rate(trial: Detection) -> float | None:
    """Differing Symbols over Symbols of the payload [NNW-NNT]; None for a method that decodes none."""
    verdict = trial.verdict
    return None if verdict.errors is None or not verdict.symbols else verdict.errors / verdict.symbols
