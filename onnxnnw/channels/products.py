"""Rules of operators that multiply with weights: channels end there, and new ones begin."""

import numpy as np

from onnxnnw.channels.tags import Change, Tags
from onnxnnw.channels.walk import Operand, Rule, Walk, aligned
from onnxnnw.flow.nodes import Node

__all__ = ["PRODUCTS"]


def _conv(walk: Walk, node: Node) -> None:
    data, weight, bias = (walk.operand(node, number) for number in range(3))
    if data is None or weight is None or weight.constant is None or len(weight.constant.shape) < 3:
        walk.give_up(node)
        return
    use = walk.tracker.use(weight.constant, None if bias is None else bias.constant)
    shape = weight.constant.shape
    rank, groups = len(shape), node.integer("group", 1)
    reads = _channels(walk, data, 1, rank, shape[1] * groups)
    if groups > 1 and shape[1] == 1 and shape[0] == groups:
        _depthwise(walk, node, weight, bias, reads, use)
        return
    made = walk.tracker.fresh(shape[0], 1, rank)
    rows = None if made is None else made.reshape(shape[0], *(1,) * (rank - 1))
    labels = np.arange(shape[0]).reshape(rows.shape) // max(1, shape[0] // groups) if rows is not None else None
    made = _produced(walk, weight, rows, bias, made, use, labels, grows=groups == 1)
    if reads is not None and groups == 1:
        walk.tracker.role(weight.constant, reads.reshape(1, shape[1], *(1,) * (rank - 2)), -1, use)
    elif reads is not None:
        _grouped(walk, weight, reads.reshape(groups, shape[1]), use)
    walk.give(node, made)


def _grouped(walk: Walk, weight: Operand, reads: Tags, use: int) -> None:
    """A convolution in groups reads each channel in the rows of one group."""
    assert weight.constant is not None
    shape, groups = weight.constant.shape, len(reads)
    own = np.arange(shape[0]) // max(1, shape[0] // groups)
    whole = reads[own].reshape(shape[0], shape[1], *(1,) * (len(shape) - 2))
    labels = np.broadcast_to(own.reshape(-1, 1, *(1,) * (len(shape) - 2)), whole.shape)
    if shape[1] == 1 or whole.size > 2**22:
        walk.tracker.freeze(reads)
    else:
        walk.tracker.stiffen(reads)
        walk.tracker.role(weight.constant, whole, -1, use, labels, grows=False)


def _depthwise(walk: Walk, node: Node, weight: Operand, bias: Operand | None, reads: Tags | None, use: int) -> None:
    """One filter per channel: what goes in as a channel comes out as that channel."""
    assert weight.constant is not None
    rank, count = len(weight.constant.shape), weight.constant.shape[0]
    column = (count, *(1,) * (rank - 1))
    if walk.change is Change.ORDER:
        if reads is None:
            return
        walk.tracker.role(weight.constant, reads.reshape(column), 1, use)
        _biased(walk, weight, bias, reads.reshape(-1), use)
        walk.tracker.depthwise.append((node.outputs[0], reads.reshape(-1)))
        walk.give(node, reads)
        return
    made = walk.tracker.fresh(count, 1, rank)
    made = _produced(walk, weight, None if made is None else made.reshape(column), bias, made, use)
    if reads is not None:
        walk.tracker.role(weight.constant, reads.reshape(column), -1, use)
    walk.give(node, made)


def _conv_transpose(walk: Walk, node: Node) -> None:
    data, weight, bias = (walk.operand(node, number) for number in range(3))
    groups = node.integer("group", 1)
    if data is None or weight is None or weight.constant is None or len(weight.constant.shape) < 3:
        walk.give_up(node)
        return
    shape = weight.constant.shape
    rank = len(shape)
    use = walk.tracker.use(weight.constant, None if bias is None else bias.constant)
    reads = _channels(walk, data, 1, rank, shape[0])
    if groups > 1 and shape[0] == groups and shape[1] == 1:
        _depthwise(walk, node, weight, bias, reads, use)
        return
    if groups > 1:
        walk.tracker.freeze(reads)
        return
    made = walk.tracker.fresh(shape[1], 1, rank)
    made = _produced(walk, weight, made, bias, made, use)
    walk.tracker.role(weight.constant, None if reads is None else reads.reshape(shape[0], *(1,) * (rank - 1)), -1, use)
    walk.give(node, made)


