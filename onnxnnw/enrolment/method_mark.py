"""Marks of any method: the bound part of a record, a file that the method writes into, and what is measured when the mark is in.

NCT has more to settle – positions, host values, records to keep – and an enrolment of its own (``enrol.embed``).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxnnw.accounting.account import Account
from onnxnnw.accounting.classing import account_of
from onnxnnw.enrolment.copies import Copy, why_alone, without_copies
from onnxnnw.enrolment.enrol import Enrolment, refuse_places, with_digests, write_marked
from onnxnnw.enrolment.measure_slots import measure_slot
from onnxnnw.enrolment.owner import Owner
from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.graph.digest import network_digest, network_digests
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.parameter_reads import kept_parameters
from onnxnnw.methods.base import FileInsertion, InsertionDraft
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.patch import Edit, joined_edits
from onnxnnw.network_file.stored import round_to
from onnxnnw.records.key import Key
from onnxnnw.records.positions import ANCHORS, NO_PLAN, SAMPLES, anchors_of, capacity, sample_positions
from onnxnnw.records.record import Record
from onnxnnw.records.row_factors import column_arrays, factor_arrays

__all__ = ["begin_record", "checked_values", "complete_record", "embed_by_method"]

Written = Mapping[int, tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Number of the slot -> flat canonical positions, ascending, and the value that stands at each."""


def embed_by_method(
    model: Path | str,
    out: Path | str,
    record_path: Path | str,
    insertion: FileInsertion,
    owner: Owner | None = None,
    key: Key | None = None,
) -> Enrolment:
    """Write a marked copy of a network by a method that writes into files; the record is on the disk before the copy is.

    Args:
        model: An ONNX file.
        out: The marked copy; exactly the bytes of the method's values differ (and external locations).
        record_path: Where to write the record; never overwritten.
        insertion: The method with its parameters.
        owner: Who marks.
        key: The secret; a new one by default.

    Raises:
        CannotLook: The network cannot be read or changed.
        UsageError: Output and input are the same, the record exists, the mark does not fit, or the method writes where it must not.
    """
    refuse_places(Path(model), Path(out), Path(record_path))
    with open_network(model, for_writing=True) as network:
        view, copies = without_copies(find_slots(network))
        account = account_of(network, view)
        draft = insertion.draft(view)
        record = begin_record(network, view, account, insertion.method, draft, owner or Owner(), key or Key.generate())
        written = _written(record, view, insertion)
        edits = _edits(record, view, written, copies)
        by_tensor = {id(edit.tensor): edit for edit in joined_edits(edits)}
        record = _measured(record, view, account, written)
        with ThreadPoolExecutor(1) as pool:
            marked = pool.submit(network_digests, network, view, by_tensor)
            record, commitment = write_marked(network, Path(out), edits, record, Path(record_path), marked)
    return Enrolment(record, commitment, capacity(record.slots), draft.warnings)


def begin_record(
    network: Network, view: SlotView, account: Account, method: str, draft: InsertionDraft, owner: Owner, key: Key
) -> Record:
    """The bound part of a record, before the mark is inserted.

    Args:
        network: As it is before the mark, opened.
        view: Its slots.
        account: What is stored in it.
        method: Name of the method that drafted.
    """
    record = Record(
        method=method,
        kind="watermark",
        key=key,
        slots=tuple(measure_slot(slot, watermark=True).entry for slot in view.slots),
        parameters={**draft.parameters, "anchors": ANCHORS, "samples": SAMPLES},
        arrays=draft.arrays,
        actor=owner.actor,
        role=owner.role,
        source_id=owner.source_id,
        destination_id=owner.destination_id,
        enrolled_digest=network_digest(network, view),
    )
    stored, _ = kept_parameters(key, record.positions_context, view, account)
    return replace(record, account=stored)


def complete_record(record: Record, file: Path) -> Record:
    """The record with what can be measured only when the mark is in: anchors, deviations, the network's digest.

    Raises:
        UnreadableRecord: The file is not of the network that the record was drafted for.
    """
    with open_network(file) as network:
        view = find_slots(network)
        slots = view.by_name()
        if [slot.name for slot in view.slots] != [entry.name for entry in record.slots]:
            raise UnreadableRecord(f"{file}: does not have the slots that its record speaks of")
        own = replace(view, slots=[slots[entry.name] for entry in record.slots])
        try:
            record = _measured(record, own, account_of(network, view), {})
        except UnreadableRecord as error:
            raise UnreadableRecord(f"{file}: {error}") from None
        return with_digests(record, network_digests(network, view))


