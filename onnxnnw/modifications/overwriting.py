"""Watermark overwriting: more independent NCT marks of the same size on top [NNW-TEC 3, 7.2.6]."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from onnxnnw.enrolment.how_many import DEFAULT_POSITIONS
from onnxnnw.enrolment.owner import Owner
from onnxnnw.enrolment.record_draft import DEFAULT_STRENGTH, Writing, draft_watermark, mark_edits
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods.nct import REPLACED
from onnxnnw.modifications.base import Modification, between, parameter
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.patch import Edit, write_patched
from onnxnnw.records.key import SECRET_BYTES, Key

__all__ = ["WatermarkOverwriting"]


@dataclass(frozen=True)
class WatermarkOverwriting(Modification):
    """Insert W more marks, each under a key of its own, that know nothing of those already there.

    Args:
        marks: W.
        positions: N of each.
        strength: Standard deviation of their values in units of each layer's.
        insertion: ``replaced``: the values take the place of weights, as in the standard; ``added``: they are added to them.
    """

    name: ClassVar[str] = "watermark-overwriting"
    marks: int = parameter("W: number of further marks", 1)
    positions: int = parameter("N: positions of each mark", DEFAULT_POSITIONS)
    strength: float = parameter("deviation of the values in units of each layer's", DEFAULT_STRENGTH)
    insertion: str = parameter("replaced, as in the standard, or added", REPLACED)

    def __post_init__(self) -> None:
        between("the number of marks W", self.marks, 1, 1000)
        Writing(self.insertion, self.strength)

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        view = find_slots(network)
        edits: list[Edit] = []
        for _ in range(self.marks):
            key = Key(rng.bytes(SECRET_BYTES))
            record = draft_watermark(view, key, self.positions, Owner(), Writing(self.insertion, self.strength))
            edits += mark_edits(record, view)
        write_patched(network, out, edits)