def _gemm(walk: Walk, node: Node) -> None:
    data, weight, bias = (walk.operand(node, number) for number in range(3))
    if (
        data is None
        or weight is None
        or weight.constant is None
        or data.constant is not None
        or node.integer("transA", 0)
    ):
        walk.give_up(node)
        return
    use = walk.tracker.use(weight.constant, None if bias is None else bias.constant)
    turned = bool(node.integer("transB", 0))
    rows, columns = weight.constant.shape if turned else weight.constant.shape[::-1]
    reads = _channels(walk, data, 1, 2, columns)
    made = walk.tracker.fresh(rows, 1, 2)
    made = _produced(walk, weight, made.T if made is not None and turned else made, bias, made, use)
    if reads is not None:
        walk.tracker.role(weight.constant, reads if turned else reads.T, -1, use)
    walk.give(node, made)


def _matmul(walk: Walk, node: Node) -> None:
    left, right = walk.operand(node, 0), walk.operand(node, 1)
    if left is None or right is None:
        walk.give_up(node)
    elif right.constant is not None and left.constant is None and len(right.constant.shape) == 2:
        _times_constant(walk, node, left, right)
    elif right.constant is None and left.constant is None:
        _times_each_other(walk, node, left, right)
    else:
        walk.give_up(node)


def _times_constant(walk: Walk, node: Node, data: Operand, weight: Operand) -> None:
    assert weight.constant is not None
    use = walk.tracker.use(weight.constant)
    columns, rows = weight.constant.shape
    rank = data.rank
    if rank is None or rank < 2:
        walk.tracker.freeze(data.tags)
        return
    reads = data.tags
    if reads is not None and (reads.shape[-1] not in (1, columns) or any(n > 1 for n in reads.shape[:-1])):
        walk.tracker.freeze(reads)
        reads = None
    if reads is not None and reads.shape[-1] == columns:
        walk.tracker.role(weight.constant, reads.reshape(columns, 1), -1, use)
    elif reads is not None:
        walk.tracker.freeze(reads)
    made = walk.tracker.fresh(rows, rank - 1, rank)
    walk.give(node, _produced(walk, weight, None if made is None else made.reshape(1, rows), None, made, use))


def _times_each_other(walk: Walk, node: Node, left: Operand, right: Operand) -> None:
    """Two values that are computed: what is added up goes together, what is left goes on."""
    ranks = left.rank, right.rank
    if left.tags is None and right.tags is None:
        return
    if None in ranks or min(rank or 0 for rank in ranks) < 2:
        walk.tracker.freeze(left.tags, right.tags)
        return
    rank = max(rank or 0 for rank in ranks)
    walk.tracker.stiffen(left.tags, right.tags)
    first = None if left.tags is None else aligned(left.tags, rank)
    second = None if right.tags is None else aligned(right.tags, rank)
    turned = None if second is None else np.swapaxes(second, -1, -2)
    inner = [tags for tags in (first, turned) if tags is not None and tags.shape[-1] > 1]
    outer = [tags for tags in (first, turned) if tags is not None and tags.shape[-2] > 1]
    if any(tags.shape[-2] > 1 for tags in inner) or len(outer) > 1:
        walk.tracker.freeze(first, second)
        return
    if len(inner) == 1 or (inner and walk.change is Change.SCALE):  # what it meets keeps its place, and has no factor
        walk.tracker.freeze(*inner)
    elif inner:
        shared = walk.tracker.join(inner[0], inner[1])
        if shared is not None:
            walk.tracker.fibre(shared, (rank - 1,))
            walk.tracker.fibre(inner[0], (rank - 1,))
            walk.tracker.fibre(inner[1], (rank - 1,))
    for tags in (first, turned):
        if tags is not None and tags.shape[-1] == 1 and tags.shape[-2] == 1 and tags.size > 1:
            walk.tracker.freeze(tags)  # whole matrices
    if not outer:
        return
    walk.tracker.fibre(outer[0], (rank - 2,))
    walk.give(node, outer[0] if first is not None and outer[0] is first else np.swapaxes(outer[0], -1, -2))


def _channels(walk: Walk, data: Operand, axis: int, rank: int, count: int) -> Tags | None:
    """The channels that an operator reads along one axis; where they vary along others too they stay as they are."""
    tags = data.tags
    if tags is None:
        return None
    if tags.ndim != rank or tags.shape[axis] != count or tags.size != count:
        walk.tracker.freeze(tags)
        return None
    return tags


