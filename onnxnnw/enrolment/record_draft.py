"""Draft a record from an opened network: measured slots, positions of the mark, host values."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.account import Account
from onnxnnw.enrolment.ancestry import AncestorWeights, Forerunner
from onnxnnw.enrolment.copies import Copy, why_alone
from onnxnnw.enrolment.how_many import (
    DEFAULT_ADDED,
    default_added_strength,
    default_positions,
    default_shared_positions,
)
from onnxnnw.enrolment.measure_slots import MeasuredSlot, measure_slot
from onnxnnw.enrolment.own_weights import OwnWeights
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.refusals import refuse_strange, why_nothing
from onnxnnw.errors import CapacityError, UnsupportedNetwork, UsageError
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.matching.parameter_reads import kept_parameters
from onnxnnw.methods import nct
from onnxnnw.network_file.patch import Edit
from onnxnnw.records.key import Key
from onnxnnw.records.positions import (
    ANCHORS,
    SAMPLES,
    PositionPlan,
    anchor_positions,
    draw_positions,
    draws,
    places_of,
    refuse_no_room,
    sample_positions,
)
from onnxnnw.records.record import FORMAT, FORMAT_WITH_HOST, MAX_POSITIONS, Record
from onnxnnw.records.row_factors import column_arrays, factor_arrays

__all__ = [
    "DEFAULT_STRENGTH",
    "Writing",
    "draft_fingerprint",
    "draft_watermark",
    "mark_edits",
]

DEFAULT_STRENGTH = 1.0
"""Of replaced values."""


@dataclass(frozen=True)
class Writing:
    """How a watermark's values are written [NNW-TEC 7.2.2, the watermarking function w].

    Attributes:
        insertion: ``added``: x + strength · deviation · z, detected with the weights as they were; ``replaced``: strength ·
            deviation · z alone, as in the standard's tables.
        strength: In units of each slot's deviation; None for the usual one of the insertion.
        value_std: Absolute deviation of replaced values instead.

    Raises:
        UsageError: An unknown insertion, an impossible number, or both numbers.
    """

    insertion: str = nct.REPLACED
    strength: float | None = None
    value_std: float | None = None

    def __post_init__(self) -> None:
        if self.insertion not in (nct.ADDED, nct.REPLACED):
            raise UsageError(f"no insertion named {self.insertion!r}; there are {nct.ADDED}, {nct.REPLACED}")
        if self.strength is not None and self.value_std is not None:
            raise UsageError("give a strength or an absolute deviation of the values, one of the two")
        if self.value_std is not None and self.insertion == nct.ADDED:
            raise UsageError("an absolute deviation belongs to values that are replaced, not added")
        for name, number in (("strength", self.strength), ("value deviation", self.value_std)):
            if number is not None and not (np.isfinite(number) and number > 0):
                raise UsageError(f"the {name} is a finite number above 0, not {number}")

    @property
    def parameters(self) -> dict[str, int | str]:
        """What the record says of it."""
        if self.value_std is not None:
            return {"value_std": repr(float(self.value_std))}
        if self.insertion == nct.ADDED:
            strength = DEFAULT_ADDED if self.strength is None else self.strength
            return {"insertion": nct.ADDED, "strength": repr(float(strength))}
        return {"strength": repr(float(DEFAULT_STRENGTH if self.strength is None else self.strength))}


def draft_fingerprint(
    view: SlotView,
    key: Key,
    positions: int,
    owner: Owner,
    account: Account | None = None,
    left_out: Set[int] = frozenset(),
    linear: Set[int] = frozenset(),
    forerunners: Mapping[int, Forerunner] | None = None,
) -> Record:
    """The record of a fingerprint, without the network's digests.

    Args:
        view: The network's slots.
        key: The secret.
        positions: N.
        owner: Who does it.
        account: What is stored in the network, so that a verification can tell how much of a candidate that explains.
        left_out: Ids of slots that carry nothing.
        linear: Ids of slots without hidden units around them. They carry nothing either, unless there are no others: then the
            record says so, and only near copies count.
        forerunners: What slots were trained on from: then differences are judged, not values.

    Raises:
        UsageError: An impossible number.
        CapacityError: Too few eligible weights.
    """
    measured = _without(_measured(view, positions, watermark=False), view, left_out)
    hidden = _without(measured, view, linear)
    only_linear = bool(linear) and not _any_eligible(hidden)
    measured = measured if only_linear else hidden
    if not _any_eligible(measured):
        raise CapacityError(why_nothing(view, False, left_out))
    parameters: dict[str, int | str] = {"linear": 1} if only_linear else {}
    if forerunners:
        parameters["ancestors"] = 1
    record = _begun(measured, key, positions, owner, "fingerprint", parameters)
    return _RecordDraft(view, measured, record, account).fingerprint(forerunners)


def draft_watermark(
    view: SlotView,
    key: Key,
    positions: int | None,
    owner: Owner,
    writing: Writing | None = None,
    keep: Sequence[Record] = (),
    account: Account | None = None,
    copies: Sequence[Copy] = (),
    positions_key: Key | None = None,
) -> Record:
    """The record of a watermark that will be written, without the network's digests.

    Args:
        view: The network's slots, opened for writing.
        key: The secret.
        positions: N; None for ``default_positions``, or ``default_shared_positions`` where many copies share them.
        owner: Who does it.
        writing: How values are written; replaced by default.
        keep: Records whose positions are left alone.
        account: What is stored in the network.
        copies: Weights of the network that are no slots of their own, since they are copies of others.
        positions_key: The secret of positions that the copies for many recipients share.

    Raises:
        UsageError: An impossible number, or a record to keep of another network.
        CapacityError: Too few eligible weights.
    """
    measured = _measured(view, 1 if positions is None else positions, watermark=True)
    if not _any_eligible(measured):
        raise CapacityError(why_nothing(view, True, frozenset()))
    eligible = sum(one.entry.capacity for one in measured)
    if positions is None:
        default = default_positions if positions_key is None else default_shared_positions
        positions = default(eligible)
    writing = writing or Writing()
    if writing.insertion == nct.ADDED and writing.strength is None and positions_key is None:
        writing = replace(writing, strength=default_added_strength(eligible, positions))
    record = _begun(measured, key, positions, owner, "watermark", writing.parameters)
    record = replace(record, positions_key=positions_key)
    refuse_strange(keep, record.slots, copies)
    return _RecordDraft(view, measured, record, account).watermark(keep)


def _measured(view: SlotView, positions: int, watermark: bool) -> list[MeasuredSlot]:
    if not 1 <= positions <= MAX_POSITIONS:
        raise UsageError(f"the number of positions lies between 1 and {MAX_POSITIONS:,}, not at {positions}")
    return [measure_slot(slot, watermark) for slot in view.slots]


def _without(measured: Sequence[MeasuredSlot], view: SlotView, left_out: Set[int]) -> list[MeasuredSlot]:
    """The same slots, some of which carry nothing."""
    return [
        replace(one, entry=replace(one.entry, eligible=False)) if id(slot) in left_out else one
        for slot, one in zip(view.slots, measured, strict=True)
    ]


def _any_eligible(measured: Sequence[MeasuredSlot]) -> bool:
    return any(one.entry.eligible for one in measured)


def _begun(
    measured: Sequence[MeasuredSlot],
    key: Key,
    positions: int,
    owner: Owner,
    kind: str,
    parameters: dict[str, int | str],
) -> Record:
    """A record with all that positions depend on."""
    return Record(
        method=nct.NCT.name,
        kind=kind,
        key=key,
        slots=tuple(one.entry for one in measured),
        parameters={"positions": positions, "anchors": ANCHORS, "samples": SAMPLES, **parameters},
        arrays={},
        actor=owner.actor,
        role=owner.role,
        source_id=owner.source_id,
        destination_id=owner.destination_id,
        format=FORMAT_WITH_HOST if parameters.get("insertion") == nct.ADDED else FORMAT,
    )


class _RecordDraft:
    """A record in the making: its arrays are read from the network one after the other."""

    def __init__(
        self, view: SlotView, measured: Sequence[MeasuredSlot], record: Record, account: Account | None
    ) -> None:
        self.view, self.measured, self.record, self.account = view, measured, record, account
        self.arrays: dict[str, NDArray[np.generic]] = {
            "deviations": np.array([one.deviation for one in measured], "<f8")
        }

    def fingerprint(self, forerunners: Mapping[int, Forerunner] | None) -> Record:
        plan = self._plan(())
        own = OwnWeights(self.view.slots, [one.row_scales for one in self.measured])
        raw, corrected, row_scaled = nct.read_with_controls(self.record, plan, own)
        self.arrays |= {
            "values": raw.astype("<f8"),
            "controls": (raw - corrected).astype("<f8"),
            "gauged": row_scaled.astype("<f8"),
        }
        if forerunners:
            before = AncestorWeights(self.view.slots, own.rows, forerunners)
            _, corrected, row_scaled = nct.read_with_controls(self.record, plan, before)
            self.arrays |= {"ancestor": corrected.astype("<f8"), "ancestor_gauged": row_scaled.astype("<f8")}
        return self._finished(plan)

    def watermark(self, keep: Sequence[Record]) -> Record:
        added = nct.is_added(self.record)
        skipped = self._skipped(keep, added)
        if skipped is not None:
            self.arrays["skipped"] = skipped
        plan = self._plan([] if skipped is None else skipped.tolist())
        scales, sizes = [one.row_scales for one in self.measured], [entry.row_size for entry in self.record.slots]
        places = zip(plan.slots.tolist(), plan.positions.tolist(), strict=True)
        self.arrays["row_gains"] = np.array([scales[s][p // sizes[s]] for s, p in places], "<f8")
        if added:
            wide = any(entry.data_type == "double" for entry in self.record.slots)
            self.arrays["host"] = self._values(plan).astype("<f8" if wide else "<f4")
        return self._finished(plan)

    def _skipped(self, keep: Sequence[Record], added: bool) -> NDArray[np.int64] | None:
        """Ordinals of draws that are left out: on positions of records to keep, and on exact zeros where values are added."""
        taken = set().union(*map(places_of, keep)) if keep else set()
        names = [entry.name for entry in self.record.slots]

        def barred(plan: PositionPlan) -> NDArray[np.bool_]:
            out = self._values(plan) == 0 if added else np.zeros(plan.positions.size, np.bool_)
            if taken:
                places = zip(plan.slots.tolist(), plan.positions.tolist(), strict=True)
                out |= np.array([(names[slot], place) in taken for slot, place in places], np.bool_)
            return out

        if not keep and not added:
            return None
        refuse_no_room(self.record.slots, self.record.number_of_positions)
        skipped = _skips(self.record, barred)
        return skipped if keep or skipped.size else None

    def _values(self, plan: PositionPlan) -> NDArray[np.float64]:
        out = np.empty(plan.positions.size)
        for slot in plan.numbers:
            out[plan.slots == slot] = self.view.slots[slot].values(plan.of(slot))
        return out

    def _plan(self, skipped: Sequence[int]) -> PositionPlan:
        """Positions; and beside them anchors, samples and parameters."""
        record = self.record = replace(self.record, arrays=self.arrays)
        plan = draw_positions(
            record.placement_key, record.positions_context, record.slots, record.number_of_positions, skipped
        )
        anchors = anchor_positions(record, plan)
        samples = sample_positions(record, plan, anchors)
        for name, places in (("anchor", anchors), ("sample", samples)):
            slots = list(zip(self.view.slots, self.measured, places, strict=True))
            self.arrays[f"{name}s"] = np.concatenate([slot.values(p) for slot, _, p in slots]).astype("<f4")
            scales = [one.folded_row_scales[p // one.entry.row_size] for _, one, p in slots]
            self.arrays[f"{name}_gains"] = np.concatenate(scales).astype("<f4")
        return plan

    def _finished(self, plan: PositionPlan) -> Record:
        record, arrays = self.record, self.arrays
        if self.account is not None:
            account, sampled = kept_parameters(record.placement_key, record.positions_context, self.view, self.account)
            record, arrays = replace(record, account=account), arrays | sampled
        arrays |= factor_arrays([one.fold for one in self.measured]) | column_arrays(
            [one.columns for one in self.measured]
        )
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise UnsupportedNetwork(f"the network holds weights that are not finite numbers ({name})")
        return replace(record, arrays=arrays)


def _skips(record: Record, barred: "Callable[[PositionPlan], NDArray[np.bool_]]") -> NDArray[np.int64]:
    """Ordinals of draws that are left out, as a fixed point: each skip draws one more."""
    skips = np.empty(0, np.int64)
    while True:
        count = record.number_of_positions + skips.size
        found = np.flatnonzero(barred(draws(record.placement_key, record.positions_context, record.slots, count)))
        if np.array_equal(found, skips):
            return skips.astype("<i8")
        skips = found


def mark_edits(record: Record, view: SlotView, copies: Sequence[Copy] = ()) -> list[Edit]:
    """What writes a watermark into the network that its record was made of, and into copies of its weights.

    Raises:
        UsageError: The mark is so strong that an element type cannot hold its values.
    """
    slots = view.by_name()
    written = nct.mark(record)
    for name, (_, values) in written.items():
        if not np.isfinite(values).all():
            raise UsageError(
                f"so strong a mark does not fit into {name}, which holds {slots[name].tensor.type_name} values"
            )
    edits = [Edit(*slots[name].edits(positions, values)) for name, (positions, values) in written.items()]
    for copy in copies:
        if copy.of.name in written and not why_alone(copy):
            positions, values = written[copy.of.name]
            edits.append(Edit(*copy.slot.edits(copy.positions(positions), values)))
    return edits
