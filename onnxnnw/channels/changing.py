"""New values of stored tensors: channels permuted or multiplied by factors."""

from collections.abc import Iterator, Mapping

import numpy as np

from onnxnnw.channels.groups import Groups, roles_by_tensor
from onnxnnw.channels.tags import ChannelRole, Tags
from onnxnnw.network_file.stored import Array, StoredTensor

__all__ = ["moved", "multiplied"]


def moved(groups: Groups, order: Mapping[int, int]) -> Iterator[tuple[StoredTensor, Array]]:
    """Every tensor that changes when channels are put into another order.

    Args:
        order: Whose place a channel's content is taken from: channel -> channel, one to one within each group.
    """
    highest = max(order, default=0) + 1
    source = np.arange(highest + 1)
    for channel, other in order.items():
        source[channel] = other
    for roles in roles_by_tensor(groups):
        tensor, values = roles[0].tensor, None
        for role in roles:
            numbers = groups.numbers_in(role)
            if (numbers >= 0).any():
                values = _reordered(
                    tensor.array() if values is None else values, role, numbers, groups.colours_in(role), source
                )
        if values is not None:
            yield tensor, values


def _reordered(values: Array, role: ChannelRole, numbers: Tags, colours: Tags, source: Tags) -> Array:
    """Put the elements of each channel where those of another one are, label by label, in order."""
    flat, labels = numbers.reshape(-1), np.broadcast_to(role.labels, role.tags.shape).reshape(-1)
    colours = colours.reshape(-1)
    moving = np.flatnonzero((flat >= 0) & (flat < source.size))
    there = moving[np.lexsort((moving, colours[moving], labels[moving], flat[moving]))]
    wanted = source[flat[moving]]
    here = moving[np.lexsort((moving, colours[moving], labels[moving], wanted))]
    places = np.arange(flat.size)
    places[here] = there  # the k-th element of a channel takes what the k-th one of its source was
    axes = role.axes
    if len(axes) == 1:
        return values.take(places, axes[0])
    front = np.moveaxis(values, axes, range(len(axes)))
    moved_ = front.reshape(flat.size, -1)[places].reshape(front.shape)
    return np.ascontiguousarray(np.moveaxis(moved_, range(len(axes)), axes))


def multiplied(groups: Groups, factors: Mapping[int, float]) -> Iterator[tuple[StoredTensor, Array]]:
    """Every tensor that changes when channels get factors, exact to one rounding."""
    highest = max(factors, default=0) + 1
    scale = np.ones(highest + 1)
    for channel, factor in factors.items():
        scale[channel] = factor
    for roles in roles_by_tensor(groups):
        tensor, values = roles[0].tensor, None
        for role in roles:
            numbers = groups.numbers_in(role)
            chosen = np.where((numbers >= 0) & (numbers < scale.size), numbers, highest)
            own = scale[chosen] ** role.exponent
            if (own != 1).any():
                values = (tensor.array() if values is None else values).astype(np.float64) * own
        if values is not None:
            yield tensor, values.astype(tensor.array().dtype)
