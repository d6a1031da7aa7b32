"""Decoys: weights of the record that are stored in the candidate although no output depends on them."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from onnxnnw.network_file.stored import StoredTensor
from onnxnnw.verification.findings.base import Examination, Finding, few

__all__ = ["find"]

MIN_READS, AGREEMENT = 8, 0.9
MAX_HELD = 4_096
"""Comparisons in one examination: a file may hold any number of dead tensors of one size."""


def find(examination: Examination) -> list[Finding]:
    """Dead tensors that hold what the record enrolled, as a quantiser leaves them, or somebody who wants them found."""
    dead: dict[int, list[StoredTensor]] = defaultdict(list)
    for tensor in examination.view.dead:
        dead[tensor.size].append(tensor)
    if not dead:
        return []
    reads, held = examination.reads, 0
    recognised = {number for number, _ in examination.matched()}
    decoys: dict[str, dict[str, float | int | str]] = {}
    instead = 0
    for number in sorted(set(reads.slots.tolist())):
        entry = examination.record.slots[number]
        size = (entry.live_rows + len(entry.dead_rows)) * entry.row_size
        chosen = reads.slots == number
        for tensor in dead.get(size, ()):
            held += 1
            if held > MAX_HELD:
                break
            if _agrees(tensor, reads.positions[chosen], entry.row_size, reads.enrolled[chosen]):
                decoys[entry.name] = {"stored_as": tensor.name[:200], "also_live": int(number in recognised)}
                instead += number not in recognised
                break
    if not decoys:
        return []
    certain = instead and not _may_be_elsewhere(examination, decoys)
    where = "while others are used in their place" if certain else "beside those that are used"
    if instead and not certain:
        where = "and whether they are used elsewhere cannot be seen"
    return [
        Finding(
            "decoys",
            f"{len(decoys)} of the record's weights are stored where no output depends on them, {where}",
            {"slots": len(decoys), "instead": instead},
            few(decoys),
            accuses=bool(certain),
            version=2,
            own_id="decoys" if certain else "unused-copies",
        )
    ]


def _may_be_elsewhere(examination: Examination, decoys: Mapping[str, Mapping[str, float | int | str]]) -> bool:
    """Whether a tensor that was not read, or not recognised after its changes, could hold one of these weights."""
    unsure = set(examination.unsure)
    for number, entry in enumerate(examination.record.slots):
        if entry.name in decoys and not decoys[entry.name]["also_live"]:
            size = (entry.live_rows + len(entry.dead_rows)) * entry.row_size
            if number in unsure or examination.hidden >= size / 4:
                return True
    return False


def _agrees(tensor: StoredTensor, positions: NDArray[np.int64], row_size: int, enrolled: NDArray[np.float64]) -> bool:
    """Whether a stored tensor holds the enrolled values, as it is or transposed."""
    if positions.size < MIN_READS:
        return False
    turned = positions % row_size * (tensor.size // row_size) + positions // row_size
    for places in (positions, turned):
        found = tensor.take(places).astype(np.float64)
        if not np.isfinite(found).all() or not found.std() > 0 or not enrolled.std() > 0:
            continue
        with np.errstate(all="ignore"):
            if np.corrcoef(found, enrolled)[0, 1] > AGREEMENT:
                return True
    return False
