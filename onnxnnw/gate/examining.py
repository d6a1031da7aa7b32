"""One network against many records, until no further record can change the answer."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import Anchors
from onnxnnw.errors import TraceabilityError, UnreadableRecord
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.anchor_agreement import agreements
from onnxnnw.matching.match import AGREEMENT
from onnxnnw.matching.read_before import SlotsAtHand
from onnxnnw.network_file.file import open_network
from onnxnnw.verification.examiner import Examiner
from onnxnnw.verification.looking import Look
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import SearchResult, Verdict
from onnxnnw.verification.verdicts import COMPLETE, rank
from onnxnnw.verification.visible import visible

if TYPE_CHECKING:
    from onnxnnw.together.prepared import PreparedRecords

__all__ = ["Probe", "examine_until"]

Floats = NDArray[np.float64]
MAX_SLOTS = 8
"""Slots of one shape that a record is looked for in, before the likeliest record is examined first."""


class Probe:
    """A few anchors of a record's largest slot, by which records are ordered before they are examined."""

    def __init__(self, record: NamedRecord) -> None:
        self.name, self.shape = "", ()  # type: tuple[str, tuple[int, ...]]
        self.places: NDArray[np.int64] = np.empty(0, np.int64)
        self.values: Floats = np.empty(0)
        try:
            anchors = Anchors(record.record)
            sizes = [
                slot.row_size * slot.live_rows if anchors.positions[n].size else 0
                for n, slot in enumerate(record.record.slots)
            ]
            number = int(np.argmax(sizes))
            entry = record.record.slots[number]
            self.places, self.values = anchors.of(number)
            self.name, self.shape = entry.name, tuple(entry.shape)
        except (TraceabilityError, ValueError, IndexError):
            return  # it will say so when it is examined

    def tried(self, slots: Mapping[str, Slot], shapes: Mapping[tuple[int, ...], list[Slot]]) -> list[Slot]:
        """The slots of a network in which the record's is looked for."""
        named = slots.get(self.name)
        if named is not None and tuple(named.shape) == self.shape:
            return [named]
        return shapes.get(self.shape, [])[:MAX_SLOTS]


def _likenesses(probes: Sequence[Probe], view: SlotView, at_hand: SlotsAtHand | None) -> list[float]:
    """How much a network looks like each record's, at a few of its places."""
    shapes: dict[tuple[int, ...], list[Slot]] = {}
    for slot in view.slots:
        shapes.setdefault(tuple(slot.shape), []).append(slot)
    slots, found = view.by_name(), [0.0] * len(probes)
    numbers, read = [], []
    for number, probe in enumerate(probes):
        for slot in probe.tried(slots, shapes):
            whole = None if at_hand is None else at_hand.of(slot)
            values = None if whole is None else whole.at(probe.places)
            try:
                read.append(slot.values(probe.places) if values is None else values)
            except TraceabilityError:
                continue
            numbers.append(number)
    with np.errstate(all="ignore"):
        for number, z in zip(numbers, agreements(read, [probes[n].values for n in numbers]).tolist(), strict=True):
            found[number] = max(found[number], abs(z))
    return found


def examine_until(
    candidate: Path | str,
    records: Sequence[NamedRecord],
    probes: Sequence[Probe],
    unreadable: Sequence[str],
    rate: float,
    full: bool,
    settles: Callable[[Verdict], bool],
    reference: Path | None = None,
    others: int = 0,
    told: Callable[[Verdict], Verdict] = lambda verdict: verdict,
    prepared: "PreparedRecords | None" = None,
) -> SearchResult:
    """Hold a candidate against records, the likeliest first, until one settles the answer.

    Every p-value is multiplied by the number of all records, looked at or not, so the order takes nothing from it.

    Args:
        settles: Whether a verdict settles the answer.
        reference: The owner's own copy of the recorded network, in whose order of channels the candidate is read too.
        others: Records elsewhere that are tried for the same answer; not together with a reference.
        told: What is known of a verdict besides.
        prepared: The records as other candidates were held against them.

    Raises:
        CannotLook: The candidate, the reference, or all records, cannot be examined.
    """
    start = time.perf_counter()
    verdicts: list[Verdict] = []
    failed: list[str] = []
    with open_network(candidate) as network, ExitStack() as opened:
        examiner = Examiner(network, records, rate, full, max(1, len(records)) + others)
        if reference is not None:
            from onnxnnw.verification.ordered.examiner import ExaminerWithReference

            own = opened.enter_context(open_network(reference))
            examiner = ExaminerWithReference(network, records, rate, full, own)
        examiner.prepared = prepared
        order, alike = list(range(len(records))), 0.0
        if len(records) > 1:
            each = _likenesses(probes, examiner.view, examiner.at_hand)
            order.sort(key=lambda number: -each[number])
            alike = each[order[0]]
        briefs: list[Verdict] = []  # nothing is settled by what was not found
        best: tuple[Verdict, Look] | None = None  # of these
        for place, number in enumerate(order):
            named = records[number]
            examiner.reads_ahead = place > 0 or alike < AGREEMENT  # the likeliest alone: it often settles the answer
            try:
                if len(records) <= COMPLETE:
                    verdicts.append(told(examiner.verdict(named)))
                else:
                    brief, look = examiner.brief(named)
                    if brief.decision not in ("identical", "traced"):
                        if best is not None and rank(best[0]) < rank(brief):
                            briefs.append(brief)
                            continue
                        briefs += [] if best is None else [best[0]]
                        best = brief, look
                        continue
                    verdicts.append(told(examiner.whole(look)))
            except UnreadableRecord as error:
                failed.append(f"{visible(named.name)}: {visible(str(error))}")
                continue
            if settles(verdicts[-1]):
                break
        if best is not None:
            try:
                briefs.append(examiner.whole(best[1]))
            except UnreadableRecord as error:
                failed.append(f"{visible(best[1].named.name)}: {visible(str(error))}")
        verdicts += [told(verdict) for verdict in briefs]
        network.check_unchanged()
        if reference is not None:
            own.check_unchanged()
    if not verdicts:
        raise UnreadableRecord(f"no record that can be examined: {failed[0]}")
    seconds = (time.perf_counter() - start) / (len(verdicts) + len(failed))
    return SearchResult(tuple(sorted(verdicts, key=rank)), (*unreadable, *failed), seconds)
