"""Steps behind the standard's two figures of NCT: marks on shared positions (Figure 4), and time against N (Figure 5)."""

import statistics
import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.campaign.step import NETWORK, Outcome, Place, Step, Work, key_of
from onnxnnw.campaign.steps.evaluated_network import NetworkSetup
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.record_draft import Writing, draft_watermark
from onnxnnw.errors import CapacityError
from onnxnnw.graph.digest import network_digest
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods import nct
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.patch import Edit, write_patched
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record
from onnxnnw.standard.grids import SIGNIFICANCE
from onnxnnw.statistics import correlations

__all__ = ["ReadSharedMarksStep", "ScalingStep", "SharedMarksStep"]


@dataclass(frozen=True)
class SharedMarksStep(Step):
    """Five marks, one after the other, each on the same positions up to a share [NNW-TEC 7.2.6, Figure 4].

    The first mark is inserted on its own positions; each further one replaces the given share of the positions of the mark
    before it (the first of them, in the order of I) and takes new ones for the rest.

    Attributes:
        host: The network that they are written into.
        roles: One mark each.
        share: From 0 to 1.
    """

    setup: NetworkSetup
    host: Step
    positions: int
    strength: float
    roles: tuple[str, ...]
    share: float
    key: str

    kind: ClassVar[str] = "share positions"
    edition: ClassVar[int] = 2
    files: ClassVar[tuple[str, ...]] = (NETWORK,)

    def run(self, place: Place) -> Outcome:
        with self._opened(place) as network:
            view = find_slots(network)
            write_patched(network, place.folder / NETWORK, _edits(view, self._marks(view, network)))
        return Outcome()

    def _opened(self, place: Place) -> Network:
        """The host as it is opened for writing, which decides what can hold a mark, and so where each mark lies."""
        return open_network(place.input(self.host) / NETWORK, for_writing=True)

    def marks(self, place: Place) -> "list[MarkValues]":
        """What was written, mark by mark: of positions with two values the later mark's is there."""
        with self._opened(place) as network:
            return self._marks(find_slots(network), network)

    def _marks(self, view: SlotView, network: Network) -> "list[MarkValues]":
        digest = network_digest(network, view)
        own = [_in_order(self._record(view, role, digest)) for role in self.roles]
        return _overlaid(own, round(self.share * self.positions))

    def _record(self, view: SlotView, role: str, digest: str) -> Record:
        key = key_of(f"{self.key}/{role}")
        record = draft_watermark(view, key, self.positions, Owner(role=role), Writing(strength=self.strength))
        return replace(record, enrolled_digest=digest)

    def work(self) -> Work:
        return Work(self.kind, len(self.roles), 0.3, 4 * self.setup.assumed().parameters)


@dataclass(frozen=True)
class ReadSharedMarksStep(Step):
    """The correlation of each of the marks with what a network holds in the end.

    Attributes:
        candidate: The network that the marks were written into, or what a training has made of it.
    """

    shared: SharedMarksStep
    candidate: Step

    kind: ClassVar[str] = "read shared positions"

    def run(self, place: Place) -> Outcome:
        marks = self.shared.marks(place)
        with open_network(place.input(self.candidate) / NETWORK) as network:
            found = _read(find_slots(network), marks)
        return Outcome({"verdicts": [_said(mark, read) for mark, read in zip(marks, found, strict=True)]})

    def work(self) -> Work:
        return Work(self.kind, len(self.shared.roles), 0.3)


Where = tuple[str, int]
"""Slot and position."""
MarkValues = list[tuple[Where, float]]
"""Positions with their values, in the order of I."""


def _in_order(record: Record) -> MarkValues:
    plan = plan_of(record)
    names = [record.slots[slot].name for slot in plan.slots.tolist()]
    return list(
        zip(zip(names, plan.positions.tolist(), strict=True), nct.mark_values(record, plan).tolist(), strict=True)
    )


def _overlaid(own: list[MarkValues], shared: int) -> list[MarkValues]:
    """Each mark moved, as to its first ``shared`` values, onto the first positions of the mark before it."""
    marks: list[MarkValues] = []
    for mark in own:
        before = [where for where, _ in marks[-1][:shared]] if marks else []
        places = before + [where for where, _ in mark[len(before) :]]
        marks.append(list(zip(places, [value for _, value in mark], strict=True)))
    return marks


def _edits(view: SlotView, marks: list[MarkValues]) -> list[Edit]:
    """All marks, one after the other."""
    content: dict[Where, float] = {}
    for mark in marks:
        content.update(mark)
    edits = []
    for name, slot in view.by_name().items():
        places = sorted(position for other, position in content if other == name)
        if places:
            values = np.array([content[name, position] for position in places])
            edits.append(Edit(*slot.edits(np.array(places, np.int64), values)))
    return edits


def _read(view: SlotView, marks: list[MarkValues]) -> list[NDArray[np.float64]]:
    slots = view.by_name()
    return [
        np.array([slots[name].values(np.array([position], np.int64))[0] for (name, position), _ in mark])
        for mark in marks
    ]


def _said(mark: MarkValues, read: NDArray[np.float64]) -> dict[str, Any]:
    found = correlations(read, np.array([value for _, value in mark]))
    values = {"spearman": round(found.spearman, 6), "pearson": round(found.pearson, 6)}
    return {"values": values, "retrieved": found.retrieved(SIGNIFICANCE)}


@dataclass(frozen=True)
class ScalingStep(Step):
    """Time of insertion and of detection against N [NNW-TEC 7.2.7, Figure 5].

    Insertion: drawing positions and values, and writing them into the tensors. Detection: reading them and correlating.
    Without opening the file, so that what grows with N shows.
    """

    setup: NetworkSetup
    candidate: Step
    positions: tuple[int, ...]
    repeats: int
    key: str

    kind: ClassVar[str] = "scale"
    edition: ClassVar[int] = 2

    def run(self, place: Place) -> Outcome:
        source = place.input(self.candidate) / NETWORK
        fits: list[bool] = []
        found: list[dict[str, float]] = []
        with open_network(source, for_writing=True) as network:
            view = find_slots(network)
            slots = view.by_name()
            arrays = {name: slot.array().astype(np.float64).reshape(-1) for name, slot in slots.items()}
            for count in self.positions:
                try:
                    record = draft_watermark(view, key_of(self.key), count, Owner())
                except CapacityError:  # the network is too small for so many
                    fits.append(False)
                    found.append({})
                    continue
                record = replace(record, enrolled_digest="0" * 64)
                insertions, detections = [], []
                for _ in range(self.repeats):
                    fresh = record.with_key(key_of(self.key))  # nothing remembered from the last time
                    begin = time.perf_counter()
                    mark = nct.mark(fresh)
                    for name, (places, values) in mark.items():
                        arrays[name][places] = values
                    insertions.append(time.perf_counter() - begin)
                    begin = time.perf_counter()
                    read = np.concatenate([arrays[name][places] for name, (places, _) in mark.items()])
                    original = np.concatenate([values for _, values in mark.values()])
                    correlations(read, original)
                    detections.append(time.perf_counter() - begin)
                fits.append(True)
                found.append(
                    {
                        "insertion_seconds": statistics.median(insertions),
                        "detection_seconds": statistics.median(detections),
                    }
                )
        return Outcome({"fits": fits}, {"rows": found, "repeats": self.repeats})

    def work(self) -> Work:
        return Work(self.kind, self.repeats * sum(self.positions), 2e-6)
