"""What a finding is, and what it may look at: a candidate, and what it holds where the record has values."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.digest import Digests
from onnxnnw.graph.slots import SlotView
from onnxnnw.matching.match import Match
from onnxnnw.methods.base import Judgement, Reads
from onnxnnw.records.record import Record
from onnxnnw.verification.changes import SlotReads, leveled

__all__ = ["Examination", "Finding", "collect_findings", "few", "share"]

Floats = NDArray[np.float64]

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
class Examination:
    """All that is known of a candidate when findings are made.

    Attributes:
        record: The record it was held against.
        view: The candidate's slots.
        matches: The counterpart of each slot of the record.
        judgement: What the method said.
        significant: Whether the mark is there.
        others: Other records at hand.
        digests: Of the candidate; None where they were not asked for.
        doubtful: Slots of the record that stand only where an output depends on them through (nearly) nothing.
        parameters_changed: Share of the parameters looked at that are others.
        copied: Elements of slots that hold once more what a recognised one holds.
    """

    record: Record
    view: SlotView
    matches: Sequence[Match | None]
    judgement: Judgement
    significant: bool
    others: Sequence[Record]
    digests: Digests | None = None
    doubtful: Mapping[int, Match] = field(default_factory=dict)
    parameters_changed: float = 0.0
    copied: int = 0

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
        """The reads of each recognised slot, where there are any; none at all where every value is what was enrolled."""
        reads, out = self.reads, []
        usable = np.isfinite(reads.found)
        unchanged = np.array_equal(reads.found[usable], reads.enrolled[usable])
        order = np.argsort(reads.slots, kind="stable")
        numbers = reads.slots[order]
        for number, match in self.matched():
            chosen = order[np.searchsorted(numbers, number) : np.searchsorted(numbers, number, side="right")]
            chosen = chosen[np.isfinite(reads.found[chosen])]
            if chosen.size:
                if unchanged and (self.deviations >= 0).all():
                    return []  # nothing happened to any of them, and that is what most verifications see
                entry = self.record.slots[number]
                rows, columns = np.divmod(reads.positions[chosen], entry.row_size)
                deviation = float(self.deviations[chosen[0]])
                enrolled = reads.enrolled[chosen]
                values = enrolled, leveled(match, enrolled, reads.found[chosen])
                out.append(SlotReads(entry.name, match, *values, rows, columns, deviation))
        return out

    @cached_property
    def loose(self) -> list[SlotReads]:
        """Slots whose changes neither a type nor a factor explains, and in which nearly all that is not zero changed."""
        return [
            one
            for one in self.slot_reads
            if not one.narrow and one.moved.size and one.moved.size >= 0.9 * (~one.zeroed).sum() and not one.channels
        ]


def share(part: int, whole: int) -> str:
    """A share in words: ``7 of 9``."""
    return f"{part:,} of {whole:,}"


def few(slots: Mapping[str, Mapping[str, float | int | str]]) -> dict[str, Mapping[str, float | int | str]]:
    """At most 200 of them: a verdict is read by people."""
    return dict(list(slots.items())[:MAX_SLOTS])


def collect_findings(examination: Examination) -> list[Finding]:
    """Everything that the finders of this folder have to say, in the order of their file names."""
    package = importlib.import_module("onnxnnw.verification.findings")
    out: list[Finding] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base"):
        out += importlib.import_module(f"onnxnnw.verification.findings.{module}").find(examination)
    return out
