"""What multiplies a weight's out-rows downstream: folded forward, so that folded and raw files read alike.

A weight's outputs are followed while each has one reader and is only moved, shifted or multiplied by a constant: a batch
normalisation, a product per channel, alpha, the rescaling of an integer product. Never unfolded, so it is idempotent.
Nothing here is looked at before somebody asks for a gain.
"""

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from onnxnnw.constants.arrays import Constant
from onnxnnw.constants.constants import Constants
from onnxnnw.constants.decoding import dequantize
from onnxnnw.flow.nodes import ABSENT, Flow, Node
from onnxnnw.graph.out_rows import Gains, OutRows
from onnxnnw.network_file.stored import Array

__all__ = ["Downstream"]

_MAX_STEPS = 32
_MAX_ROWS = 2**20
_INTEGER_PRODUCTS = ("ConvInteger", "MatMulInteger")
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


class Downstream:
    """Follows values of a flow to those who read them."""

    def __init__(self, flow: Flow, constants: Constants, live: list[Node]) -> None:
        self._flow, self._constants, self._live = flow, constants, live
        self._readers: dict[int, Node | None] | None = None

    def gains(self, node: Node, layout: str, rank: int, rows: int) -> Gains | None:
        """What multiplies each out-row of a weight; None where it is nothing but ones, or no finite number.

        Args:
            node: The operator that uses the weight.
            layout: How it reads it, see ``uses``.
            rank: Dimensions of the canonical weight.
            rows: Its out-rows.
        """
        walk = self._walk(node, layout, rank, rows)
        if walk is None or not np.isfinite(walk.gain).all() or (walk.gain == 1).all():
            return None
        return walk.gain

    def affine(self, node: Node, layout: str, rank: int, rows: int) -> tuple[Gains, Gains, tuple[int, ...]] | None:
        """What multiplies each out-row of a weight and what is added to it then; and the values that do so.

        None where something else happens, or where a number is not finite. The arguments are those of ``gains``.
        """
        walk = self._walk(node, layout, rank, rows)
        if walk is None or walk.shift is None or not np.isfinite([walk.gain, walk.shift]).all():
            return None
        return walk.gain, walk.shift, tuple(walk.used)

    def _walk(self, node: Node, layout: str, rank: int, rows: int) -> OutRows | None:
        """Follow what a weight gives as far as it is only moved, shifted or multiplied by constants."""
        if layout not in _AXES or rows > _MAX_ROWS:
            return None
        convolution = layout.startswith("conv")
        if not convolution and rank > 2:
            return None  # a stack of matrices: rows of different matrices share an output
        axis = 1 - rank if convolution else _AXES[layout]
        known = rank if convolution or node.op in ("Gemm", "FusedGemm", "QGemm") else None
        walk = OutRows(node.outputs[0], np.ones(rows), axis, known, node.op not in _INTEGER_PRODUCTS)
        alpha = node.attributes().get("alpha") if node.op in _SCALED else None
        if alpha is not None:
            walk.gain *= float(alpha.f)
        self._begin(node, walk, rows, convolution)
        if not self._has_barrier(node):
            for _ in range(_MAX_STEPS):
                reader = self._only_reader(walk.value)
                step = _STEPS.get(reader.op) if reader is not None and _known(reader) else None
                if reader is None or step is None or not step(self, walk, reader):
                    break
                walk.used += [value for value in reader.inputs if value != walk.value and self.is_constant(value)]
                walk.value = reader.outputs[0]
        return walk

    def _begin(self, node: Node, walk: OutRows, rows: int, convolution: bool) -> None:
        """The operator's own bias, where it adds one in the unit of its outputs."""
        walk.shift = np.zeros(rows)
        place = _OWN_BIAS.get(node.op)
        if place is None or place >= len(node.inputs) or node.inputs[place] == ABSENT:
            if node.op in _OTHER_BIAS:
                walk.shift = None
            return
        bias = self.constant(node.inputs[place])
        if bias is not None and convolution:
            bias = bias.reshape(-1)
            walk.shift = bias.astype(np.float64) if bias.size == rows else None
        else:
            beta = node.attributes().get("beta") if node.op in _SCALED else None
            walk.add(bias if beta is None or bias is None else bias * np.float64(beta.f))
        walk.used.append(node.inputs[place])

    def dequantised(self, node: Node, table: Constant) -> Constant:
        """A table of integers as the numbers that are looked up in it, where the scale stands with who reads them.

        Args:
            node: The Gather.
            table: What it looks up in; itself where nothing of that kind follows, or not with one scale for all.
        """
        value = node.outputs[0]
        reader = self._only_reader(value)
        for _ in range(_MAX_STEPS):
            if reader is None or reader.op not in _MOVES or not _known(reader) or reader.inputs[0] != value:
                break
            value = reader.outputs[0]
            reader = self._only_reader(value)
        if reader is None or reader.domain not in ("", "com.microsoft") or not reader.op.startswith(_SCALED_INPUTS):
            return table
        place = reader.inputs.index(value)
        given = [self._constants.of(at) if at != ABSENT else None for at in reader.inputs[place + 1 : place + 3]]
        if not given:
            return table
        scale, zero = given[0], given[1] if len(given) > 1 else None
        if scale is None or scale.size != 1 or (zero is not None and zero.size != 1):
            return table
        return dequantize(table, scale, zero, 0) or table

    def activates(self, node: Node) -> bool:
        """Whether the operator itself does more than multiply and add."""
        activation = node.attributes().get("activation")
        if activation is not None and activation.s not in (b"", b"Identity"):
            return True
        return node.op in _ACTIVATING or (node.op in ("FusedConv", "NhwcFusedConv") and len(node.inputs) > 3)

    def _has_barrier(self, node: Node) -> bool:
        """Whether the operator itself does more than multiply and add constants."""
        addend = node.inputs[2] if node.op in ("Gemm", "FusedGemm") and len(node.inputs) > 2 else ABSENT
        return self.activates(node) or (addend != ABSENT and self._constants.of(addend) is None)

    def _only_reader(self, value: int) -> Node | None:
        if value == ABSENT:
            return None
        if self._readers is None:
            self._readers = {}
            for node in self._live:
                for read in node.inputs:
                    self._readers[read] = None if read in self._readers else node
                for body in node.bodies:
                    self._readers.update(dict.fromkeys(body.outputs))
            self._readers.update(dict.fromkeys(self._flow.outputs))
        return self._readers.get(value)

    def constant(self, value: int) -> Array | None:
        """A constant of a size that scales channels."""
        constant = self._constants.of(value) if value != ABSENT else None
        return constant.array() if constant is not None and constant.size <= _MAX_ROWS else None

    def is_constant(self, value: int) -> bool:
        return value != ABSENT and self._constants.of(value) is not None

    def factor_of(self, value: int) -> Array | None:
        """The constant factor of a product that is not constant, such as scale of weights times scale of activations."""
        for _ in range(4):
            node = self._flow.producer.get(value)
            if node is None or node.domain or node.op not in ("Mul", "Cast", "Identity", "Reshape"):
                return None
            if node.op != "Mul":
                value = node.inputs[0]
                continue
            own = next((read for read in node.inputs if self.is_constant(read)), None)
            return None if own is None else self.constant(own)
        return None


