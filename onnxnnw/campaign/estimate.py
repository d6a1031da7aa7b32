"""How long a campaign takes and how much it keeps: from what steps of its kind took before, else from what is usual."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from onnxnnw.campaign.cache import Cache, Entry
from onnxnnw.campaign.step import Step
from onnxnnw.campaign.trial import Plan

__all__ = ["Estimate", "Rates", "estimate"]


class Rates:
    """Seconds per unit of work: medians of what was measured."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        found = defaultdict(list)
        for entry in entries:
            if entry.amount > 0:
                found[entry.unit].append(entry.seconds / entry.amount)
        self._measured = {unit: statistics.median(rates) for unit, rates in found.items()}

    def seconds(self, step: Step) -> float:
        """What a step is expected to take on one core."""
        work = step.work()
        return work.amount * self._measured.get(work.unit, work.usual)

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
    """

    trials: int
    steps: int
    done: int
    seconds: float
    bytes: float
    measured: float
    by_kind: dict[str, tuple[int, float]]


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
    return Estimate(len(plan.trials), len(plan.steps), len(plan.steps) - len(left), seconds, size, share, kinds)
