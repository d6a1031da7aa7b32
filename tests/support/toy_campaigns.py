"""Steps that take a moment: sums of numbers, some of which fail or take their worker with them."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from onnxnnw.campaign.settings import Campaign, EvaluatedNetwork
from onnxnnw.campaign.step import Outcome, Place, Step, Work
from onnxnnw.campaign.trial import Plan, PlannedTrial, ResultField
from onnxnnw.errors import CannotLook, MissingExtra


@dataclass(frozen=True)
class Number(Step):
    """A number in a file; every run leaves a line in the log that stands outside of the cache."""

    value: int
    log: str
    dies: int = 0
    fails: bool = False

    kind: ClassVar[str] = "number"
    files: ClassVar[tuple[str, ...]] = ("number.txt",)

    def run(self, place: Place) -> Outcome:
        with Path(self.log).open("a") as file:
            file.write(f"{self.value}\n")
        if self.fails:
            raise CannotLook("this number cannot be written")
        tries = place.folder / "tries"
        before = int(tries.read_text()) if tries.exists() else 0
        tries.write_text(str(before + 1))
        if before < self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        (place.folder / "number.txt").write_text(str(self.value))
        return Outcome({"value": self.value}, {"tries": before + 1})

    def work(self) -> Work:
        return Work(self.kind)


@dataclass(frozen=True)
class Sum(Step):
    """The sum of what other steps left in their files."""

    of: tuple[Step, ...]
    log: str

    kind: ClassVar[str] = "sum"
    files: ClassVar[tuple[str, ...]] = ("number.txt",)

    def run(self, place: Place) -> Outcome:
        total = sum(int((place.input(step) / "number.txt").read_text()) for step in self.of)
        with Path(self.log).open("a") as file:
            file.write(f"sum {total}\n")
        (place.folder / "number.txt").write_text(str(total))
        return Outcome({"value": total})

    def work(self) -> Work:
        return Work(self.kind, len(self.of))


@dataclass(frozen=True)
class Lacking(Step):
    """Needs a package that is not there."""

    log: str

    kind: ClassVar[str] = "lacking"
    files: ClassVar[tuple[str, ...]] = ()

    def run(self, place: Place) -> Outcome:
        raise MissingExtra("dask", "cluster")

    def work(self) -> Work:
        return Work(self.kind)


def plan_of(*steps: Step) -> Plan:
    """One trial a step."""
    campaign = Campaign("toy", (EvaluatedNetwork("resnet8", 1),))
    trials = tuple(
        PlannedTrial("toy", {"number": n}, (ResultField("value", s, ("value",)),)) for n, s in enumerate(steps)
    )
    return Plan(campaign, trials)


@dataclass
class Told:
    """Progress that remembers."""

    sentences: list[str] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def begin(self, steps: int, done: int, seconds_left: float) -> None:
        self.sentences.append(f"{done} of {steps}")

    def started(self, step: Step) -> None:
        self.sentences.append(f"started {step.kind}")

    def finished(self, step: Step, seconds: float, seconds_left: float) -> None:
        self.left.append(seconds_left)

    def failed(self, step: Step, reason: str) -> None:
        self.failures.append(f"{step.kind}: {reason}")

    def noticed(self, sentence: str) -> None:
        self.sentences.append(sentence)