def checked_values(values: Mapping[int, tuple[NDArray[np.int64], NDArray[np.float64]]], record: Record) -> Written:
    """The method's values in ascending order of their positions, checked.

    Raises:
        UsageError: The method writes outside a slot, twice in one place, at anchors, or something else than a number for each.
    """
    anchors = anchors_of(record)
    out = {}
    for number, (places, wanted) in values.items():
        positions, numbers = np.asarray(places, np.int64).reshape(-1), np.asarray(wanted, np.float64).reshape(-1)
        name, size = record.slots[number].name[:80], int(np.prod(record.slots[number].shape))
        order = np.argsort(positions, kind="stable")
        positions = positions[order]
        if positions.shape != numbers.shape or not np.isfinite(numbers).all():
            raise UsageError(
                f"method {record.method} writes something else into {name} than a number for each position"
            )
        if positions.size and (positions[0] < 0 or positions[-1] >= size or (np.diff(positions) == 0).any()):
            raise UsageError(f"method {record.method} writes outside {name}, or twice in one place")
        if np.isin(positions, anchors[number]).any():
            raise UsageError(f"method {record.method} writes at anchors of {name}, which must stay as they are")
        out[number] = positions, numbers[order]
    return out


def _written(record: Record, view: SlotView, insertion: FileInsertion) -> Written:
    """What will be stored: the method's values, rounded as the tensor does."""
    out = {}
    for number, (positions, values) in checked_values(insertion.values(record, view), record).items():
        slot = view.slots[number]
        if slot.read_only or slot.shared:
            raise UsageError(
                f"method {record.method} cannot write into {slot.name[:80]}: {slot.read_only or 'it is shared'}"
            )
        rounded = round_to(values, slot.tensor.type_name).astype(np.float64)
        if not np.isfinite(rounded).all():
            raise UsageError(
                f"the mark's values do not fit into {slot.name[:80]}, which holds {slot.tensor.type_name} values"
            )
        out[number] = positions, rounded
    if not any(positions.size for positions, _ in out.values()):
        raise UsageError(f"method {record.method} writes nothing")
    return out


def _edits(record: Record, view: SlotView, written: Written, copies: Sequence[Copy]) -> list[Edit]:
    """The values in their tensors, and in copies of these."""
    edits = [Edit(*view.slots[number].edits(*what)) for number, what in written.items()]
    by_slot = {id(view.slots[number]): what for number, what in written.items()}
    for copy in copies:
        if id(copy.of) in by_slot and not why_alone(copy):
            positions, values = by_slot[id(copy.of)]
            edits.append(Edit(*copy.slot.edits(copy.positions(positions), values)))
    return edits


def _measured(record: Record, view: SlotView, account: Account, written: Written) -> Record:
    """The record with anchors, samples, deviations and scales in its unbound part.

    Args:
        view: The slots of the record, in its order.
        account: What is stored in the network.
        written: What is about to be written into them.
    """
    found = [measure_slot(slot, watermark=True) for slot in view.slots]
    anchors = anchors_of(record)
    looked_at = {"anchor": anchors}
    if record.account is not None:  # a draft of before has none
        stored, arrays = kept_parameters(record.key, record.positions_context, view, account)
        if stored["parameters"] != record.account["parameters"]:
            raise UnreadableRecord("does not have the parameters that its record speaks of")
        looked_at["sample"] = sample_positions(record, NO_PLAN, anchors)
        record = record.with_measured(**arrays)
    for name, places in looked_at.items():
        scales = [one.folded_row_scales[p // one.entry.row_size] for one, p in zip(found, places, strict=True)]
        values = [_read(slot, p, written.get(n)) for n, (slot, p) in enumerate(zip(view.slots, places, strict=True))]
        record = record.with_measured(
            **{
                f"{name}s": np.concatenate(values).astype("<f4"),
                f"{name}_gains": np.concatenate(scales).astype("<f4"),
            }
        )
    return record.with_measured(
        deviations=np.array([one.deviation for one in found], "<f8"),
        **factor_arrays([one.fold for one in found]),
        **column_arrays([one.columns for one in found]),
    )


def _read(
    slot: Slot, places: NDArray[np.int64], written: tuple[NDArray[np.int64], NDArray[np.float64]] | None
) -> NDArray[np.float64]:
    """The values at some places once the mark is in."""
    values = slot.values(places)
    if written is None or not written[0].size:
        return values
    at = np.minimum(np.searchsorted(written[0], places), written[0].size - 1)
    return np.where(written[0][at] == places, written[1][at], values)
