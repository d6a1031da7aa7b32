"""The walk over a network's nodes: the tags of each value, by the rule of the operator that computes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from onnxnnw.channels.shapes import Shape, Shapes
from onnxnnw.channels.tags import Change, Tags, Tracker, compact
from onnxnnw.constants.arrays import Constant
from onnxnnw.constants.constants import Constants
from onnxnnw.constants.moved import Expanded
from onnxnnw.flow.nodes import ABSENT, Flow, Node
from onnxnnw.network_file.stored import Array

__all__ = ["Operand", "Rule", "Walk", "aligned"]

_SAME_LENGTH = ("Expand", "Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that hand a single length on, as exporters write them."""


@dataclass(frozen=True, eq=False)
class Operand:
    """An input of a node: what is known of it.

    Attributes:
        tags: None where nothing in it moves.
        shape: None where not even the number of axes is known.
        constant: Where it is one.
    """

    value: int
    tags: Tags | None
    shape: Shape | None
    constant: Constant | None

    @property
    def rank(self) -> int | None:
        """Number of axes, where known."""
        return self.tags.ndim if self.tags is not None else None if self.shape is None else len(self.shape)

    def length(self, axis: int) -> int | str | None:
        """Length of an axis, where known; negative axes count from the end, before the first all are 1."""
        if self.tags is not None and self.tags.shape[axis] > 1:
            return int(self.tags.shape[axis])
        if self.shape is None:
            return None
        return self.shape[axis] if -len(self.shape) <= axis < len(self.shape) else 1


