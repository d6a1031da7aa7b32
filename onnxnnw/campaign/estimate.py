"""Estimates of a campaign's time and storage: from its own steps, from similar earlier steps, or from usual values."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from onnxnnw.campaign.cache import Cache, CachedStep
from onnxnnw.campaign.step import Step, Work
from onnxnnw.campaign.trial import Plan

__all__ = ["Estimate", "Rates", "estimate"]

USUAL_S = 60.0
"""Seconds of steps that take as long as expected, which stand beside the first ones: what these took says little of the others."""


class Rates:
    """Seconds per unit of work: medians of what was measured, those of steps that are done now before earlier ones.

    Steps of which none was done now are expected to be faster or slower than before, or than usual, as others of their kind
    are now, or as all are together.
    """

    def __init__(self, entries: Iterable[CachedStep]) -> None:
        found = defaultdict(list)
        for entry in entries:
            if entry.amount > 0:
                found[entry.unit].append(entry.seconds / entry.amount)
        self._measured = {unit: statistics.median(rates) for unit, rates in found.items()}
        self._taken: dict[str, list[float]] = defaultdict(list)
        self._now: dict[str, float] = {}
        self._sums: dict[str, tuple[float, float]] = {}

    def learn(self, step: Step, seconds: float) -> None:
        """Record what a step of this run took."""
        work = step.work()
        if work.amount <= 0:
            return
        self._taken[work.unit].append(seconds / work.amount)
        self._now[work.unit] = statistics.median(self._taken[work.unit])
        for group in (step.kind, ""):
            took, expected = self._sums.get(group, (0.0, 0.0))
            self._sums[group] = took + seconds, expected + self._before(work)

    def seconds(self, step: Step) -> float:
        """What a step is expected to take on one core."""
        work = step.work()
        if work.unit in self._now:
            return work.amount * self._now[work.unit]
        return self._before(work) * self._pace(step.kind)

    def _before(self, work: Work) -> float:
        """The expected duration before this run measured any step."""
        return work.amount * self._measured.get(work.unit, work.usual)

    def _pace(self, kind: str) -> float:
        """How much slower than expected this run's steps are."""
        took, expected = self._sums.get(kind, (0.0, 0.0))
        if expected > 0:
            return took / expected
        took, expected = self._sums.get("", (0.0, 0.0))
        return (took + USUAL_S) / (expected + USUAL_S)

    def measured(self, step: Step) -> bool:
        """Whether that rests on a measurement."""
        return step.work().unit in self._measured


@dataclass(frozen=True)
class Estimate:
    """What a campaign is expected to take.

    Attributes:
        trials, steps: How many.
        done: Steps that are done already.
        seconds: Of the others, on one core.
        bytes: Of the others' files.
        measured: Share of the seconds that rests on measurements.
        by_kind: Kind -> (steps left, seconds).
        precision: What its trainings compute in.
    """

    trials: int
    steps: int
    done: int
    seconds: float
    bytes: float
    measured: float
    by_kind: dict[str, tuple[int, float]]
    precision: str


def estimate(plan: Plan, cache: Cache) -> Estimate:
    """What is left of a plan."""
    rates = Rates(cache.entries())
    left = [step for step in plan.steps if not cache.has(step.address)]
    seconds = sum(rates.seconds(step) for step in left)
    known = sum(rates.seconds(step) for step in left if rates.measured(step))
    kinds: dict[str, tuple[int, float]] = {}
    for step in left:
        count, spent = kinds.get(step.kind, (0, 0.0))
        kinds[step.kind] = (count + 1, spent + rates.seconds(step))
    size = sum(step.work().bytes for step in left)
    share = known / seconds if seconds else 1.0
    done = len(plan.steps) - len(left)
    return Estimate(len(plan.trials), len(plan.steps), done, seconds, size, share, kinds, plan.precision.value)
