"""Channel groups of a network: channels that can take each other's place everywhere at once."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxnnw.channels.moving import MOVING
from onnxnnw.channels.passing import PASSING
from onnxnnw.channels.products import PRODUCTS
from onnxnnw.channels.shapes import shapes_of
from onnxnnw.channels.tags import FIXED, Change, ChannelRole, Tags, Tracker
from onnxnnw.channels.walk import Walk
from onnxnnw.constants.constants import Constants
from onnxnnw.errors import UnsupportedNetwork
from onnxnnw.flow.nodes import ABSENT, Flow, Node
from onnxnnw.flow.tracing import trace_flow
from onnxnnw.network_file.file import Network

__all__ = ["Group", "Groups", "find_groups"]

_RULES = {**PASSING, **MOVING, **PRODUCTS}
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Group:
    """Interchangeable channels, with every tensor that they go through.

    Attributes:
        channels: Their numbers.
        grows: Whether another one can be put in beside one of them.
    """

    channels: tuple[int, ...]
    grows: bool


@dataclass(frozen=True, eq=False)
class Groups:
    """The channel groups of a network.

    Attributes:
        groups: Of two channels and more, each channel in one of them; empty where only factors are asked for.
        channels: All that can be changed, by number.
        left_alone: Channels that touch something that is not understood, or have no like.
        strange: Operators that were not understood.
        roles: Of stored tensors, by ``numbers_in``.
        depthwise: Values that convolutions with one filter per channel compute, with their channels' numbers.
    """

    groups: list[Group]
    channels: list[int]
    left_alone: int
    strange: list[str]
    roles: list[ChannelRole]
    depthwise: list[tuple[Node, Tags]]
    _numbers: Tags
    _colours: Tags

    @property
    def sentence(self) -> str:
        """The groups in one sentence: how many channels, and how many are left out."""
        moving = f"{len(self.channels):,} channels can be changed and {self.left_alone:,} are left alone"
        return moving + (f" (not understood: {', '.join(self.strange)[:200]})" if self.strange else "")

    def tell(self) -> None:
        """Log it."""
        logging.getLogger(__name__).info("%s", self.sentence)

    def colours_in(self, role: ChannelRole) -> Tags:
        """Which of its channel's atoms each tag of a role is: the same number for the same part of every channel of a group."""
        colours: Tags = self._colours[role.tags]
        return colours

    def numbers_in(self, role: ChannelRole) -> Tags:
        """The number of the channel at each tag of a role; 0 where nothing moves."""
        numbers: Tags = self._numbers[role.tags]
        return numbers


def find_groups(network: Network, change: Change) -> Groups:
    """Find the channel groups of a network.

    Args:
        network: Opened for writing.

    Raises:
        UnsupportedNetwork: Its nodes are not in an order in which they could run.
        UnreadableNetwork: The graph contradicts itself.
    """
    flow = trace_flow(network)
    walk = Walk(flow, Constants(flow), shapes_of(network, flow), Tracker(change))
    _walk(walk)
    tracker = walk.tracker
    _settle_shared(tracker)
    numbers = _joined(tracker)
    colours = _colours(tracker)
    cells = _Cells(tracker, numbers, colours)
    frozen = cells.ambiguous | {int(numbers[FIXED])}
    count = int(numbers.max()) + 1
    with_role = np.zeros(count, np.bool_)
    for role in tracker.roles:
        with_role[numbers[role.tags]] = True
    movable = [number for number in np.flatnonzero(with_role).tolist() if number not in frozen]
    numbers = np.where(np.isin(numbers, np.array(movable, np.int64)), numbers, -1)
    made = np.unique(
        np.concatenate([*(role.tags.reshape(-1) for role in tracker.roles if role.exponent > 0), np.zeros(0, np.int64)])
    )
    groups = cells.groups(
        movable, set(np.unique(numbers[np.concatenate([*tracker.rigid, np.zeros(1, np.int64)])]).tolist())
    )
    if change is Change.ORDER:
        movable = sorted(number for group in groups for number in group.channels)
    nodes = {output: node for node in flow.nodes for output in node.outputs}
    return Groups(
        groups=groups,
        channels=movable,
        left_alone=int((~np.isin(numbers[made], np.array(movable, np.int64))).sum()),
        strange=sorted(walk.strange),
        roles=tracker.roles,
        depthwise=[(nodes[value], numbers[tags]) for value, tags in tracker.depthwise],
        _numbers=numbers,
        _colours=colours.view(np.int64),
    )


def _walk(walk: Walk) -> None:
    flow, done = walk.flow, set[int]()
    for node in flow.nodes:
        if any(value in flow.producer and value not in done for value in node.inputs):
            raise UnsupportedNetwork(
                "its nodes stand in an order in which they cannot run, so channels cannot be followed"
            )
        done.update(node.outputs)
        if node.result == ABSENT or walk.constants.status(node.result) is not None:
            continue
        known = node.domain in ("", "com.microsoft") and node.function is None and not node.bodies
        rule = _RULES.get(node.op) if known else None
        if rule is None:
            walk.give_up(node)
            walk.tracker.freeze(*(walk.tags.get(value) for body in node.bodies for value in body.outputs))
        else:
            try:
                rule(walk, node)
            except (
                ValueError,
                IndexError,
                TypeError,
                LookupError,
                ArithmeticError,
            ):  # shapes that contradict each other
                walk.give_up(node)
                for value in node.outputs:
                    walk.tracker.freeze(walk.tags.pop(value, None))
    walk.tracker.freeze(*(walk.tags.get(value) for value in flow.outputs))
    walk.tracker.use(*(walk.constants.of(value) for value in flow.outputs))
    _use_in_bodies(flow, walk)


