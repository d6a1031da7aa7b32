"""What a registry keeps of a record for scanning: where to look, and what is expected there; little-endian, made when it comes in.

Positions count through all slots of the layout, one after the other. What is expected is z of a watermark or a standardised
enrolled value, in sixteenths, one byte each. Marks that were added have the host values too, in 1/1024 of their slot's deviation.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord
from onnxnnw.methods.nct import NCT, expected_numbers, is_added
from onnxnnw.methods.rtw import RTW, mark_of
from onnxnnw.records.canonical_json import canonical
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.slot_table import SlotEntry
from onnxnnw.statistics import standardise

__all__ = [
    "ADDED",
    "FINGERPRINT",
    "HOST_STEPS",
    "LONGER",
    "PROJECTED",
    "REPLACED",
    "SCREEN",
    "STEPS",
    "WHOLE",
    "Family",
    "Scanned",
    "offsets_of",
    "scanned",
]

REPLACED, ADDED, FINGERPRINT, PROJECTED, WHOLE = "replaced", "added", "fingerprint", "projected", "whole"
"""Families: how a record is scanned. Of marks in projections, the mean over the layer's rows is held against the sum of all
secret vectors, each with the sign that its bit wants: without the mark these signs are fair coins. The last has nothing to scan,
and is held against a candidate as a whole."""

SCREEN, LONGER = 64, 128
"""Positions that are looked at first, and of a record that passes next; pages hold so many."""

STEPS, HOST_STEPS, MOST_HOST = 16, 1024, 16_000


@dataclass(frozen=True)
class Family:
    """What records of one group have in common.

    Attributes:
        name: One of those above.
        positions: N.
        slots: The slot table.
        units: Deviation of each slot at enrolment, of marks that were added; else empty.
        host: Digest of the network before such a mark.
    """

    name: str
    positions: int
    slots: tuple[SlotEntry, ...]
    units: bytes = b""
    host: str = ""

    @cached_property
    def layout(self) -> bytes:
        """The slot table, as it is kept."""
        return canonical([slot.to_json() for slot in self.slots])

    @cached_property
    def digest(self) -> str:
        """Names the group."""
        parts = [self.name, str(self.positions), hashlib.sha256(self.layout).hexdigest(), self.host]
        return hashlib.sha256("\0".join(parts).encode() + b"\0" + self.units).hexdigest()

    @cached_property
    def width(self) -> int:
        """Bytes of a position: 4, or 8 in networks of 2^32 weights and more."""
        return 4 if int(offsets_of(self.slots)[-1]) < 2**32 else 8

    def row_bytes(self, count: int) -> int:
        """Bytes of so many positions of a record."""
        return count * self._position_bytes

    def positions_in(self, row_bytes: int) -> int:
        """How many positions of a record so many bytes hold; -1 where they hold none."""
        return -1 if row_bytes % self._position_bytes else row_bytes // self._position_bytes

    def first_of(self, row: bytes, count: int) -> bytes:
        """The first so many positions of a record of which a row holds more."""
        held = self.positions_in(len(row))
        places, rest = row[: held * self.width], row[held * self.width :]
        return places[: count * self.width] + rest[:count] + rest[held : held + 2 * count]

    @property
    def _position_bytes(self) -> int:
        return self.width + 1 + 2 * (self.name == ADDED)


@dataclass(frozen=True)
class Scanned:
    """Positions of one record and what is expected there.

    Attributes:
        family: What it shares with others.
        positions: (N,) through all slots.
        expected: (N,) sixteenths.
        host: (N,) in 1/1024 of the slot's deviation; empty where the mark was not added.
    """

    family: Family
    positions: NDArray[np.int64]
    expected: NDArray[np.int8]
    host: NDArray[np.int16]

    def to_bytes(self, count: int) -> bytes:
        """The first so many positions: positions, then what is expected, then the host."""
        places = self.positions[:count].astype(f"<u{self.family.width}")
        return places.tobytes() + self.expected[:count].tobytes() + self.host[:count].astype("<i2").tobytes()


def offsets_of(slots: Sequence[SlotEntry]) -> NDArray[np.int64]:
    """Where each slot begins, and where the last one ends."""
    return np.cumsum([0, *(math.prod(slot.shape) for slot in slots)]).astype(np.int64)


def scanned(record: Record) -> Scanned:
    """What is kept of a record for scanning.

    Raises:
        UnreadableRecord: It does not hold what its method needs.
    """
    nothing = np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.int16)
    if record.method == RTW.name and record.kind == "watermark":
        return _projected(record)
    if record.method != NCT.name or record.kind not in ("watermark", "fingerprint"):
        return Scanned(Family(WHOLE, 0, record.slots), *nothing)
    plan = plan_of(record)
    count = plan.positions.size
    places = offsets_of(record.slots)[plan.slots] + plan.positions
    if record.kind == "fingerprint":
        enrolled = record.array("values", count).astype(np.float64)
        family = Family(FINGERPRINT, count, record.slots)
        return Scanned(family, places, _steps(standardise(enrolled, plan.slots)), nothing[2])
    expected = _steps(expected_numbers(record, plan))
    if not is_added(record):
        return Scanned(Family(REPLACED, count, record.slots), places, expected, nothing[2])
    units = record.array("deviations", len(record.slots)).astype("<f8")
    if (units < 0).any():
        raise UnreadableRecord("the record's array 'deviations' is impossible")
    with np.errstate(all="ignore"):
        host = record.array("host", count).astype(np.float64) / np.where(units > 0, units, 1)[plan.slots]
    whole = np.clip(np.rint(host * HOST_STEPS), -MOST_HOST, MOST_HOST).astype(np.int16)
    family = Family(ADDED, count, record.slots, units.tobytes(), record.enrolled_digest)
    return Scanned(family, places, expected, whole)


def _projected(record: Record) -> Scanned:
    """Of a mark in projections: the columns of its layer, and what their means are held against."""
    mark = mark_of(record)
    centred = mark.matrix - mark.matrix.mean()
    total = centred @ (2.0 * mark.wanted - 1)
    spread = float(np.sqrt(np.mean(total**2))) or 1.0
    places = offsets_of(record.slots)[mark.slot] + np.arange(total.size)
    return Scanned(Family(PROJECTED, total.size, record.slots), places, _steps(total / spread), np.empty(0, np.int16))


def _steps(values: NDArray[np.float64]) -> NDArray[np.int8]:
    return np.clip(np.rint(values * STEPS), -127, 127).astype(np.int8)
