"""One network against many records, until no further record can change the answer."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxnnw.candidate import Anchors
from onnxnnw.errors import TraceabilityError, UnreadableRecord
from onnxnnw.graph.slot import Slot
from onnxnnw.matching.anchor_agreement import agreement
from onnxnnw.network_file.file import open_network
from onnxnnw.verification.examiner import Examiner
from onnxnnw.verification.looking import Look
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import SearchResult, Verdict
from onnxnnw.verification.verdicts import COMPLETE, rank
from onnxnnw.verification.visible import visible

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

    def likeness(self, slots: dict[str, Slot], shapes: dict[tuple[int, ...], list[Slot]]) -> float:
        """How much a network looks like the record's there."""
        named = slots.get(self.name)
        tried = (
            [named]
            if named is not None and tuple(named.shape) == self.shape
            else shapes.get(self.shape, [])[:MAX_SLOTS]
        )
        found = [0.0]
        for slot in tried:
            try:
                with np.errstate(all="ignore"):
                    found.append(abs(agreement(slot.values(self.places), self.values)))
            except TraceabilityError:
                continue
        return max(found)


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
) -> SearchResult:
    """Hold a candidate against records, the likeliest first, until one settles the answer.

    Every p-value is multiplied by the number of all records, looked at or not, so the order takes nothing from it.

    Args:
        settles: Whether a verdict settles the answer.
        reference: The owner's own copy of the recorded network, in whose order of channels the candidate is read too.
        others: Records elsewhere that are tried for the same answer; not together with a reference.
        told: What is known of a verdict besides.

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
        order = list(range(len(records)))
        if len(records) > 1:
            slots = examiner.view.by_name()
            shapes: dict[tuple[int, ...], list[Slot]] = {}
            for slot in examiner.view.slots:
                shapes.setdefault(tuple(slot.shape), []).append(slot)
            alike = [probe.likeness(slots, shapes) for probe in probes]
            order.sort(key=lambda number: -alike[number])
        looks: list[tuple[Verdict, Look]] = []
        for number in order:
            named = records[number]
            try:
                if len(records) <= COMPLETE:
                    verdicts.append(told(examiner.verdict(named)))
                else:
                    brief, look = examiner.brief(named)
                    if brief.decision not in ("identical", "traced"):
                        looks.append((brief, look))  # nothing is settled by what was not found
                        continue
                    verdicts.append(told(examiner.whole(look)))
            except UnreadableRecord as error:
                failed.append(f"{visible(named.name)}: {visible(str(error))}")
                continue
            if settles(verdicts[-1]):
                break
        looks.sort(key=lambda pair: rank(pair[0]))
        for place, (brief, look) in enumerate(looks):
            try:
                verdicts.append(told(examiner.whole(look) if place < COMPLETE else brief))
            except UnreadableRecord as error:
                failed.append(f"{visible(look.named.name)}: {visible(str(error))}")
        network.check_unchanged()
        if reference is not None:
            own.check_unchanged()
    if not verdicts:
        raise UnreadableRecord(f"no record that can be examined: {failed[0]}")
    seconds = (time.perf_counter() - start) / (len(verdicts) + len(failed))
    return SearchResult(tuple(sorted(verdicts, key=rank)), (*unreadable, *failed), seconds)
