"""What cannot be enrolled, and why."""

from collections.abc import Sequence, Set

import numpy as np

from onnxnnw.enrolment.copies import Copy
from onnxnnw.errors import UsageError
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.methods import nct
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.slot_table import SlotEntry

__all__ = ["refuse_strange", "refuse_too_weak", "why_nothing"]


def refuse_strange(keep: Sequence[Record], entries: Sequence[SlotEntry], copies: Sequence[Copy]) -> None:
    """Refuse a record to keep whose weights have other names than the network's: positions are compared by name."""
    own = {copy.slot.name: copy.slot.shape for copy in copies} | {entry.name: entry.shape for entry in entries}
    for record in keep:
        if record.method != nct.NCT.name:
            raise UsageError(f"a record of the method {record.method} holds no positions that could be left alone")
        strange = [entry.name for entry in record.slots if own.get(entry.name) != entry.shape]
        if strange:
            raise UsageError(
                f"the record to keep knows {len(strange)} of its {len(record.slots)} weights, such as {strange[0][:80]!r}, "
                "by a name or shape that this network does not have: its positions cannot be left alone"
            )


def why_nothing(view: SlotView, watermark: bool, left_out: Set[int]) -> str:
    """Why no weight of a network can carry a mark or a fingerprint."""
    if left_out:
        count = sum(id(slot) in left_out for slot in view.slots)
        return (
            f"no eligible weights: {count} of {len(view.slots)} are left out of fingerprints, "
            "since others get the same without copying (linear models, shared tables, an ancestor); a watermark can be embedded"
        )
    if watermark:
        reasons = sorted({slot.read_only for slot in view.slots if slot.read_only})
        if reasons:
            return "no weight of the network can be changed in place: " + "; ".join(reasons[:3])
    if view.not_understood:
        return "no eligible weights: " + "; ".join(view.not_understood[:3])
    return "the network has no eligible weights (2 or more dimensions, at least 64 elements, reached by an output)"


def refuse_too_weak(record: Record) -> None:
    """Refuse a mark that the network's number format rounds away: it cannot be found again.

    Raises:
        UsageError: Half of the values are zero, or what they were.
    """
    values = nct.mark_values(record, plan_of(record))
    before = record.array("host").astype(np.float64) if "host" in record.arrays else np.zeros(values.size)
    if np.count_nonzero(values != before) < values.size / 2:
        what = "away" if nct.is_added(record) else "to zero"
        raise UsageError(f"so weak a mark is rounded {what} where it is stored; take a larger strength")