def _use_in_bodies(flow: Flow, walk: Walk) -> None:
    """Count each output of a body as a use of its constant, since it is used outside of the body too."""
    for node in flow.nodes:
        for body in node.bodies:
            walk.tracker.use(*(walk.constants.of(value) for value in body.outputs if value != ABSENT))


def _settle_shared(tracker: Tracker) -> None:
    """Freeze tensors that are used more than once, unless all uses want the same new order."""
    by_tensor: dict[tuple[object, ...], dict[int, list[ChannelRole]]] = {}
    for role in tracker.roles:
        by_tensor.setdefault(role.tensor.place, {}).setdefault(role.use, []).append(role)
    for place, uses in by_tensor.items():
        roles = [role for same in uses.values() for role in same]
        axes = [sorted(role.axes for role in same) for same in uses.values()]
        if tracker.used.get(place, 1) == 1 and len(uses) == 1:
            continue
        if (
            tracker.change is not Change.ORDER
            or len(uses) != tracker.used.get(place)
            or any(a != axes[0] for a in axes)
        ):
            tracker.freeze(*(role.tags for role in roles))
            continue
        tracker.stiffen(*(role.tags for role in roles))
        first, *others = [{role.axes: role for role in same} for same in uses.values()]
        for other in others:
            for key, role in first.items():
                if role.tags.shape == other[key].tags.shape and len(first) == len(axes[0]):
                    tracker.join(role.tags, other[key].tags)
                else:
                    tracker.freeze(role.tags, other[key].tags)


def _joined(tracker: Tracker) -> Tags:
    """Number of each atom: the same for atoms that go together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left = np.concatenate([*(a for a, _ in tracker.pairs), np.zeros(0, np.int64)])
    right = np.concatenate([*(b for _, b in tracker.pairs), np.zeros(0, np.int64)])
    graph = coo_array((np.ones(left.size, np.int8), (left, right)), (tracker.atoms, tracker.atoms))
    numbers: Tags = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def _colours(tracker: Tracker) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    """What tells atoms of one channel apart: at which side of which operation each was joined."""
    out = np.zeros(tracker.atoms, np.uint64)
    with np.errstate(over="ignore"):
        for number, pair in enumerate(tracker.pairs):
            for side, atoms in enumerate(pair):
                mixed = (np.uint64(2 * number + side + 1) * _MIX) ^ (np.uint64(2 * number + side + 1) << np.uint64(29))
                out[np.unique(atoms)] += mixed * _MIX
    return out


class _Cells:
    """Where each channel stands: in which role or sum, under which label, as which of its atoms, how often."""

    def __init__(self, tracker: Tracker, numbers: Tags, colours: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> None:
        self.ambiguous: set[int] = set()
        places = [(role.tags, role.labels, role.grows) for role in tracker.roles]
        places += [(tags, labels, True) for tags, labels in tracker.fibres]
        self._seen: dict[int, list[tuple[int, int, int, int]]] = {}
        self._stiff: set[int] = set()
        for place, (tags, labels, grows) in enumerate(places):
            atoms, flat = tags.reshape(-1), np.broadcast_to(labels, tags.shape).reshape(-1)
            table = np.stack([numbers[atoms], flat, colours[atoms].view(np.int64), atoms], 1)
            unique, counts = np.unique(table, axis=0, return_counts=True)
            same = (np.diff(unique[:, :3], axis=0) == 0).all(1)
            self.ambiguous.update(unique[1:][same][:, 0].tolist())  # two atoms of one channel that nothing tells apart
            for (number, label, colour, _), count in zip(unique.tolist(), counts.tolist(), strict=True):
                self._seen.setdefault(number, []).append((place, label, colour, count))
            if not grows:
                self._stiff.update(np.unique(numbers[atoms]).tolist())

    def groups(self, movable: list[int], rigid: set[int]) -> list[Group]:
        """Channels that stand at the same places."""
        alike: dict[tuple[tuple[int, int, int, int], ...], list[int]] = {}
        for number in movable:
            alike.setdefault(tuple(self._seen[number]), []).append(number)
        return [Group(tuple(same), not ({*same} & (rigid | self._stiff))) for same in alike.values() if len(same) > 1]


def roles_by_tensor(groups: Groups) -> Iterator[list[ChannelRole]]:
    """The roles of each stored tensor, those of one use: uses of one tensor want the same."""
    by_tensor: dict[tuple[object, ...], list[ChannelRole]] = {}
    for role in groups.roles:
        by_tensor.setdefault(role.tensor.place, []).append(role)
    for roles in by_tensor.values():
        yield [role for role in roles if role.use == roles[0].use]