def _known(node: Node) -> bool:
    return not node.domain or (node.domain == "com.microsoft" and node.op.endswith("Linear"))


_MOVES = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
"""Operators that leave every number of their first input as it is."""

_SCALED_INPUTS = ("DequantizeLinear", "QLinear", "QGemm")
"""Beginnings of the names of operators whose integer inputs are followed by their scale and their zero point."""

_AXES = {"conv": 0, "conv_transpose": 0, "gemm": -1, "matmul": -1, "blocks": -1, "gemm_left": -2, "rows": -2}
_OWN_BIAS = {"Conv": 2, "ConvTranspose": 2, "FusedConv": 2, "NhwcConv": 2, "NhwcFusedConv": 2, "Gemm": 2, "FusedGemm": 2,
             "MatMulNBits": 5, "DynamicQuantizeMatMul": 4, "MatMulIntegerToFloat": 6}  # fmt: skip
_OTHER_BIAS = ("QLinearConv", "QGemm", "Attention", "QAttention", "PackedAttention", "GemmFastGelu", "FusedMatMulActivation",
               "QLinearMatMul", "DecoderMaskedSelfAttention")  # fmt: skip
_SCALED = ("Gemm", "FusedGemm", "FusedMatMul")
_ACTIVATING = ("GemmFastGelu", "FusedMatMulActivation", "Attention", "QAttention", "PackedAttention",
               "DecoderMaskedSelfAttention")  # fmt: skip


