"""A planned trial: the fields that are known beforehand, and the steps that give the others."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from onnxnnw.campaign.cache import CachedStep
from onnxnnw.campaign.settings import Campaign
from onnxnnw.campaign.step import Step
from onnxnnw.recipes import UNSAID, Precision

__all__ = ["TRIAL_FORMAT", "Plan", "PlannedTrial", "ResultField"]

TRIAL_FORMAT = "onnxnnw/trial/1"


@dataclass(frozen=True)
class ResultField:
    """Where a field of a trial is read from: a step, and the path in its result."""

    name: str
    step: Step
    way: tuple[str | int, ...]


@dataclass(frozen=True)
class PlannedTrial:
    """One trial before its steps are done.

    Attributes:
        fields: What is settled beforehand.
        results, costs: What is read from steps.
    """

    study: str
    fields: Mapping[str, Any]
    results: tuple[ResultField, ...] = ()
    costs: tuple[ResultField, ...] = ()

    @cached_property
    def address(self) -> str:
        """SHA-256 of everything that decides the trial."""
        found = [[one.name, one.step.address, list(one.way)] for one in self.results]
        return hashlib.sha256(json.dumps([self.study, self.fields, found], sort_keys=True).encode()).hexdigest()

    def steps(self) -> Iterator[Step]:
        """The steps that it is read from."""
        for found in (*self.results, *self.costs):
            yield found.step

    def line(self, entries: Mapping[str, CachedStep], precision: Precision) -> dict[str, Any]:
        """The trial as it is written, given the finished steps by address and what their trainings computed in."""
        values = {one.name: _walk(entries[one.step.address].result, one.way) for one in self.results}
        costs = {one.name: _walk(entries[one.step.address].cost, one.way) for one in self.costs}
        environment = {}
        if self.results:
            first = self.results[0].step
            environment = {**entries[first.address].environment, "precision": precision.value}
            asked = getattr(getattr(first, "setup", None), "provider", "")
            if asked == "cpu":
                environment["provider"] = asked
        head = {"format": TRIAL_FORMAT, "trial": self.address[:16], "study": self.study}
        return {**head, **self.fields, **values, "environment": environment, "cost": costs}


def _walk(content: Any, way: tuple[str | int, ...]) -> Any:
    for part in way:
        there = content is not None and (part in content if isinstance(part, str) else part < len(content))
        if not there:
            return None
        content = content[part]
    return content


@dataclass(frozen=True)
class Plan:
    """All trials, in the order in which they are written, each once.

    Attributes:
        precision: What all trainings compute in.
    """

    campaign: Campaign
    trials: tuple[PlannedTrial, ...]
    precision: Precision = UNSAID

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All steps, inputs before what is made from them."""
        found: dict[str, Step] = {}

        def add(step: Step) -> None:
            if step.address not in found:
                for one in step.inputs:
                    add(one)
                found[step.address] = step

        for trial in self.trials:
            for step in trial.steps():
                add(step)
        return tuple(found.values())
