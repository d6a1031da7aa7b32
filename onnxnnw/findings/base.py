"""What a finding is, and what it may look at."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.match import Match
from onnxnnw.graph.slots import SlotView
from onnxnnw.methods.base import Judgement, Reads
from onnxnnw.records import Record

__all__ = ["Examination", "Finding", "collect_findings", "share"]


@dataclass(frozen=True)
class Finding:
    """Something that happened to the candidate.

    Attributes:
        name: Short and stable, for programs: ``renamed``.
        sentence: For people.
        evidence: The numbers behind it.
    """

    name: str
    sentence: str
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)


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
    """

    record: Record
    view: SlotView
    matches: Sequence[Match | None]
    judgement: Judgement
    significant: bool
    others: Sequence[Record]
    explained: float

    @property
    def reads(self) -> Reads:
        """What was read at the mark's positions."""
        return self.judgement.reads

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Standard deviation at enrolment of the slot of each position."""
        return self.record.measured("deviations", len(self.record.slots)).astype(np.float64)[self.reads.slots]

    def matched(self) -> list[tuple[int, Match]]:
        """Slots of the record whose content was recognised, with their counterparts."""
        return [(number, match) for number, match in enumerate(self.matches) if match is not None and match.agrees]


def share(part: int, whole: int) -> str:
    """A share in words: ``7 of 9``."""
    return f"{part:,} of {whole:,}"


def collect_findings(examination: Examination) -> list[Finding]:
    """Everything that the finders of this folder have to say, in the order of their file names."""
    package = importlib.import_module("onnxnnw.findings")
    out: list[Finding] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base"):
        out += importlib.import_module(f"onnxnnw.findings.{module}").find(examination)
    return out
