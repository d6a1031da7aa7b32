"""What a finding is, and what it may look at: a candidate, and what it holds where the record has values."""

import importlib
import math
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.digest import Digests
from onnxnnw.graph.match import Match
from onnxnnw.graph.slots import SlotView
from onnxnnw.methods.base import Judgement, Reads
from onnxnnw.records import Record

__all__ = ["Examination", "Finding", "SlotReads", "collect_findings", "few", "shape_of", "share"]

Floats = NDArray[np.float64]

ROUNDING = 5e-7
"""Values that differ by less, relative to themselves and their layer, were computed anew and not changed."""

_FREE, _STEADY = 2.0, 0.02
MAX_SLOTS = 200


@dataclass(frozen=True)
class Finding:
    """Something that happened to the candidate.

    Attributes:
        name: Short and stable, for programs: ``renamed``.
        sentence: For people.
        evidence: The numbers behind it.
        slots: The same per slot of the record, where it can be told; at most 200.
    """

    name: str
    sentence: str
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    slots: Mapping[str, Mapping[str, float | int | str]] = field(default_factory=dict)


@dataclass(frozen=True)
class SlotReads:
    """What was read in one slot whose content was recognised; finite values only.

    Attributes:
        name: Of the record's slot.
        match: Its counterpart.
        enrolled, found: The Original Traceability Data, and what is there now.
        rows, columns: Out-row and place in the row of each read.
        deviation: Standard deviation of the slot at enrolment.
    """

    name: str
    match: Match
    enrolled: Floats
    found: Floats
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    deviation: float

    @cached_property
    def factor(self) -> float:
        """By what the whole slot is multiplied: where the ratio hardly varies, or is beyond 1/2 … 2; else 1."""
        ratios = self.ratios
        if not ratios.size:
            return 1.0
        middle = float(np.median(ratios))
        low, high = np.quantile(ratios, (0.25, 0.75))
        power = float(self.enrolled @ self.enrolled)
        mean = float(self.enrolled @ self.found) / power if power > 0 else 0.0
        if middle > 0 and high - low <= _STEADY * middle and abs(middle - 1) > _STEADY:
            return middle
        return mean if mean > 0 and math.isfinite(mean) and not 1 / _FREE < mean < _FREE else 1.0

    @cached_property
    def ratios(self) -> Floats:
        """What was found in units of what was enrolled, where both are something."""
        usable = (self.found != 0) & (self.enrolled != 0)
        with np.errstate(all="ignore"):
            out: Floats = self.found[usable] / self.enrolled[usable]
        return out[np.isfinite(out)]

    @cached_property
    def same(self) -> NDArray[np.bool_]:
        """Reads that hold what was enrolled, up to the last bits of a computation."""
        allowed = ROUNDING * (np.abs(self.enrolled) + self.deviation)
        out: NDArray[np.bool_] = np.abs(self.found / self.factor - self.enrolled) <= allowed
        return out

    @cached_property
    def zeroed(self) -> NDArray[np.bool_]:
        """Reads that held something and hold nothing now."""
        out: NDArray[np.bool_] = (self.found == 0) & (self.enrolled != 0)
        return out

    @cached_property
    def moved(self) -> Floats:
        """By how much the others differ, in units of the slot's deviation."""
        chosen = ~self.same & ~self.zeroed
        if self.deviation <= 0:
            return np.empty(0)
        with np.errstate(all="ignore"):
            out: Floats = (self.found[chosen] / self.factor - self.enrolled[chosen]) / self.deviation
        return out[np.isfinite(out) & (np.abs(out) < 1e150)]

    @property
    def narrow(self) -> bool:
        """Whether the type in which the slot is stored now explains a change by itself."""
        return self.match.slot.tensor.type_name not in ("float", "double")