@dataclass
class Walk:
    """The state that operator rules read and write.

    Attributes:
        uniform: Computed values whose elements are all this same number, in any order of channels: a bias that an exporter
            expands from one zero.
    """

    flow: Flow
    constants: Constants
    shapes: Shapes
    tracker: Tracker
    tags: dict[int, Tags] = field(default_factory=dict)
    strange: set[str] = field(default_factory=set)
    uniform: dict[int, float] = field(default_factory=dict)

    @property
    def change(self) -> Change:
        """The planned change."""
        return self.tracker.change

    def operand(self, node: Node, number: int) -> Operand | None:
        """An input; None where it is not given."""
        if number >= len(node.inputs) or node.inputs[number] == ABSENT:
            return None
        value = node.inputs[number]
        constant = self.constants.of(value)
        shape = self.shapes.get(value) if constant is None else constant.shape
        return Operand(value, self.tags.get(value), shape, constant)

    def first(self, node: Node) -> Tags | None:
        """The tags of the first input."""
        return self.tags.get(node.inputs[0]) if node.inputs else None

    def operands(self, node: Node) -> list[Operand]:
        """All inputs that are given."""
        return [one for number in range(len(node.inputs)) if (one := self.operand(node, number)) is not None]

    def shape(self, value: int) -> Shape | None:
        """The shape of a value, where known."""
        return self.shapes.get(value)

    def give(self, node: Node, tags: Tags | None, number: int = 0) -> None:
        """The tags of an output."""
        if number < len(node.outputs) and node.outputs[number] != ABSENT:
            tags = None if tags is None else compact(tags)
            if tags is not None:
                self.tags[node.outputs[number]] = tags

    def small(self, node: Node, number: int) -> Array | None:
        """A constant input of a few elements."""
        return self.constants.small(node.inputs[number]) if number < len(node.inputs) else None

    def _single(self, node: Node) -> float | None:
        data = self.operand(node, 0)
        if data is None:
            return None
        if data.constant is not None and data.constant.size == 1:
            return float(data.constant.array().reshape(-1)[0])
        return self.number(data)

    def number(self, one: Operand) -> float | None:
        """The number that all elements of an operand are, where it was computed or expanded from one."""
        if isinstance(one.constant, Expanded) and one.constant.inner.size == 1:
            return float(one.constant.inner.array().reshape(-1)[0])
        return self.uniform.get(one.value)

    def spread(self, node: Node) -> bool:
        """Whether the first input is one number everywhere; what only casts or expands it is too."""
        value = self._single(node)
        if value is not None:
            self.uniform[node.result] = value
        return value is not None

    def indifferent(self, one: Operand) -> bool:
        """Whether an operand is one number everywhere and goes along with what moves."""
        number = self.number(one)
        return number is not None and (self.change is Change.ORDER or not number)

    def as_long_as(self, one: Operand, weight: Operand, axis: int) -> bool:
        """Whether an expanded operand asks a weight how long one axis is, and grows with it."""
        node = self.flow.producer.get(one.value)
        if node is None or node.op != "Expand":
            return False
        seen, value = 0, node.inputs[1]
        while (asked := self.flow.producer.get(value)) is not None and seen < 8:
            if asked.op == "Shape":
                place = asked.integer("start", 0), asked.integer("end", -1)
                return asked.inputs[0] == weight.value and place == (axis, axis + 1)
            if asked.op not in _SAME_LENGTH or not asked.inputs:
                return False
            seen, value = seen + 1, asked.inputs[0]
        return False

    def give_up(self, node: Node) -> None:
        """No rule for this operator: freeze its channels and those of its constants."""
        operands = self.operands(node)
        self.tracker.freeze(*(one.tags for one in operands))
        self.tracker.use(*(one.constant for one in operands))
        if any(one.tags is not None for one in operands):
            self.strange.add(f"{node.domain}.{node.op}".removeprefix("."))

    def together(self, node: Node, additive: bool, linear: bool = True) -> Tags | None:
        """Inputs that are combined element by element.

        Args:
            additive: Whether a factor of the result is a factor of every input.
            linear: Whether there can be one at all.
        """
        operands = self.operands(node)
        moving = [one for one in operands if one.tags is not None]
        tracker = self.tracker
        ranks = [one.rank for one in operands]
        if not moving or None in ranks:
            tracker.freeze(*(one.tags for one in moving))
            tracker.use(*(one.constant for one in operands))
            return None
        rank = max(number for number in ranks if number is not None)
        all_tags = [aligned(one.tags, rank) for one in moving if one.tags is not None]
        varying = [axis for axis in range(rank) if any(tags.shape[axis] > 1 for tags in all_tags)]
        if self.change is not Change.ORDER and (not linear or (not additive and len(moving) > 1)):
            tracker.freeze(*all_tags)
            tracker.use(*(one.constant for one in operands))
            return None
        joined: Tags | None = all_tags[0]
        for other in all_tags[1:]:
            joined = None if joined is None else tracker.join(joined, other)
        if joined is None:
            tracker.freeze(*all_tags)
            tracker.use(*(one.constant for one in operands))
            return None
        for one in operands:
            if not self._follows(one, joined, varying, rank, additive):
                tracker.freeze(joined)
        return joined

    def _follows(self, one: Operand, tags: Tags, varying: Sequence[int], rank: int, additive: bool) -> bool:
        """Whether an operand can go along with what moves; a constant gets its role."""
        use = self.tracker.use(one.constant) if one.constant is not None else 0
        own = [axis for axis in varying if one.length(axis - rank) != 1]
        if one.tags is not None:
            lengths = aligned(one.tags, rank).shape
            return all(lengths[axis] > 1 for axis in own)
        if self.change is not Change.ORDER and not additive:
            return True  # (s x) c = s (x c)
        if not own:
            return self.change is Change.ORDER or (one.constant is not None and self._is_zero(one.constant))
        if self.indifferent(one):
            self.tracker.stiffen(tags)
            return True
        if one.constant is None or any(one.length(axis - rank) != tags.shape[axis] for axis in own):
            return False
        chosen = tags
        for axis in range(rank):
            if tags.shape[axis] > 1 and axis not in own:
                first = chosen.take([0], axis)
                self.tracker.join(chosen, first)
                chosen = first
        start = rank - len(one.constant.shape)
        self.tracker.role(one.constant, chosen.reshape(chosen.shape[start:]), 1, use)
        return True

    def _is_zero(self, constant: Constant) -> bool:
        return constant.size <= 4096 and not constant.array().any()

    def collected(self, node: Node, tags: Tags, axes: tuple[int, ...], linear: bool) -> Tags | None:
        """The tags of what is left when some axes are added up, or compared, or normalised by: these have length 1 then."""
        along = [axis for axis in axes if tags.shape[axis] > 1]
        if not along:
            if self.change is Change.ORDER or linear:
                return tags
            self.tracker.freeze(tags)
            return None
        self.tracker.stiffen(tags)
        if self.change is not Change.ORDER:
            self.tracker.freeze(tags)
        else:
            self.tracker.fibre(tags, tuple(axes))
        return None


Rule = Callable[[Walk, Node], None]


def aligned(tags: Tags, rank: int) -> Tags:
    """Tags with axes of length 1 in front, as broadcasting has it."""
    return tags.reshape((1,) * (rank - tags.ndim) + tags.shape)
