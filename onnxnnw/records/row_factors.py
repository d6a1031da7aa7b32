"""Row factors: what multiplied each out-row downstream at enrolment, to compare folded and raw files in one unit.

Marks lie on stored values. Where a normalisation or a constant follows, a tool may fold it into the weights, signs included;
the record says by what each row would be multiplied then. Records from before this was kept have no such arrays: with them,
nothing is folded.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord
from onnxnnw.records.record import Record

__all__ = ["RowFactors", "column_arrays", "columns_of", "factor_arrays", "parted", "row_factors_of", "unit_change"]

Floats = NDArray[np.float64]
RowFactors = Mapping[int, Floats]
"""Slot number -> factor of each out-row; slots whose rows nothing multiplies are left out."""


def factor_arrays(folds: Sequence[Floats | None]) -> dict[str, NDArray[np.generic]]:
    """The arrays of a record: whether each slot is followed by factors, and the factors of the rows of those that are."""
    arrays: dict[str, NDArray[np.generic]] = {"folded": np.array([fold is not None for fold in folds], "|u1")}
    rows = [fold for fold in folds if fold is not None]
    if rows:
        arrays["folds"] = np.concatenate(rows).astype("<f4")
    return arrays


MAX_COLUMNS = 2**20
"""Networks with more channels keep no magnitudes of them: a record is a few megabytes at most."""


def column_arrays(columns: Sequence[Floats | None]) -> dict[str, NDArray[np.generic]]:
    """The arrays of a record: whether each slot's columns were balanced, and their magnitudes.

    Every verification reads, checks and hashes them, so they are kept in half precision, and once for all taps of a kernel.
    """
    known = [each for each in columns if each is not None]
    if not known or sum(each.size for each in known) > MAX_COLUMNS:
        return {}
    return {
        "balanced": np.array([each is not None for each in columns], "|u1"),
        "channels": np.concatenate(known).astype("<f2"),
    }


def parted(values: Floats, sizes: Sequence[int]) -> list[Floats]:
    """The same numbers slot by slot; ``np.split`` takes longer than all else here."""
    ends = list(accumulate(sizes))
    return [values[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def columns_of(record: Record) -> RowFactors:
    """What a record keeps of columns, slot by slot: a magnitude for each channel, or, in older records, for each column.

    Raises:
        UnreadableRecord: The arrays contradict the slot table.
    """
    numbers = _flagged(record, "balanced") if "balanced" in record.arrays else []
    if not numbers:
        return {}
    name = "channels" if "channels" in record.arrays else "columns"
    slots = [record.slots[n] for n in numbers]
    counts = [slot.row_size // (slot.taps if name == "channels" else 1) for slot in slots]
    scales = record.array(name, sum(counts)).astype(np.float64)
    if (scales <= 0).any():
        raise UnreadableRecord(f"the record's array {name!r} is impossible")
    return dict(zip(numbers, parted(scales, counts), strict=True))


def _flagged(record: Record, name: str) -> list[int]:
    flags = record.array(name, len(record.slots)).tolist()
    if not set(flags) <= {0, 1}:
        raise UnreadableRecord(f"the record's array {name!r} is impossible")
    return [number for number, flag in enumerate(flags) if flag]


def row_factors_of(record: Record) -> RowFactors | None:
    """The row factors of a record; None in records that were made before these were kept.

    Raises:
        UnreadableRecord: The arrays contradict the slot table.
    """
    if "folded" not in record.arrays:
        return None
    numbers = _flagged(record, "folded")
    if not numbers:
        return {}
    counts = [record.slots[n].live_rows + len(record.slots[n].dead_rows) for n in numbers]
    factors = record.array("folds", sum(counts)).astype(np.float64)
    return dict(zip(numbers, parted(factors, counts), strict=True))


def unit_change(candidate: Floats | None, enrolled: Floats | None) -> Floats | None:
    """Factors that turn a candidate's stored rows into the unit of enrolment; None where all are 1.

    Rows that were multiplied by nothing at all at enrolment stay as they are: no mark lies there.
    """
    if candidate is None and enrolled is None:
        return None
    with np.errstate(all="ignore"):
        ours = 1.0 if enrolled is None else np.where(enrolled == 0, 1.0, enrolled)
        theirs = np.float64(1.0) if candidate is None else candidate.astype(np.float32).astype(np.float64)
        ratio: Floats = np.asarray(theirs / ours, np.float64)
    return None if (ratio == 1).all() else ratio