@dataclass(frozen=True)
class Examination:
    """All that is known of a candidate when findings are made.

    Attributes:
        record: The record it was held against.
        view: The candidate's slots.
        matches: The counterpart of each slot of the record.
        judgement: What the method said.
        significant: Whether the mark is there.
        others: Other records at hand.
        explained: Share of the candidate's live weights whose own anchors agree.
        digests: Of the candidate; None where they were not asked for.
    """

    record: Record
    view: SlotView
    matches: Sequence[Match | None]
    judgement: Judgement
    significant: bool
    others: Sequence[Record]
    explained: float
    digests: Digests | None = None

    @property
    def reads(self) -> Reads:
        """What was read at the mark's positions."""
        return self.judgement.reads

    @cached_property
    def deviations(self) -> Floats:
        """Standard deviation at enrolment of the slot of each position."""
        return (
            self.record.with_unbound().array("deviations", len(self.record.slots)).astype(np.float64)[self.reads.slots]
        )

    def matched(self) -> list[tuple[int, Match]]:
        """Slots of the record whose content was recognised, with their counterparts."""
        return [(number, match) for number, match in enumerate(self.matches) if match is not None and match.agrees]

    @cached_property
    def slot_reads(self) -> list[SlotReads]:
        """The reads of each recognised slot, where there are any."""
        reads, out = self.reads, []
        order = np.argsort(reads.slots, kind="stable")
        numbers = reads.slots[order]
        for number, match in self.matched():
            chosen = order[np.searchsorted(numbers, number) : np.searchsorted(numbers, number, side="right")]
            chosen = chosen[np.isfinite(reads.found[chosen])]
            if chosen.size:
                entry = self.record.slots[number]
                rows, columns = np.divmod(reads.positions[chosen], entry.row_size)
                deviation = float(self.deviations[chosen[0]])
                values = reads.enrolled[chosen], reads.found[chosen]
                out.append(SlotReads(entry.name, match, *values, rows, columns, deviation))
        return out

    @cached_property
    def loose(self) -> list[SlotReads]:
        """Slots whose changes no narrower type explains, and in which nearly all that is not zero has changed."""
        return [
            one
            for one in self.slot_reads
            if not one.narrow and one.moved.size >= 0.9 * (~one.zeroed).sum() and one.moved.size
        ]


@dataclass(frozen=True)
class Shape:
    """How changes are distributed.

    Attributes:
        reads: How many there are.
        size: Root mean square, in units of each layer's deviation.
        sizes: The same per slot, for slots of 8 reads and more.
        uneven: z of the hypothesis that it is the same in every slot (Bartlett's test).
        peaked: z of the hypothesis that they are Gaussian within slots: negative for heavy tails, positive for flat
            distributions (Geary's test: mean over root mean square is sqrt(2 / pi)).
    """

    reads: int
    size: float
    sizes: Mapping[str, float]
    uneven: float
    peaked: float


_MIN_READS = 8
_NORMAL, _NORMAL_DEVIATION = math.sqrt(2 / math.pi), math.sqrt(1 - 3 / math.pi)


def shape_of(slots: Sequence[SlotReads]) -> Shape:
    """How the changes in some slots are distributed."""
    moved = {one.name: one.moved for one in slots if one.moved.size}
    together = np.concatenate([*moved.values(), np.empty(0)])
    large = {name: values for name, values in moved.items() if values.size >= _MIN_READS and values.any()}
    sizes = {name: float(np.sqrt(np.mean(values**2))) for name, values in large.items()}
    size = float(np.sqrt(np.mean(together**2))) if together.size else 0.0
    standard = np.concatenate([*(values / sizes[name] for name, values in large.items()), np.empty(0)])
    if standard.size < _MIN_READS:
        return Shape(together.size, size, sizes, 0.0, 0.0)
    geary = float(np.abs(standard).mean())
    peaked = (geary - _NORMAL) / _NORMAL_DEVIATION * math.sqrt(standard.size)
    kurtosis = float(np.mean(standard**4)) - 3
    return Shape(together.size, size, sizes, _bartlett(large, sizes, kurtosis), peaked)


def _bartlett(values: Mapping[str, Floats], sizes: Mapping[str, float], kurtosis: float) -> float:
    """z of equal variances; heavy tails are allowed for [Box 1953], chi-square made normal [Wilson, Hilferty 1931]."""
    counts = np.array([one.size for one in values.values()], np.float64)
    variances = np.array(list(sizes.values())) ** 2
    freedom = len(counts) - 1
    if freedom < 1:
        return 0.0
    pooled = float(counts @ variances) / counts.sum()
    likelihood = float(counts @ np.log(pooled / variances))
    likelihood /= 1 + (float((1 / counts).sum()) - 1 / counts.sum()) / (3 * freedom)
    likelihood /= max(1 + kurtosis / 2, 0.2)
    spread = 2 / (9 * freedom)
    root = math.cbrt(max(likelihood, 0.0) / freedom)
    return (root - (1 - spread)) / math.sqrt(spread)


def share(part: int, whole: int) -> str:
    """A share in words: ``7 of 9``."""
    return f"{part:,} of {whole:,}"


def few(slots: Mapping[str, Mapping[str, float | int | str]]) -> dict[str, Mapping[str, float | int | str]]:
    """At most 200 of them: a verdict is read by people."""
    return dict(list(slots.items())[:MAX_SLOTS])


def collect_findings(examination: Examination) -> list[Finding]:
    """Everything that the finders of this folder have to say, in the order of their file names."""
    package = importlib.import_module("onnxnnw.findings")
    out: list[Finding] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base"):
        out += importlib.import_module(f"onnxnnw.findings.{module}").find(examination)
    return out
