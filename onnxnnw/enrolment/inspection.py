"""A summary of a network for traceability; it reads no weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxnnw.accounting.account import Account
from onnxnnw.accounting.classing import account_of
from onnxnnw.enrolment.measure_slots import may_carry
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.records.positions import ANCHORS

__all__ = ["FORMAT", "InspectedWeight", "Inspection", "inspect"]

FORMAT = "onnxnnw/inspection/1"
MAX_ENTRIES = 1000


@dataclass(frozen=True)
class InspectedWeight:
    """One live weight.

    Attributes:
        mark: ``yes``, ``fingerprint only`` or ``no``, by its structure alone.
    """

    name: str
    use: str
    shape: tuple[int, ...]
    stored_as: str
    elements: int
    mark: str


@dataclass(frozen=True)
class Inspection:
    """The live weights of a network.

    Attributes:
        account: Everything that is stored, by kind; see ``accounting.account``.
        room_to_embed, room_to_fingerprint: Largest N, an upper bound: dead rows and formula tables are not known yet.
    """

    weights: tuple[InspectedWeight, ...]
    live_elements: int
    room_to_embed: int
    room_to_fingerprint: int
    dead_tensors: int
    not_understood: tuple[str, ...]
    account: Account

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/json-formats.md."""
        account = self.account
        return {
            "format": FORMAT,
            "weights": [asdict(weight) for weight in self.weights],
            "live_elements": self.live_elements,
            "room_to_embed": self.room_to_embed,
            "room_to_fingerprint": self.room_to_fingerprint,
            "dead_tensors": self.dead_tensors,
            "not_understood": list(self.not_understood),
            "account": {
                **{kind.replace(" ", "_"): amount for kind, amount in account.amounts.items()},
                "entries": [asdict(entry) for entry in account.entries[:MAX_ENTRIES]],
            },
        }


def inspect(model: Path | str) -> Inspection:
    """List the live weights of an ONNX file.

    Raises:
        CannotLook: The file cannot be read.
    """
    with open_network(model, for_writing=True) as network:
        view = find_slots(network)
        account = account_of(network, view)
        network.check_unchanged()
    embeddable, readable = ([slot for slot in view.slots if may_carry(slot, mark)] for mark in (True, False))
    weights = tuple(
        InspectedWeight(slot.name, slot.use, slot.shape, _stored_as(slot), slot.size, _mark(slot))
        for slot in view.slots
    )
    return Inspection(
        weights=weights,
        live_elements=sum(slot.size for slot in view.slots),
        room_to_embed=_room(embeddable, len(view.slots)),
        room_to_fingerprint=_room(readable, len(view.slots)),
        dead_tensors=len(view.dead),
        not_understood=tuple(view.not_understood),
        account=account,
    )


def _room(slots: list[Slot], all_slots: int) -> int:
    return max(0, sum(slot.size for slot in slots) // 2 - ANCHORS * all_slots)


def _mark(slot: Slot) -> str:
    if may_carry(slot, True):
        return "yes"
    return "fingerprint only" if may_carry(slot, False) else "no"


def _stored_as(slot: Slot) -> str:
    return " < ".join([*reversed(slot.constant.operations()), slot.tensor.type_name][::-1])
