"""Add channels beside others: dummies that nothing reads, and clones that share the original's contribution."""

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper

from onnxnnw.channels.groups import Groups, roles_by_tensor
from onnxnnw.channels.shapes import tensors_of, whole
from onnxnnw.channels.tags import ChannelRole, Tags
from onnxnnw.errors import UnsupportedNetwork
from onnxnnw.network_file.file import Network
from onnxnnw.network_file.stored import Array, StoredTensor

__all__ = ["Addition", "growing_groups", "grown"]

_ARBITRARY = 0.3
"""How far, at most, the values of a dummy lie from those of the channel that it stands beside, in its own units."""


class Addition(Enum):
    """Channels to insert into a group: their number and places, and whether they are dummies or clones."""

    DUMMY = auto()
    CLONE = auto()


def growing_groups(network: Network, groups: Groups) -> list[tuple[int, ...]]:
    """The groups into which a channel can be put: all of its tensors are stored in the main graph."""
    own = {proto.name for proto, _ in _stored(network.model)}
    fixed: set[int] = set()
    for role in groups.roles:
        numbers = groups.numbers_in(role)
        if role.tensor.name not in own or len(role.axes) != 1 or not role.grows:
            fixed.update(np.unique(numbers).tolist())
    return [group.channels for group in groups.groups if group.grows and not fixed & {*group.channels}]


def grown(
    network: Network, groups: Groups, beside: Mapping[int, int], addition: Addition, rng: np.random.Generator
) -> ModelProto:
    """The network with added channels.

    Args:
        network: Opened for writing.
        beside: How many are put in beside each channel.
        addition: What they are.

    Raises:
        UnsupportedNetwork: It does not fit into one file.
    """
    changed: dict[str, tuple[StoredTensor, Array]] = {}
    shares: dict[int, Array] = {
        channel: rng.dirichlet(np.full(count + 1, 4.0)) for channel, count in sorted(beside.items()) if count
    }
    for roles in roles_by_tensor(groups):
        tensor, values = roles[0].tensor, None
        for role in roles:
            numbers = groups.numbers_in(role).reshape(-1)
            if np.isin(numbers, list(shares)).any():
                values = _longer(tensor.array() if values is None else values, role, numbers, shares, addition, rng)
        if values is not None:
            changed[tensor.name] = tensor, values
    return _with(network, groups, changed, {channel: len(share) - 1 for channel, share in shares.items()})


def _longer(
    values: Array,
    role: ChannelRole,
    numbers: Tags,
    shares: Mapping[int, Array],
    addition: Addition,
    rng: np.random.Generator,
) -> Array:
    axis = role.axes[0]
    places, copies = _order(numbers, {channel: len(share) - 1 for channel, share in shares.items()})
    out = values.take(places, axis)
    line = (-1, *(1,) * (out.ndim - 1 - axis))
    if role.exponent < 0 and addition is Addition.DUMMY:
        return np.asarray(out * (copies == 0).reshape(line), values.dtype)
    if role.exponent < 0:
        channels = numbers[places]
        parts = [
            float(shares[channel][copy]) if channel in shares else 1.0
            for channel, copy in zip(channels.tolist(), copies.tolist(), strict=True)
        ]
        divided: Array = (out.astype(np.float64) * np.array(parts).reshape(line)).astype(values.dtype)
        return divided
    if addition is Addition.DUMMY:  # arbitrary, and never of another sign: a variance stays one
        factors = np.where((copies > 0).reshape(line), rng.uniform(1 - _ARBITRARY, 1 + _ARBITRARY, out.shape), 1.0)
        if values.ndim > 1:
            mixed = np.flatnonzero(copies > 0)
            other = rng.permutation(values.shape[axis])
            out = out.copy()
            index: list[Any] = [slice(None)] * out.ndim
            index[axis] = mixed
            out[tuple(index)] = 0.5 * out[tuple(index)] + 0.5 * values.take(other[places[mixed] % len(other)], axis)
        out = (out.astype(np.float64) * factors).astype(values.dtype)
    return out


def _order(numbers: Tags, counts: Mapping[int, int]) -> tuple[Tags, Tags]:
    """Along one axis: which old element stands where, and which copy of it that is; runs of one channel stay together."""
    ends = np.flatnonzero(np.diff(numbers)) + 1
    places: list[Tags] = []
    copies: list[Tags] = []
    for run in np.split(np.arange(numbers.size), ends):
        for copy in range(1 + counts.get(int(numbers[run[0]]), 0)):
            places.append(run)
            copies.append(np.full(run.size, copy))
    return np.concatenate(places), np.concatenate(copies)


def _with(
    network: Network, groups: Groups, changed: Mapping[str, tuple[StoredTensor, Array]], counts: Mapping[int, int]
) -> ModelProto:
    """The model with longer tensors, and with what else says how long they are."""
    model = whole(network)
    if any(proto.external_data for proto in tensors_of(model)):
        raise UnsupportedNetwork(f"{network.path}: holds tensors that cannot be put into one file")
    for proto, name in _stored(model):
        if name in changed:
            _fill(proto, *changed[name])
    for port in model.graph.input:
        if port.name in changed:
            del port.type.tensor_type.shape.dim[:]
            for length in changed[port.name][1].shape:
                port.type.tensor_type.shape.dim.add().dim_value = length
    del model.graph.value_info[:]
    outputs = {node.proto.output[0]: numbers for node, numbers in groups.depthwise if node.proto.output}
    for node in model.graph.node:
        more = (
            sum(counts.get(number, 0) for number in outputs[node.output[0]].tolist())
            if node.output and node.output[0] in outputs
            else 0
        )
        if more:
            _regroup(node, more)
    return model


def _stored(model: ModelProto) -> Iterator[tuple[TensorProto, str]]:
    """The tensors of the main graph, with their names: initializers, and values of Constant nodes."""
    for proto in model.graph.initializer:
        yield proto, proto.name
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1:
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield attribute.t, node.output[0]


def _fill(proto: TensorProto, stored: StoredTensor, values: Array) -> None:
    name = proto.name
    proto.Clear()
    proto.name, proto.data_type = name, stored.data_type
    proto.dims.extend(values.shape)
    proto.raw_data = stored.encode(values)


def _regroup(node: NodeProto, more: int) -> None:
    for attribute in node.attribute:
        if attribute.name == "group" and attribute.type == AttributeProto.INT:
            attribute.CopyFrom(helper.make_attribute("group", attribute.i + more))
