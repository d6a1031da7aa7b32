"""Rules of operators that keep channels in place: element-wise, pooling, resizing, normalisation."""

import numpy as np

from onnxnnw.channels.tags import Change
from onnxnnw.channels.walk import Rule, Walk
from onnxnnw.flow.nodes import Node

__all__ = ["PASSING"]

_EXACT = ("Identity", "Dropout", "Neg")
_POSITIVE = ("Relu", "LeakyRelu", "Abs", "ThresholdedRelu")
_CURVED = ("Sigmoid", "Tanh", "Erf", "Gelu", "HardSwish", "HardSigmoid", "Elu", "Selu", "Celu", "Softplus", "Softsign",
           "Mish", "Swish", "QuickGelu", "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Sin", "Cos", "Atan", "Sign",
           "Not", "IsNaN", "IsInf")  # fmt: skip
_FLOATS = (1, 10, 11, 16)


def _exact(walk: Walk, node: Node) -> None:
    walk.give(node, walk.first(node))


def _positive(walk: Walk, node: Node) -> None:
    """A positive factor goes through, a sign does not."""
    tags = walk.first(node)
    if walk.change is Change.SIGN or (node.op == "ThresholdedRelu" and walk.change is Change.SCALE):
        walk.tracker.freeze(tags)
        return
    walk.give(node, tags)


def _curved(walk: Walk, node: Node) -> None:
    tags = walk.first(node)
    if walk.change is not Change.ORDER:
        walk.tracker.freeze(tags)
        return
    walk.give(node, tags)


def _cast(walk: Walk, node: Node) -> None:
    (_exact if node.integer("to", 1) in _FLOATS else _curved)(walk, node)


def _cast_like(walk: Walk, node: Node) -> None:
    """Of the second input only the type counts."""
    if not walk.spread(node):
        _curved(walk, node)


def _clip(walk: Walk, node: Node) -> None:
    bounds = [one for number in (1, 2) if (one := walk.operand(node, number)) is not None]
    if any(walk.number(one) is None and (one.constant is None or one.constant.size != 1) for one in bounds):
        walk.give_up(node)
    else:
        _curved(walk, node)


def _prelu(walk: Walk, node: Node) -> None:
    if walk.change is Change.SCALE:
        walk.tracker.use(*(one.constant for one in walk.operands(node)))
        walk.give(node, walk.first(node))
    elif walk.change is Change.SIGN:
        walk.give_up(node)
    else:
        walk.give(node, walk.together(node, additive=True))


def _sum(walk: Walk, node: Node) -> None:
    walk.give(node, walk.together(node, additive=True))


def _product(walk: Walk, node: Node) -> None:
    walk.give(node, walk.together(node, additive=False))


def _quotient(walk: Walk, node: Node) -> None:
    divisor = walk.operand(node, 1)
    moving = divisor is not None and divisor.tags is not None
    walk.give(node, walk.together(node, additive=False, linear=not moving))


def _compared(walk: Walk, node: Node) -> None:
    walk.give(node, walk.together(node, additive=True, linear=False))


def _pooled(walk: Walk, node: Node) -> None:
    tags = walk.first(node)
    if tags is None:
        return
    more = sum(output >= 0 for output in node.outputs) > 1
    if more or any(length > 1 for length in tags.shape[2:]):
        walk.give_up(node)
        return
    linear = node.op in ("AveragePool", "GlobalAveragePool")
    if walk.change is Change.SIGN and not linear:
        walk.tracker.freeze(tags)
        return
    walk.give(node, tags)


def _resized(walk: Walk, node: Node) -> None:
    data, out = walk.operand(node, 0), walk.shape(node.result)
    tags = None if data is None else data.tags
    if tags is None or data is None:
        return
    extrapolated = node.attributes().get("coordinate_transformation_mode")
    if (
        out is None
        or len(out) != tags.ndim
        or any(tags.shape[axis] > 1 and out[axis] != tags.shape[axis] for axis in range(tags.ndim))
        or (extrapolated is not None and extrapolated.s == b"tf_crop_and_resize")
    ):
        walk.give_up(node)
        return
    if len(node.inputs) > 3:
        walk.tracker.stiffen(tags)
    walk.give(node, tags)


def _padded(walk: Walk, node: Node) -> None:
    tags = walk.first(node)
    if tags is None:
        return
    pads = walk.small(node, 1) if len(node.inputs) > 1 else np.array(node.integers("pads") or [])
    fill, axes = walk.operand(node, 2), walk.operand(node, 3)
    if pads is None or pads.size != 2 * tags.ndim or axes is not None:
        walk.give_up(node)
        return
    widths = (np.abs(pads.reshape(2, -1)).sum(axis=0) > 0).tolist()
    mode = node.attributes().get("mode")
    constant = mode is None or mode.s == b"constant"
    value = (
        0.0
        if fill is None
        else np.nan
        if fill.constant is None or fill.constant.size != 1
        else float(fill.constant.array().reshape(-1)[0])
    )
    old = node.attributes().get("value")
    value = value if old is None else float(old.f)
    if any(widths[axis] and tags.shape[axis] > 1 for axis in range(tags.ndim)) or np.isnan(value):
        walk.give_up(node)
    elif walk.change is not Change.ORDER and constant and value:
        walk.tracker.freeze(tags)
    else:
        walk.give(node, tags)


def _softmax(walk: Walk, node: Node) -> None:
    tags = walk.first(node)
    if tags is None:
        return
    axis = node.integer("axis", -1 if node.version >= 13 else 1) % tags.ndim
    axes = (axis,) if node.version >= 13 else tuple(range(axis, tags.ndim))
    if walk.change is not Change.ORDER:
        walk.tracker.freeze(tags)
        return
    walk.tracker.stiffen(tags)
    walk.tracker.fibre(tags, axes)
    walk.give(node, tags)


def _reduced(walk: Walk, node: Node) -> None:
    tags = walk.first(node)
    if tags is None:
        return
    axes = walk.small(node, 1) if len(node.inputs) > 1 else np.array(node.integers("axes") or range(tags.ndim))
    if axes is None or node.integer("noop_with_empty_axes", 0):
        walk.give_up(node)
        return
    over = tuple(int(axis) % tags.ndim for axis in axes.reshape(-1))
    linear = node.op in ("ReduceMean", "ReduceSum") or (
        node.op in ("ReduceMax", "ReduceL2", "ReduceL1") and walk.change is Change.SCALE
    )
    left = walk.collected(node, tags, over, linear)
    if left is not None and not node.integer("keepdims", 1):
        left = left.reshape([n for axis, n in enumerate(left.shape) if axis not in over])
    walk.give(node, left)


PASSING: dict[str, Rule] = {
    **dict.fromkeys(_EXACT, _exact),
    **dict.fromkeys(_POSITIVE, _positive),
    **dict.fromkeys(_CURVED, _curved),
    **dict.fromkeys(("Add", "Sub", "Sum", "Mean"), _sum),
    **dict.fromkeys(("Pow", "Max", "Min", "Where", "Equal", "Less", "Greater", "And", "Or"), _compared),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _pooled),
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"), _reduced
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("Resize", "Upsample"), _resized),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _clip,
    "PRelu": _prelu,
    "Mul": _product,
    "Div": _quotient,
    "Pad": _padded,
}
