"""Steps that measure: quality, verdicts and costs of a network as it is or after a modification."""

import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from onnxnnw.campaign.step import NETWORK, RECORD, Outcome, Place, Step, Work
from onnxnnw.campaign.steps.evaluated_network import NetworkSetup
from onnxnnw.campaign.steps.trajectories import Settings
from onnxnnw.modifications.base import Modification, apply, find_modification
from onnxnnw.verification.named_records import named_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import examine, search, verify

__all__ = ["AppliedModification", "MeasureStep", "RecordFile", "RetrieveStep", "SearchStep", "VerifyStep", "said"]


@dataclass(frozen=True)
class AppliedModification:
    """A modification of the package with its parameters [NNW-NNT].

    Attributes:
        seed: Of everything random in it.
    """

    name: str
    parameters: Settings
    seed: int

    def modification(self, setup: NetworkSetup, place: Place) -> Modification:
        """The modification; what trains gets the campaign's network and data."""
        kind: Any = find_modification(self.name)
        context: dict[str, Any] = {"network": setup.network, "size": setup.size, "data": str(place.data)}
        context |= {"threads": setup.threads, "precision": setup.precision.value}
        own = {f.name for f in fields(kind)}
        settings = {name: value for name, value in context.items() if name in own}
        return kind(**(settings | dict(self.parameters)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class MeasureStep(Step):
    """The task's quality of a network, as it is or modified [NNW-NNT].

    Attributes:
        testing: At most so many test samples, evenly spread; 0 takes all.
    """

    setup: NetworkSetup
    candidate: Step
    change: AppliedModification | None
    testing: int

    kind: ClassVar[str] = "measure"

    @property
    def title(self) -> str:
        return f"measure {self.setup.network}{_after(self.change)}"

    def run(self, place: Place) -> Outcome:
        with _changed(self, place) as (path, seconds):
            found = self.setup.measured(path, place, self.testing)
        result = {"quality": {name: _number(value) for name, value in found.values.items()}, "samples": found.samples}
        cost = {"modify_seconds": seconds, "measure_seconds": found.seconds}
        return Outcome(result, {**cost, "inference_seconds": found.seconds / found.samples})

    def work(self) -> Work:
        assumed = self.setup.assumed()
        count = self.testing or assumed.samples[1]
        return Work(f"measure {self.setup.network} {self.setup.size}", count, assumed.run)


@dataclass(frozen=True)
class RecordFile:
    """A record that a step left.

    Attributes:
        step: The step.
        file: The record's name among its files.
    """

    step: Step
    file: str = RECORD


@dataclass(frozen=True)
class VerifyStep(Step):
    """Verdicts on a network, as it is or modified: one for each record, each as if it were the only one."""

    setup: NetworkSetup
    candidate: Step
    change: AppliedModification | None
    records: tuple[RecordFile, ...]
    rate: float

    kind: ClassVar[str] = "verify"

    @property
    def title(self) -> str:
        return f"verify {self.setup.network}{_after(self.change)} against {len(self.records)} record(s)"

    def run(self, place: Place) -> Outcome:
        verdicts, seconds = [], []
        with _changed(self, place) as (path, modify_seconds):
            for asked in self.records:
                record = named_record(place.input(asked.step) / asked.file)
                begin = time.perf_counter()
                (verdict,) = verify(path, [record], self.rate)
                seconds.append(time.perf_counter() - begin)
                verdicts.append(said(verdict))
        return Outcome({"verdicts": verdicts}, {"modify_seconds": modify_seconds, "verify_seconds": seconds})

    def work(self) -> Work:
        unit = f"verify {self.setup.network} {self.setup.size}"
        return Work(unit, len(self.records), 0.05 + 2e-8 * self.setup.assumed().parameters, 500.0 * len(self.records))


@dataclass(frozen=True)
class SearchStep(Step):
    """Find a network's record among those of others [Matching, NNW-TEC 3 and 5.3.1]."""

    setup: NetworkSetup
    candidate: Step
    records: tuple[RecordFile, ...]
    right: int
    rate: float

    kind: ClassVar[str] = "search"

    @property
    def title(self) -> str:
        return f"search {self.setup.network} among {len(self.records)} records"

    def run(self, place: Place) -> Outcome:
        with tempfile.TemporaryDirectory(dir=place.folder) as folder:
            for number, asked in enumerate(self.records):
                content = (place.input(asked.step) / asked.file).read_bytes()
                (Path(folder) / f"{number}.record").write_bytes(content)
            found = search(place.input(self.candidate) / NETWORK, folder, self.rate)
        right = found.best.record == f"{self.right}.record"
        return Outcome({"verdict": said(found.best), "right": right}, {"seconds_per_record": found.seconds_per_record})

    def work(self) -> Work:
        return Work(f"verify {self.setup.network} {self.setup.size}", len(self.records), 0.05)


@dataclass(frozen=True)
class RetrieveStep(Step):
    """Time and memory until a verdict: several times in this process, and once as a user runs it [NNW-NNT]."""

    setup: NetworkSetup
    candidate: Step
    record: RecordFile
    repeats: int

    kind: ClassVar[str] = "retrieve"

    def run(self, place: Place) -> Outcome:
        path, record = place.input(self.candidate) / NETWORK, place.input(self.record.step) / self.record.file
        seconds = []
        for _ in range(self.repeats):
            begin = time.perf_counter()
            examine(path, [record])
            seconds.append(time.perf_counter() - begin)
        cost = {"seconds": statistics.median(seconds), "repeats": self.repeats, **_as_a_command(path, record)}
        return Outcome({}, cost)

    def work(self) -> Work:
        return Work(f"verify {self.setup.network} {self.setup.size}", self.repeats + 10, 0.05)


def said(verdict: Verdict) -> dict[str, Any]:
    """The fields of a verdict that a trial keeps; infinite logarithms become -9999, NaN becomes None."""
    payload = verdict.payload
    return {
        "decision": verdict.decision,
        "log10_p": None if math.isnan(verdict.log10_p) else max(round(verdict.log10_p, 6), -9999.0),
        "rate": verdict.rate,
        "effect": _number(verdict.effect),
        "coverage": _number(verdict.coverage),
        "retrieved": verdict.standard.retrieved,
        "values": {name: _number(value) for name, value in verdict.standard.values.items()},
        "symbols": verdict.positions if payload is None else payload.symbols,
        "errors": None if payload is None else payload.errors,
    }


@contextmanager
def _changed(step: "MeasureStep | VerifyStep", place: Place) -> "Iterator[tuple[Path, float]]":
    """The candidate's file, modified if requested, and the seconds that took."""
    source = place.input(step.candidate) / NETWORK
    if step.change is None:
        yield source, 0.0
        return
    with tempfile.TemporaryDirectory(dir=place.folder) as folder:
        out = Path(folder) / NETWORK
        begin = time.perf_counter()
        apply(step.change.modification(step.setup, place), source, out, step.change.seed)
        yield out, time.perf_counter() - begin


def _after(change: AppliedModification | None) -> str:
    if change is None:
        return ""
    return f" after {change.name} " + " ".join(f"{value}" for _, value in change.parameters)


def _number(value: float) -> float | None:
    """A number to nine digits; None for NaN and infinities, which JSON lacks."""
    return float(f"{float(value):.9g}") if math.isfinite(value) else None


def _as_a_command(path: Path, record: Path) -> "Mapping[str, float]":
    """``onnxnnw verify`` as a whole process; empty where its memory cannot be asked for."""
    import subprocess
    import sys

    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return {}
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )  # in between, so that only this child counts
    command = [sys.executable, "-m", "onnxnnw", "verify", str(path), "--record", str(record), "--json"]
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-S", "-c", code, *command], capture_output=True, text=True, check=True)
    assert resource
    return {"command_seconds": time.perf_counter() - begin, "memory_bytes": 1024 * int(done.stdout)}