def _moved(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    return node.inputs[0] == walk.value


def _cast(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    return node.integer("to", 0) in _FLOATS


def _shifted(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    """A constant is added, or taken away; taken from a constant, the sign turns."""
    if len(node.inputs) != 2 or node.inputs[0] == node.inputs[1]:
        return False
    other = node.inputs[0] if node.inputs[1] == walk.value else node.inputs[1]
    if not downstream.is_constant(other):
        return False
    turned = node.op == "Sub" and node.inputs[1] == walk.value
    if turned:
        walk.negate()
    walk.add(downstream.constant(other), -1.0 if node.op == "Sub" and not turned else 1.0)
    return True


def _multiplied(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    if len(node.inputs) != 2 or node.inputs[0] == node.inputs[1]:
        return False
    other = node.inputs[0] if node.inputs[1] == walk.value else node.inputs[1]
    if downstream.is_constant(other):
        return walk.multiply(downstream.constant(other))
    if walk.rescaled:
        return False
    walk.rescaled = True
    factor = downstream.factor_of(other)
    return factor is None or walk.multiply(factor)


def _divided(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    if node.inputs[0] != walk.value or len(node.inputs) != 2:
        return False
    divisor = downstream.constant(node.inputs[1])
    with np.errstate(all="ignore"):
        return walk.multiply(None if divisor is None else 1 / divisor.astype(np.float64))


def _negated(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    walk.negate()
    return True


def _normalised(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    """gamma / sqrt(variance + epsilon), of the second axis."""
    if len(node.inputs) != 5 or node.inputs[0] != walk.value or node.integer("training_mode", 0):
        return False
    if walk.rank is not None and walk.axis != 1 - walk.rank:
        return False
    gamma, variance = downstream.constant(node.inputs[1]), downstream.constant(node.inputs[4])
    if gamma is None or variance is None or not gamma.size == variance.size == walk.gain.size:
        return False
    epsilon = node.attributes().get("epsilon")
    with np.errstate(all="ignore"):
        deviation = np.sqrt(variance.astype(np.float64).reshape(-1) + (1e-5 if epsilon is None else float(epsilon.f)))
        factor = gamma.astype(np.float64).reshape(-1) / deviation
        walk.gain = walk.gain * factor
        beta, mean = downstream.constant(node.inputs[2]), downstream.constant(node.inputs[3])
        if walk.shift is None or beta is None or mean is None or not beta.size == mean.size == walk.gain.size:
            walk.shift = None
        else:
            walk.shift = (walk.shift - mean.astype(np.float64).reshape(-1)) * factor + beta.astype(np.float64).reshape(
                -1
            )
    return True


def _transposed(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    axes = node.integers("perm")
    if axes is None or sorted(axes) != list(range(len(axes))) or len(axes) < -walk.axis:
        return False
    walk.rank = len(axes)
    walk.axis = axes.index(walk.axis + walk.rank) - walk.rank
    return True


def _squeezed(downstream: Downstream, walk: OutRows, node: Node) -> bool:
    """Axes of length 1 come or go; where the others are, follows from the rank."""
    axes = node.integers("axes")
    if axes is None and len(node.inputs) > 1:
        given = downstream.constant(node.inputs[1])
        axes = None if given is None or given.size > _MAX_STEPS else [int(axis) for axis in given.reshape(-1)]
    if axes is None or walk.rank is None or node.inputs[0] != walk.value:
        return False
    rank = walk.rank + len(axes) * (1 if node.op == "Unsqueeze" else -1)
    longer = max(rank, walk.rank)
    if (
        rank < 1
        or any(not -longer <= axis < longer for axis in axes)
        or len({axis % longer for axis in axes}) < len(axes)
    ):
        return False
    kept = [place for place in range(longer) if place not in {axis % longer for axis in axes}]
    own = walk.axis + walk.rank
    if node.op == "Unsqueeze":
        walk.axis = kept[own] - rank
    elif own in kept:
        walk.axis = kept.index(own) - rank
    else:
        return False
    walk.rank = rank
    return True


_Step = Callable[[Downstream, OutRows, Node], bool]
_STEPS: dict[str, _Step] = {
    "Identity": _moved,
    "Dropout": _moved,
    "QuantizeLinear": _moved,
    "DequantizeLinear": _moved,
    "Cast": _cast,
    "Add": _shifted,
    "Sub": _shifted,
    "Mul": _multiplied,
    "Div": _divided,
    "Neg": _negated,
    "BatchNormalization": _normalised,
    "Transpose": _transposed,
    "Squeeze": _squeezed,
    "Unsqueeze": _squeezed,
}
