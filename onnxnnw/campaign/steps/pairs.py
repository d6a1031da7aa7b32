"""Time and memory of a method, from interleaved trainings with and without its mark, each in a process of its own."""

import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from onnxnnw.campaign.step import NETWORK, Outcome, Place, Step, Work
from onnxnnw.campaign.steps.evaluated_network import NetworkSetup
from onnxnnw.campaign.steps.trajectories import InsertStep, Settings, TemplateStep, TrainingPlan, TrainStep
from onnxnnw.errors import CannotLook

__all__ = ["PAIRED", "PairsStep"]

_SIDES = ("seconds_per_batch", "peak_memory_bytes")
PAIRED = (
    "pairs",
    "increase_percent",
    "increase_low",
    "increase_high",
    *_SIDES,
    *(f"unmarked_{name}" for name in _SIDES),
)
"""What trials have of them."""


@dataclass(frozen=True)
class PairsStep(Step):
    """Cost of a mark per batch from interleaved pairs of trainings, so that other load falls on both alike.

    Each pair trains the same network for one epoch of so many batches, once with the mark and once without, the order
    changing from pair to pair. The increase is the median of the pairs' quotients.

    Attributes:
        start: The network that is trained on; None begins with initial weights.
        batches: Of each training.
        repeats: Pairs.
    """

    setup: NetworkSetup
    template: TemplateStep
    schedule: TrainingPlan
    seed: int
    start: Step | None
    method: str
    parameters: Settings
    batches: int
    repeats: int

    kind: ClassVar[str] = "time pairs"

    @property
    def title(self) -> str:
        return f"time {self.repeats} pairs of {self.setup.network} with {self.method} and without"

    def run(self, place: Place) -> Outcome:
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        both = self._both(place)
        found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for number in range(self.repeats):
            for marked in (True, False) if number % 2 == 0 else (False, True):
                with context.Pool(1) as pool:  # a process of its own, for its memory's sake too
                    found[marked].append(pool.apply(_cost, (both[marked], place)))
        if not all(cost.get("seconds_per_batch") for side in found.values() for cost in side):
            raise CannotLook("no batch was trained that could be timed")
        pairs = list(zip(found[True], found[False], strict=True))
        increases = [100 * (one["seconds_per_batch"] / other["seconds_per_batch"] - 1) for one, other in pairs]
        cost: dict[str, Any] = {"pairs": self.repeats, "increase_percent": statistics.median(increases)}
        cost |= {"increase_low": min(increases), "increase_high": max(increases)}
        for marked, name in ((True, ""), (False, "unmarked_")):
            for key in _SIDES:
                values = [side[key] for side in found[marked] if side.get(key) is not None]
                if values:
                    cost[name + key] = statistics.median(values)
        return Outcome({}, cost)

    def work(self) -> Work:
        unit = f"train {self.setup.network} {self.setup.size} {self.setup.precision}"
        return Work(unit, 2 * self.repeats * self.batches * 128, 1.2 * self.setup.assumed().train)

    def _both(self, place: Place) -> dict[bool, Step]:
        """The two trainings, of one epoch of as many batches."""
        batch = self.schedule.recipe(self.setup.architecture(place)).batch
        setup, schedule = replace(self.setup, training=self.batches * batch), replace(self.schedule, epochs=1)
        label = f"pairs/{self.method}"
        marked = InsertStep(setup, self.template, schedule, self.seed, self.start, self.method, self.parameters, label)
        return {True: marked, False: TrainStep(setup, self.template, schedule, self.seed, 1, start=self.start)}


def _cost(step: Step, place: Place) -> dict[str, Any]:
    """Measure the cost of one training; its results are not kept."""
    with tempfile.TemporaryDirectory(dir=place.folder) as folder:
        cost = dict(step.run(replace(place, folder=Path(folder))).cost)
        assert (Path(folder) / NETWORK).exists()
        return cost
