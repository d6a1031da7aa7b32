"""Tags: which channel each element of a value belongs to.

A value's tags are an array of atoms with as many axes as the value, of length 1 along every axis on which nothing depends. An
atom is one channel of one producer; atoms that must go together are joined. Atom 0 is what cannot move at all.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from onnxnnw.constants.arrays import Constant, Stored
from onnxnnw.constants.moved import Reshaped, Transposed
from onnxnnw.network_file.stored import StoredTensor

__all__ = ["FIXED", "Change", "ChannelRole", "Tags", "Tracker", "compact"]

Tags = NDArray[np.int64]

FIXED = 0
"""The atom of everything that keeps its place and its scale."""

MAX_TAGS = 2**22
MAX_ATOMS = 2**24


class Change(Enum):
    """The change that is planned for channels; which operators allow it depends on the kind."""

    ORDER = auto()
    SCALE = auto()
    SIGN = auto()


@dataclass(frozen=True, eq=False)
class ChannelRole:
    """How channels go through a stored tensor.

    Attributes:
        tags: In the tensor's own axes.
        labels: Beside each tag, what a channel may not leave: its group, its head.
        exponent: What a channel's factor is raised to here: 1 where values become channels, -1 where they are read.
        use: Number of the use of a weight that this belongs to.
        grows: Whether a channel can be put in along one axis.
    """

    tensor: StoredTensor
    tags: Tags
    labels: Tags
    exponent: int
    use: int
    grows: bool

    @property
    def axes(self) -> tuple[int, ...]:
        """Along which the tags vary."""
        return tuple(axis for axis, length in enumerate(self.tags.shape) if length > 1)


@dataclass
class Tracker:
    """The state of the walk: channel groups and roles found so far."""

    change: Change
    atoms: int = 1
    pairs: list[tuple[Tags, Tags]] = field(default_factory=list)
    roles: list[ChannelRole] = field(default_factory=list)
    fibres: list[tuple[Tags, Tags]] = field(default_factory=list)
    rigid: list[Tags] = field(default_factory=list)
    used: dict[tuple[object, ...], int] = field(default_factory=dict)
    depthwise: list[tuple[int, Tags]] = field(default_factory=list)
    uses: int = 0

    def fresh(self, count: int, axis: int, rank: int) -> Tags | None:
        """New channels along one axis; None where there is one only, or there are too many already."""
        if count < 2 or self.atoms + count > MAX_ATOMS:
            return None
        tags = np.arange(self.atoms, self.atoms + count, dtype=np.int64)
        self.atoms += count
        return tags.reshape([count if place == axis else 1 for place in range(rank)])

    def freeze(self, *tags: Tags | None) -> None:
        """Exclude these channels from every change."""
        for one in tags:
            if one is not None:
                flat = np.unique(one)
                self.pairs.append((flat, np.full_like(flat, FIXED)))

    def stiffen(self, *tags: Tags | None) -> None:
        """Exclude these channels from additions: nothing can be inserted between them."""
        self.rigid += [np.unique(one) for one in tags if one is not None]

    def join(self, one: Tags, other: Tags) -> Tags | None:
        """Channels that must go together, in shapes that broadcast; the tags of the result."""
        try:
            size = np.broadcast_shapes(one.shape, other.shape)
        except ValueError:
            size = ()
        if one.ndim != other.ndim or not size or np.prod(size, dtype=np.float64) > MAX_TAGS:
            self.freeze(one, other)
            return None
        left, right = np.broadcast_arrays(one, other)
        if not np.array_equal(left, right):
            self.pairs.append((left.reshape(-1), right.reshape(-1)))
        return np.array(left)

    def fibre(self, tags: Tags, axes: tuple[int, ...]) -> None:
        """Channels are summed along these axes; along the other axes they must keep their places."""
        self.fibres.append((tags, outside(tags.shape, axes)))

    def use(self, *constants: Constant | None) -> int:
        """Count a use of stored tensors; roles of this use have its number."""
        self.uses += 1
        for constant in constants:
            if constant is not None:
                for place in {tensor.place for tensor in constant.stored()}:
                    self.used[place] = self.used.get(place, 0) + 1
        return self.uses

    def role(
        self,
        constant: Constant,
        tags: Tags | None,
        exponent: int,
        use: int,
        labels: Tags | None = None,
        grows: bool = True,
    ) -> None:
        """A constant whose elements go with channels; what cannot be written in place keeps its channels where they are."""
        if tags is None or not tags.any():
            return
        labels = np.zeros(tags.shape, np.int64) if labels is None else np.broadcast_to(labels, tags.shape)
        found = _on_stored(constant, tags, labels)
        if found is None or found[0].read_only:
            self.freeze(tags)
            return
        self.roles.append(ChannelRole(*found, exponent, use, grows))


def outside(shape: tuple[int, ...], axes: tuple[int, ...]) -> Tags:
    """For each element of an array its place along all axes but some, as one number."""
    lengths = [1 if axis in axes else length for axis, length in enumerate(shape)]
    places: Tags = np.broadcast_to(np.arange(int(np.prod(lengths)), dtype=np.int64).reshape(lengths), shape)
    return places


def compact(tags: Tags) -> Tags | None:
    """The same tags with length 1 along every axis on which they do not depend; None where all are fixed."""
    for axis in range(tags.ndim):
        if tags.shape[axis] > 1:
            first = tags.take([0], axis)
            if (tags == first).all():
                tags = first
    return tags if tags.any() else None


def _on_stored(constant: Constant, tags: Tags, labels: Tags) -> tuple[StoredTensor, Tags, Tags] | None:
    """Tags in the axes of the stored tensor; None where its elements were not only turned."""
    part = constant
    while not isinstance(part, Stored):
        if isinstance(part, Transposed):
            back = np.argsort(part.axes)
            tags, labels = tags.transpose(back), labels.transpose(back)
            part = part.inner
        elif isinstance(part, Reshaped):
            moved = [_reshaped(each, part.shape, part.inner.shape) for each in (tags, labels)]
            if moved[0] is None or moved[1] is None:
                return None
            tags, labels = moved[0], moved[1]
            part = part.inner
        else:
            return None
    if tags.ndim != len(part.shape):
        return None
    for axis in range(tags.ndim):
        if tags.shape[axis] > 1:
            first = tags.take([0], axis), labels.take([0], axis)
            if (tags == first[0]).all() and (labels == first[1]).all():
                tags, labels = first
    return part.tensor, tags, labels


def _reshaped(tags: Tags, shape: tuple[int, ...], wanted: tuple[int, ...]) -> Tags | None:
    if [n for n in shape if n != 1] == [n for n in wanted if n != 1]:  # axes of length 1 come and go
        lengths = iter([have for have, full in zip(tags.shape, shape, strict=True) if full != 1])
        return tags.reshape([next(lengths) if n != 1 else 1 for n in wanted])
    if np.prod(shape, dtype=np.float64) > MAX_TAGS:
        return None
    return np.broadcast_to(tags, shape).reshape(wanted)
