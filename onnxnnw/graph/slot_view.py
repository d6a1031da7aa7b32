"""The slots of a network, what in it is doubtful, dead or not understood, and the data flow around them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnxnnw.flow.nodes import ABSENT, Flow, Node
from onnxnnw.graph.slot import Slot
from onnxnnw.network_file.stored import StoredTensor

if TYPE_CHECKING:
    from onnxnnw.constants.constants import Constants

__all__ = ["SlotView", "other_constants"]


@dataclass(frozen=True, eq=False)
class SlotView:
    """The slots of a network, and everything else that ``find_slots`` found.

    Attributes:
        slots: In the order of the live nodes, each stored tensor once.
        doubtful: Slots that an output depends on only through factors of (nearly) nothing; they prove no mark.
        not_understood: Live uses of weights that this version cannot read: name or operator, with the reason.
        flow: The flattened network.
        constants: Its constants.
        live: Its live nodes.
        possible: Live nodes and those of which that is not certain; see ``graph.live``.
        consumed: Inputs that were looked at as weights: id of the node, number of the input.
        dead: Stored weights that no output can depend on.
        nodes: The node that uses each of ``slots``.
    """

    slots: list[Slot]
    doubtful: list[Slot]
    not_understood: list[str]
    flow: Flow = field(repr=False)
    constants: "Constants" = field(repr=False)
    live: list[Node] = field(repr=False)
    possible: list[Node] = field(repr=False)
    consumed: set[tuple[int, int]] = field(repr=False)
    dead: list[StoredTensor] = field(repr=False)
    nodes: list[Node] = field(repr=False)

    def other_constants(self) -> Iterator[tuple[Node, int, int]]:
        """Where other constants than weights reach what is computed: node, number of the input, value."""
        return other_constants(self.possible, self.constants, self.consumed)

    def by_name(self) -> dict[str, Slot]:
        """Slots by name; names are unique among stored tensors of one scope, and the first live use wins."""
        out: dict[str, Slot] = {}
        for slot in self.slots:
            out.setdefault(slot.name, slot)
        return out


def other_constants(
    nodes: list[Node], constants: "Constants", consumed: set[tuple[int, int]]
) -> Iterator[tuple[Node, int, int]]:
    """Where constants reach what is computed other than as a weight; asked for anew, since there may be millions."""
    status, flow = constants.status, constants.flow
    for node in nodes:
        dynamic: bool | None = None
        for index, value in enumerate(node.inputs):
            if value in flow.slices and (id(node), index) not in consumed:
                stack = flow.slices[value][0]
                if status(stack) is not None:
                    yield node, index, stack
                continue
            if value == ABSENT or status(value) is None or (id(node), index) in consumed:
                continue
            if (
                node.bodies and (id(node), index) in flow.passing
            ):  # it is looked at where the body or what follows reads it
                continue
            if dynamic is None:
                dynamic = status(node.result) is None
            if not dynamic:
                break
            yield node, index, value
