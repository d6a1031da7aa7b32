"""The interface of findings: what a finding is, and the examination that it is derived from."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.anchor_agreement import agreement
from onnxnnw.matching.match import AGREEMENT, UNUSUAL, Match
from onnxnnw.methods.base import Judgement, Reads
from onnxnnw.network_file.stored import round_to
from onnxnnw.records.positions import ANCHORS
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import RowFactors
from onnxnnw.verification.disguised import Disguise
from onnxnnw.verification.slot_reads import SlotReads
from onnxnnw.verification.units import in_best_unit, leveled

if TYPE_CHECKING:
    from onnxnnw.alignment import MatrixAlignment
    from onnxnnw.graph.digest import Digests

__all__ = ["Examination", "Finding", "collect_findings", "few", "freely_changed_of", "share"]

Floats = NDArray[np.float64]

MAX_SLOTS = 200
_EXACT_READS = 12

_LIKE_READS, _EXPECTED = 8, 6.0
"""Reads that tell how alike a slot is; z that its anchors must be expected to reach before one that reaches 3.1 nowhere is
missing."""


@dataclass(frozen=True)
class Finding:
    """Something that happened to the candidate.

    Attributes:
        name: Short and stable, for programs: ``renamed``.
        sentence: For people.
        evidence: The numbers behind it.
        slots: The same per slot of the record, where it can be told; at most 200.
        accuses: Whether it says that somebody did something to the network that its owner would object to; then it needs more
            evidence than a description.
        version: Of the rule behind it: a higher number where what it takes to be said has changed.
        own_id: Where the name stands for more than one kind of finding.
    """

    name: str
    sentence: str
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    slots: Mapping[str, Mapping[str, float | int | str]] = field(default_factory=dict)
    accuses: bool = False
    version: int = 1
    own_id: str = ""

    @property
    def id(self) -> str:
        """Stable and machine-readable, for policies to name: ``batch-norm-folded``."""
        return self.own_id or self.name.replace(" ", "-")

    @property
    def category(self) -> str:
        """``accuses`` or ``describes``."""
        return "accuses" if self.accuses else "describes"


@dataclass(frozen=True)
class Examination:
    """The examination of a candidate from which findings are derived.

    Attributes:
        record: The record it was held against.
        view: The candidate's slots.
        matches: The counterpart of each slot of the record.
        judgement: What the method said.
        significant: Whether the mark is there.
        shared_positions: Counts the positions that other records at hand share with it.
        digests: Of the candidate; None where they were not asked for.
        doubtful: Slots of the record that stand only where an output depends on them through (nearly) nothing.
        parameters_changed: Share of the parameters looked at that are others.
        copied: Elements of slots that hold once more what a recognised one holds.
        hidden: Bytes that could hold weights and were not read.
        anchors: Reads the anchors, where the mark itself may not say what changed.
        folds: What multiplied the rows of the record's slots downstream at enrolment.
        disguise: What sketches say of a candidate in which no mark was found.
        orders: Where rows and channels stand, slot by slot, where a reference network says it.
    """

    record: Record
    view: SlotView
    matches: Sequence[Match | None]
    judgement: Judgement
    significant: bool
    shared_positions: Callable[[], int]
    digests: "Digests | None" = None
    doubtful: Mapping[int, Match] = field(default_factory=dict)
    parameters_changed: float = 0.0
    copied: int = 0
    hidden: int = 0
    anchors: Callable[[], Reads] | None = None
    folds: RowFactors = field(default_factory=dict)
    disguise: Disguise | None = None
    orders: "Mapping[int, MatrixAlignment]" = field(default_factory=dict)

    @property
    def both_have_graphs(self) -> bool:
        """Whether operators can be compared: a file with tensors alone has none, and neither has a record of one."""
        kept = self.record.account
        return self.view.flow.has_graph and (kept is None or bool(kept["operators"]))

    @property
    def reads(self) -> Reads:
        """What was read at the mark's positions."""
        return self.judgement.reads

    @cached_property
    def deviations(self) -> Floats:
        """Standard deviation of each of the record's slots at enrolment."""
        return self.record.with_unbound().array("deviations", len(self.record.slots)).astype(np.float64)

    @cached_property
    def _recognised(self) -> list[tuple[int, Match]]:
        found = [(number, match) for number, match in enumerate(self.matches) if match is not None and match.agrees]
        if self.significant or 2 * len(found) > len(self.record.slots):
            return found
        return [
            (number, match) for number, match in found if match.agreement > UNUSUAL
        ]  # of many, some agree by chance

    def matched(self) -> list[tuple[int, Match]]:
        """Slots of the record whose content was recognised, with their counterparts."""
        return self._recognised

    @cached_property
    def known(self) -> Reads:
        """The reads from which changes are judged: the mark's if it was found, else the anchors'."""
        if self.significant or self.record.kind == "fingerprint" or self.anchors is None:
            return self.judgement.reads
        return self.anchors()

    @cached_property
    def slot_reads(self) -> list[SlotReads]:
        """The reads of each recognised slot, where there are any; none at all where every value is what was enrolled."""
        return self._by_slot(self.known)

    @cached_property
    def more_reads(self) -> list[SlotReads]:
        """The same with anchors and samples beside the mark, for findings that need many reads."""
        if self.anchors is None or not self.slot_reads:
            return self.slot_reads
        known = self.known
        beside = self.anchors() if known is self.judgement.reads else None
        if beside is None:
            return self.slot_reads
        pairs = zip(
            (known.slots, known.positions, known.enrolled, known.found),
            (beside.slots, beside.positions, beside.enrolled, beside.found),
            strict=True,
        )
        return self._by_slot(Reads(*(np.concatenate(pair) for pair in pairs)))

    def _by_slot(self, reads: Reads) -> list[SlotReads]:
        out: list[SlotReads] = []
        usable = np.isfinite(reads.found)
        unchanged = np.array_equal(reads.found[usable], reads.enrolled[usable])
        order = np.argsort(reads.slots, kind="stable")
        numbers = reads.slots[order]
        for number, match in self.matched():
            chosen = order[np.searchsorted(numbers, number) : np.searchsorted(numbers, number, side="right")]
            chosen = chosen[np.isfinite(reads.found[chosen])]
            if chosen.size:
                if unchanged and (self.deviations[reads.slots] >= 0).all():
                    return []  # nothing happened to any of them, and that is what most verifications see
                entry = self.record.slots[number]
                rows, columns = np.divmod(reads.positions[chosen], entry.row_size)
                deviation = float(self.deviations[number])
                enrolled = reads.enrolled[chosen]
                found, folded = in_best_unit(match, self.folds.get(number), enrolled, reads.found[chosen], rows)
                values = enrolled, leveled(match, enrolled, found)
                out.append(SlotReads(entry.name, match, *values, rows, columns, deviation, folded))
        return out

    @cached_property
    def unsure(self) -> list[int]:
        """Slots of the record that may be present although their anchors are not significant.

        Values that nearly all changed, or are nearly all zero, agree too little to be recognised in a small slot. Such a slot is
        neither missing, nor is what stands in its place an addition.
        """
        matched = {number for number, _ in self.matched()}
        likeness = min((one.likeness for one in self.slot_reads if one.found.size >= _LIKE_READS), default=1.0)
        taken = {id(match.slot) for _, match in self.matched()}
        free = [slot.size for slot in self.view.slots if id(slot) not in taken]
        out = []
        for number, entry in enumerate(self.record.slots):
            if number in matched:
                continue
            size = (entry.live_rows + len(entry.dead_rows)) * entry.row_size
            expected = float(np.arctanh(min(likeness, 0.999)) * np.sqrt(max(0, min(ANCHORS, size) - 3)))
            match = self.matches[number] if number < len(self.matches) else None
            own = self.known.slots == number
            z = agreement(self.known.found[own], self.known.enrolled[own])
            together = z if match is None else (z + match.agreement) / np.sqrt(2)
            if (expected < _EXPECTED and any(each >= size for each in free)) or together > AGREEMENT:
                out.append(number)
        return out

    @cached_property
    def accounted(self) -> tuple[int, int]:
        """Elements of live weights that correspond to the record's, and of all that can be decided."""
        live = sum(slot.covered for slot in self.view.slots)
        unsure = 0
        for number in self.unsure:
            match, entry = self.matches[number], self.record.slots[number]
            size = (entry.live_rows + len(entry.dead_rows)) * entry.row_size
            unsure += match.slot.covered if match is not None else size
        known = sum(match.slot.covered for _, match in self.matched()) + self.copied
        return known, max(0, live - unsure)

    @cached_property
    def exact_in(self) -> str:
        """The coarser floating-point type that holds all values read although another one stores them; empty where none does."""
        slots = [one for one in self.slot_reads if not one.reduced_precision]
        values = [(one.found, one.enrolled) for one in slots]
        found, enrolled = (np.concatenate([*(pair[k] for pair in values), np.empty(0)]) for k in (0, 1))
        if (found != 0).sum() >= _EXACT_READS:
            for name in ("float16", "bfloat16"):
                if np.array_equal(round_to(found, name), found) and not np.array_equal(
                    round_to(enrolled, name), enrolled
                ):
                    return name
        return ""

    @cached_property
    def freely_changed(self) -> list[SlotReads]:
        """Slots with additive changes: nearly all non-zero values changed, explained neither by the type nor by a factor."""
        return freely_changed_of(self.slot_reads)


def freely_changed_of(slots: Sequence[SlotReads]) -> list[SlotReads]:
    """Slots with additive changes: nearly all non-zero values changed, explained neither by the type nor by a factor."""
    return [
        one
        for one in slots
        if not one.reduced_precision
        and one.moved.size
        and one.moved.size >= 0.9 * (~one.zeroed).sum()
        and not one.channels
        and not one.multiplied
        and not one.channel_levels
    ]


def share(part: int, whole: int) -> str:
    """A share in words: ``7 of 9``."""
    return f"{part:,} of {whole:,}"


def few(slots: Mapping[str, Mapping[str, float | int | str]]) -> dict[str, Mapping[str, float | int | str]]:
    """The first 200 entries."""
    return dict(list(slots.items())[:MAX_SLOTS])


def collect_findings(examination: Examination) -> list[Finding]:
    """Everything that the finders of this folder have to say, in the order of their file names."""
    package = importlib.import_module("onnxnnw.verification.findings")
    out: list[Finding] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base"):
        out += importlib.import_module(f"onnxnnw.verification.findings.{module}").find(examination)
    return out