def _produced(
    walk: Walk,
    weight: Operand,
    rows: Tags | None,
    bias: Operand | None,
    made: Tags | None,
    use: int,
    labels: Tags | None = None,
    grows: bool = True,
) -> Tags | None:
    """New channels with their weight and bias."""
    if rows is None or made is None or weight.constant is None:
        return None
    walk.tracker.role(weight.constant, rows, 1, use, labels, grows)
    _biased(walk, weight, bias, made.reshape(-1), use, rows.shape.index(made.size))
    return made


def _biased(walk: Walk, weight: Operand, bias: Operand | None, flat: Tags, use: int, axis: int = 0) -> None:
    """The bias of channels that a weight makes along one of its axes."""
    if bias is None:
        return
    if walk.indifferent(bias):
        if not walk.as_long_as(bias, weight, axis):
            walk.tracker.stiffen(flat)
        return
    if bias.constant is None:
        walk.tracker.freeze(flat, bias.tags)
        return
    shape = bias.constant.shape
    if shape and shape[-1] == flat.size and bias.constant.size == flat.size:
        walk.tracker.role(bias.constant, flat.reshape(shape), 1, use)
    elif bias.constant.size != 1 or walk.change is not Change.ORDER:
        walk.tracker.freeze(flat)


def _batch_normalization(walk: Walk, node: Node) -> None:
    data, *rest = (walk.operand(node, number) for number in range(5))
    constants = [one.constant for one in rest if one is not None and one.constant is not None]
    given = sum(output >= 0 for output in node.outputs)
    if data is None or data.rank is None or len(constants) != 4 or given > 1 or node.integer("training_mode", 0):
        walk.give_up(node)
        return
    use = walk.tracker.use(*constants)
    count, rank = constants[0].size, data.rank
    tags = data.tags
    if tags is not None and (rank < 2 or tags.shape[1] != count or tags.size != count):
        walk.tracker.freeze(tags)
        return
    scale, bias, mean = constants[:3]
    if walk.change is Change.ORDER:
        if tags is None:
            return
        for constant in constants:
            walk.tracker.role(constant, tags.reshape(constant.shape), 1, use)
        walk.give(node, tags)
        return
    if walk.change is Change.SIGN and tags is not None:
        walk.tracker.role(scale, tags.reshape(scale.shape), 1, use)
        walk.tracker.role(mean, tags.reshape(mean.shape), 1, use)
    else:
        walk.tracker.freeze(tags)
    made = walk.tracker.fresh(count, 1, rank)
    if made is not None:
        walk.tracker.role(scale, made.reshape(scale.shape), 1, use)
        walk.tracker.role(bias, made.reshape(bias.shape), 1, use)
    walk.give(node, made)


def _normalised(walk: Walk, node: Node) -> None:
    """Instance and layer normalisation: what goes in has no scale, what comes out has a new one."""
    data = walk.operand(node, 0)
    parameters = [one for number in (1, 2) if (one := walk.operand(node, number)) is not None]
    constants = [one.constant for one in parameters if one.constant is not None]
    given = sum(output >= 0 for output in node.outputs)
    if data is None or data.rank is None or not constants or len(constants) != len(parameters) or given > 1:
        walk.give_up(node)
        return
    use = walk.tracker.use(*constants)
    rank, instance = data.rank, node.op == "InstanceNormalization"
    axis = 1 if instance else node.integer("axis", -1) % rank
    if constants[0].size < 2 or rank < 2 or (not instance and axis != rank - 1):
        walk.tracker.freeze(data.tags)
        return
    tags = data.tags
    if walk.change is not Change.ORDER:
        walk.tracker.freeze(tags)
        tags = walk.tracker.fresh(constants[0].size, axis, rank)
    elif tags is not None and not instance:
        walk.tracker.stiffen(tags)
        walk.tracker.fibre(tags, (axis,))
    if tags is None:
        return
    if tags.size != constants[0].size or tags.shape[axis] != constants[0].size:
        walk.tracker.freeze(tags)
        return
    for constant in constants:
        if constant.size != tags.size:
            walk.tracker.freeze(tags)
        else:
            walk.tracker.role(constant, tags.reshape(constant.shape), 1, use)
    walk.give(node, tags)


PRODUCTS: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_normalization,
    "InstanceNormalization": _normalised,
    "LayerNormalization": _normalised,
    "SimplifiedLayerNormalization": _normalised,
    "RMSNormalization": _normalised,
}
