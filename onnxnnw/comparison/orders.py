"""Two independent estimates of one channel order: from the weight that makes the channels and from the one that reads them.

An alignment finds an order for strangers too. But where two networks are one, the rows of a producer and the columns of its
consumers, each aligned alone, say the same of every channel; of strangers they agree by luck, about once in a width, and a
little more often where layers have learned alike. No key and no record takes part. It is nominal: see docs/measured/comparison.md.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.matrices import MatrixAlignment
from onnxnnw.alignment.weights import Weight
from onnxnnw.channels.groups import Groups, find_groups
from onnxnnw.channels.tags import Change, ChannelRole
from onnxnnw.errors import CannotLook
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network

__all__ = ["Orders", "Width", "orders_in", "some_of", "widths_of"]

Numbers = NDArray[np.int64]

_LEAST_CHANNELS, _MANY_CHANNELS, _SOME = 8, 16, 4
SHARE, LEAST, STRANGERS = 0.5, 12, 3.0
"""Share and number of channels from which on two networks are related; agreements in a width of strangers, at most on average."""


@dataclass(frozen=True)
class Orders:
    """Agreement of the two estimates of a width's channel order.

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
        """Share of the channels on which both estimates agree."""
        return self.agreeing / self.channels if self.channels else 0.0

    @property
    def related(self) -> bool:
        """Whether the agreement exceeds what chance and similar training give."""
        return self.share >= SHARE and self.agreeing >= max(LEAST, 3 * STRANGERS * self.widths)

    @property
    def possible(self) -> bool:
        """Whether the agreement suffices to align the other widths."""
        return not self.widths or self.share >= SHARE / 2

    @property
    def sentence(self) -> str:
        """The agreement in one sentence."""
        return (
            f"both sides of {self.widths} hidden widths agree on {self.agreeing:,} of {self.channels:,} channels "
            f"(strangers: about 1 to 2 in a width; nominal)"
        )


@dataclass(frozen=True)
class Width:
    """A hidden width between two weights.

    Attributes:
        maker, reader: Numbers of the weights whose rows, and whose columns, are its channels.
        places: Row of the one and column of the other, of each channel.
        effort: Elements of both.
    """

    maker: int
    reader: int
    places: tuple[tuple[int, int], ...]
    effort: int


def widths_of(path: Path | str, slots: Sequence[Slot], weights: Sequence[Weight]) -> list[Width]:
    """The hidden widths of a network, each once: between the largest weight that makes it and the largest that reads it.

    Args:
        path: The network, opened here once more, with every tensor's place; empty where its channels cannot be followed.
        slots, weights: Its weights, in one order.
    """
    try:
        with open_network(path, for_writing=True) as network:
            groups = find_groups(network, Change.ORDER)
            view = find_slots(network)
            inputs = {*view.flow.inputs}
            first = {slot.name for slot, node in zip(view.slots, view.nodes, strict=True) if {*node.inputs} & inputs}
            own = {slot.tensor.name: slot for slot in view.slots}
            return _widths(groups, own, first, {slot.name: number for number, slot in enumerate(slots)}, weights)
    except CannotLook:
        if isinstance(path, str) and "://" in path:
            raise  # the server failed: the network was read before
        return []


def _widths(
    groups: Groups, own: Mapping[str, Slot], first: Set[str], numbers: Mapping[str, int], weights: Sequence[Weight]
) -> list[Width]:
    made: dict[int, dict[int, int]] = {}
    read: dict[int, dict[int, int]] = {}
    for role in groups.roles:
        slot = own.get(role.tensor.name)
        number = None if slot is None else numbers.get(slot.name)
        if slot is None or number is None or role.labels.any() or slot.name in first:
            continue
        weight = weights[number]
        rows, columns = _along(groups, role, slot, weight.taps)
        if rows is not None and weight.channels > 1:
            made[number] = {channel: row for row, channel in enumerate(rows.tolist()) if channel >= 0}
        elif columns is not None and weight.groups == 1:
            read[number] = {channel: column for column, channel in enumerate(columns.tolist()) if channel >= 0}
    out = []
    for group in groups.groups:
        channels = {*group.channels}
        makers, readers = ([n for n, places in side.items() if channels <= places.keys()] for side in (made, read))
        if makers and readers and len(channels) >= _LEAST_CHANNELS:
            maker, reader = (max(side, key=lambda n: (weights[n].size, n)) for side in (makers, readers))
            places = tuple((made[maker][channel], read[reader][channel]) for channel in group.channels)
            out.append(Width(maker, reader, places, weights[maker].size + weights[reader].size))
    return out


def some_of(widths: Sequence[Width]) -> list[Width]:
    """A few widths, of many channels and little effort: enough to see that two networks are strangers."""
    wide = [width for width in widths if len(width.places) >= _MANY_CHANNELS] or list(widths)
    return sorted(wide, key=lambda width: width.effort)[:_SOME]


def orders_in(widths: Sequence[Width], aligned: Mapping[int, MatrixAlignment]) -> Orders:
    """Count agreements.

    Args:
        aligned: The alignment of each weight that has one.
    """
    used = channels = agreeing = 0
    for width in widths:
        maker, reader = aligned.get(width.maker), aligned.get(width.reader)
        if maker is None or reader is None or len(reader.channels) > 1:
            continue
        rows, columns = np.array(width.places).T
        ours, theirs = maker.rows[rows], reader.channels[0][columns]
        there = (ours >= 0) & (theirs >= 0)
        used, channels, agreeing = used + 1, channels + len(rows), agreeing + int((ours == theirs)[there].sum())
    return Orders(used, channels, agreeing)


def _along(groups: Groups, role: ChannelRole, slot: Slot, taps: int) -> tuple[Numbers | None, Numbers | None]:
    """The channel of each row, or of each column, whichever a role goes along; None for the other."""
    numbers = groups.numbers_in(role)
    for count, step, rows in ((slot.rows, slot.row_size, True), (slot.row_size // taps, taps, False)):
        place = slot.constant.locate(np.arange(count, dtype=np.int64) * step)
        if place is None:
            return None, None
        index = np.unravel_index(place[1], role.tensor.shape)
        found = numbers[tuple(np.where(n > 1, at, 0) for at, n in zip(index, numbers.shape, strict=True))]
        if np.unique(found).size > 1:
            return (found, None) if rows else (None, found)
    return None, None
