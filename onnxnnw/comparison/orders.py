"""The same order said twice: channels of a hidden width matched once by what makes them and once by what reads them.

An alignment finds an order for strangers too. But where two networks are one, the rows of a producer and the columns of its
consumers, each aligned alone, say the same of every channel; of strangers they agree by luck, about once in a width, and a
little more often where layers have learned alike. No key and no record takes part. It is nominal: see docs/measured/comparison.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.networks import NetworkAlignment
from onnxnnw.channels.groups import Groups, find_groups
from onnxnnw.channels.tags import Change, Role
from onnxnnw.errors import CannotLook
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network

__all__ = ["Orders", "orders_of"]

Numbers = NDArray[np.int64]

_LEAST_CHANNELS = 8
SHARE, LEAST, STRANGERS = 0.5, 12, 3.0
"""Share and number of channels from which on two networks are related; agreements in a width of strangers, at most on average."""


@dataclass(frozen=True)
class Orders:
    """How often both sides of a width say the same.

    Attributes:
        widths: Hidden widths of which both sides were aligned; none of which a first layer makes.
        channels: Of all of them.
        agreeing: Channels of which both sides say the same.
    """

    widths: int = 0
    channels: int = 0
    agreeing: int = 0

    @property
    def share(self) -> float:
        """Of the channels, those of which both sides say the same."""
        return self.agreeing / self.channels if self.channels else 0.0

    @property
    def related(self) -> bool:
        """Whether luck and learning alike are out of the question."""
        return self.share >= SHARE and self.agreeing >= max(LEAST, 3 * STRANGERS * self.widths)

    @property
    def sentence(self) -> str:
        """What it says, and what it is."""
        return (
            f"both sides of {self.widths} hidden widths agree on {self.agreeing:,} of {self.channels:,} channels "
            f"(strangers: about 1 to 2 in a width; nominal)"
        )


def orders_of(path: str, slots: list[Slot], alignment: NetworkAlignment) -> Orders:
    """Count agreements.

    Args:
        path: The reference, opened here once more, with every tensor's place.
        slots: Of the reference, as they were aligned.
        alignment: Of each of them.
    """
    try:
        with open_network(path, for_writing=True) as network:
            groups = find_groups(network, Change.ORDER)
            view = find_slots(network)
            first = {
                slot.name
                for slot, node in zip(view.slots, view.nodes, strict=True)
                if {*node.inputs} & {*view.flow.inputs}
            }
            own = {slot.tensor.name: slot for slot in view.slots}
    except CannotLook:
        return Orders()
    numbers = {slot.name: number for number, slot in enumerate(slots)}
    made: dict[int, list[tuple[int, int, int]]] = {}
    read: dict[int, list[tuple[int, int, int]]] = {}
    for role in groups.roles:
        slot = own.get(role.tensor.name)
        number = None if slot is None else numbers.get(slot.name)
        aligned = None if number is None else alignment.slots[number]
        if slot is None or aligned is None or role.labels.any() or slot.name in first:
            continue
        matrix = aligned.matrix
        rows, columns = _along(groups, role, slot, matrix.taps)
        if rows is not None and len(rows) == len(matrix.rows) and slot.row_size > matrix.taps:
            _note(made, rows, matrix.rows, slot)
        elif columns is not None and matrix.channels.shape == (1, len(columns)):
            _note(read, columns, matrix.channels[0], slot)
    return _counted(groups, made, read)


def _along(groups: Groups, role: Role, slot: Slot, taps: int) -> tuple[Numbers | None, Numbers | None]:
    """The channel of each row, or of each column, whichever a role goes along; None for the other."""
    numbers = groups.numbers_in(role)
    for count, step, rows in ((slot.rows, slot.row_size, True), (slot.row_size // taps, taps, False)):
        place = slot.constant.locate(np.arange(count, dtype=np.int64) * step)
        if place is None:
            return None, None
        index = np.unravel_index(place[1], role.tensor.shape)
        found = numbers[tuple(np.where(length > 1, at, 0) for at, length in zip(index, numbers.shape, strict=True))]
        if np.unique(found).size > 1:
            return (found, None) if rows else (None, found)
    return None, None


def _note(out: dict[int, list[tuple[int, int, int]]], channels: Numbers, order: Numbers, slot: Slot) -> None:
    for channel, there in zip(channels.tolist(), order.tolist(), strict=True):
        if channel >= 0 and there >= 0:
            out.setdefault(channel, []).append((slot.size, id(slot), there))


def _counted(
    groups: Groups, made: dict[int, list[tuple[int, int, int]]], read: dict[int, list[tuple[int, int, int]]]
) -> Orders:
    """Each width once: by its largest producer and its largest consumer."""
    widths = channels = agreeing = 0
    for group in groups.groups:
        both = [number for number in group.channels if number in made and number in read]
        if len(both) < _LEAST_CHANNELS:
            continue
        ours, theirs = ({number: max(side[number]) for number in both} for side in (made, read))
        if len({(ours[n][1], theirs[n][1]) for n in both}) > 4:
            continue  # the largest sides must be the same layers for all
        widths, channels = widths + 1, channels + len(both)
        agreeing += sum(ours[number][2] == theirs[number][2] for number in both)
    return Orders(widths, channels, agreeing)
