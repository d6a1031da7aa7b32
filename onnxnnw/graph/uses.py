"""How operators use weights: which input, in which layout, and how integers there represent real numbers.

Canonical layout is [out, in / groups, *kernel]; tables of rows (Gather) and sums (Add) stay as they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from onnxnnw.constants.arrays import Constant
from onnxnnw.constants.constants import Constants
from onnxnnw.constants.contraction import Contraction, contraction_of
from onnxnnw.constants.decoding import dequantize
from onnxnnw.constants.moved import Reshaped, Transposed
from onnxnnw.flow.attribute_weights import read_attributes
from onnxnnw.flow.nodes import ABSENT, Flow, Node
from onnxnnw.graph.packed_operators import dynamic_lstm, experts, gather_quantized, matmul_bnb4, matmul_nbits, nchwc

__all__ = ["AS_TABLE", "MIN_ELEMENTS", "Use", "bias_name", "uses", "uses_of", "weights_of"]

MIN_ELEMENTS = 64
"""Smaller weights carry no mark (DESIGN: eligible)."""


_RECENT = 20
"""Problems among which a function is looked for that is called again and again: it need not be named each time."""

AS_TABLE = ("add", "table")
"""Layouts of what is read and accounted for, and carries no mark: what is added to activations may be a grid of places."""

_MAX_OPERANDS = 16
_RUN = 64
"""A table that is added to activations shows as many elements; a mask or a grid has few different ones among them."""


@dataclass(frozen=True)
class Use:
    """How an operator uses a weight.

    Attributes:
        weight: Number of the input.
        layout: How its axes are meant.
        scale, zero_point: Numbers of the inputs that turn integers into real numbers.
        decode: Builds the canonical weight where a layout alone does not say it.
    """

    weight: int
    layout: str
    scale: int | None = None
    zero_point: int | None = None
    decode: "Callable[[Node, Constant, Constants], Constant | None] | None" = None


_CONV, _GEMM, _MATMUL, _ROWS = (
    (Use(1, "conv"),),
    (Use(1, "gemm"), Use(0, "gemm_left")),
    (Use(1, "matmul"), Use(0, "rows")),
    (Use(1, "rnn"), Use(2, "rnn")),
)
_TABLES = {
    **dict.fromkeys(("Mul", "Sub", "Div", "Pow", "QLinearMul"), (1, 0)),
    **dict.fromkeys(("Max", "Min", "Sum", "Mean", "Concat"), tuple(range(16))),
    **dict.fromkeys(("MultiHeadAttention", "GroupQueryAttention", "PackedMultiHeadAttention", "DecoderMaskedMultiHeadAttention"),
                    (0, 1, 2)),
    **dict.fromkeys(("Slice", "Expand", "Tile", "Reshape", "Pad", "GatherND", "GatherElements", "Resize", "ScatterND",
                     "ScatterElements", "Split"), (0,)),
    "Where": (1, 2),
    "PRelu": (1,),
}  # fmt: skip
"""Operators that read whole tables element by element, or hand them on by places that are not constant."""

_USES: dict[str, tuple[Use, ...]] = {
    "Conv": _CONV,
    "FusedConv": _CONV,
    "NhwcConv": _CONV,
    "NhwcFusedConv": _CONV,
    "ConvTranspose": (Use(1, "conv_transpose"),),
    "QLinearConv": (Use(3, "conv", 4, 5),),
    "ConvInteger": (Use(1, "conv", None, 3),),
    "Gemm": _GEMM,
    "FusedGemm": _GEMM,
    "GemmFastGelu": (Use(1, "matmul"),),
    "QGemm": (Use(3, "gemm", 4, 5),),
    "MatMul": _MATMUL,
    "FusedMatMul": _GEMM,
    "FusedMatMulActivation": _GEMM,
    "QLinearMatMul": (Use(3, "matmul", 4, 5),),
    "MatMulInteger": (Use(1, "matmul", None, 3),),
    "MatMulIntegerToFloat": (Use(1, "matmul", 3, 5),),
    "DynamicQuantizeMatMul": (Use(1, "matmul", 2, 3),),
    "MatMulNBits": (Use(1, "blocks", decode=matmul_nbits),),
    "MatMulBnb4": (Use(1, "blocks", decode=matmul_bnb4),),
    "Attention": (Use(1, "matmul"), Use(5, "table")),
    "MoE": (Use(2, "experts"), Use(4, "experts"), Use(6, "experts")),
    "QMoE": tuple(Use(3 * number - 1, "experts", decode=experts(number)) for number in (1, 2, 3)),
    "DeformConv": _CONV,
    "CausalConvWithState": _CONV,
    "ConvTransposeWithDynamicPads": (Use(1, "conv_transpose"),),
    "TransposeMatMul": _GEMM,
    "SparseToDenseMatMul": (Use(1, "gemm"),),
    "DecoderAttention": (Use(2, "query"), Use(3, "query")),
    "LongformerAttention": (Use(1, "query"), Use(4, "query")),
    "GatedRelativePositionBias": (Use(3, "query"), Use(1, "table")),
    "RelativePositionBias": (Use(0, "gather"),),
    "TorchEmbedding": (Use(0, "gather"),),
    "QEmbedLayerNormalization": (Use(2, "gather", 8, 13), Use(3, "gather", 9, 14), Use(4, "gather", 10, 15)),
    "PackedAttention": (Use(1, "matmul"),),
    "DecoderMaskedSelfAttention": (Use(1, "matmul"),),
    "QAttention": (Use(1, "matmul", 4, 7),),
    "Gather": (Use(0, "gather"),),
    "GatherBlockQuantized": (Use(0, "gather", decode=gather_quantized),),
    "EmbedLayerNormalization": (Use(2, "gather"), Use(3, "gather"), Use(4, "gather")),
    "LSTM": _ROWS,
    "GRU": _ROWS,
    "RNN": _ROWS,
    "DynamicQuantizeLSTM": (Use(1, "rnn", decode=dynamic_lstm(8)), Use(2, "rnn", decode=dynamic_lstm(10))),
    "Add": (Use(1, "add"), Use(0, "add")),
    "QLinearAdd": (Use(3, "add", 4, 5), Use(0, "add", 1, 2)),
    **{op: tuple(Use(place, "table") for place in places) for op, places in _TABLES.items()},
    "Einsum": (Use(1, "einsum"), Use(0, "einsum")),
}
_OF_ATTRIBUTES = {
    **dict.fromkeys(("LinearRegressor", "LinearClassifier"), (Use(1, "linear"),)),
    **dict.fromkeys(("SVMRegressor", "SVMClassifier"), (Use(1, "table"), Use(2, "table"))),
}
"""Weights in attributes. Support vectors are samples of the training data: they are read, and carry no mark."""

_BLOCKED_CONV = (Use(1, "nchwc", decode=nchwc),)
_NCHWC = "com.microsoft.nchwc"
_STANDARD_ATTENTION = tuple(Use(place, "table") for place in range(4))
"""The standard's Attention has no weights: queries, keys, values and a bias may be learned tables [ONNX Attention-23]."""


def uses_of(node: Node) -> tuple[Use, ...]:
    """The inputs of a node that may be weights."""
    if node.domain == _NCHWC:
        return _BLOCKED_CONV if node.op == "Conv" else ()
    if node.domain == "ai.onnx.ml":
        return _OF_ATTRIBUTES.get(node.op, ()) if read_attributes(node) else ()
    if node.domain not in ("", "com.microsoft"):
        return ()
    if node.op == "Attention" and not node.domain:
        return _STANDARD_ATTENTION
    return _USES.get(node.op, ()) if node.op != "Einsum" else tuple(_einsum(node))


def _einsum(node: Node) -> Iterator[Use]:
    """The operands of an Einsum that are matrices in a product, or tables; a diagonal is neither."""
    attribute = node.attributes().get("equation")
    if attribute is None:
        return
    for place in range(min(len(node.inputs), _MAX_OPERANDS)):
        contraction = contraction_of(attribute.s.decode("ascii", "replace"), place)
        if contraction is not None and contraction.is_product:
            yield Use(place, "einsum", decode=partial(_contracted, contraction))
        elif contraction is not None:
            yield Use(place, "table")


def _contracted(contraction: Contraction, node: Node, constant: Constant, constants: Constants) -> Constant | None:
    return contraction.canonical(constant)


def uses() -> dict[str, tuple[Use, ...]]:
    """All of them, for the page that shows them: operator -> the inputs that may be weights."""
    return dict(sorted(_USES.items()))


def weights_of(
    node: Node, constants: Constants, problems: list[str], flow: Flow, min_elements: int
) -> Iterator[tuple[int, Constant, Use]]:
    """The weights of one node in canonical layout; what is there and not understood goes to ``problems``."""
    if node.function is not None:
        name = f"{node.function.domain}.{node.function.name}".removeprefix(
            "."
        )  # a name that is listed, so fit for a terminal
        known = "is named like an operator of runtimes, which run their own instead; its body is not read"
        if f"the local function {name} {known}" not in problems[-_RECENT:]:
            problems.append(f"the local function {name} {known}")
        return
    uses = uses_of(node)
    if not uses:
        unknown = node.domain not in ("", "ai.onnx.ml") and any(_large(constants, v) for v in node.inputs)
        if unknown and constants.of(node.result) is None:
            problems.append(
                f"{_shown(f'{node.domain}.{node.op}')} is not an operator that this version reads weights of"
            )
        return
    count = len(node.inputs)
    for use in uses:
        value = node.inputs[use.weight] if use.weight < count else ABSENT
        if value == ABSENT:
            continue
        if value in flow.slices:
            canonical = _stack(node, use, constants, *flow.slices[value])
            if canonical is not None and canonical.size >= min_elements:
                yield use.weight, canonical, use
                if use.layout in ("gemm", "matmul"):
                    return
            continue
        constant = constants.of(value)
        if constant is None:
            if use.layout not in AS_TABLE and constants.is_unreadable(value):  # places and shapes are added too
                shown = _shown(flow.names[value])
                problems.append(f"{shown} reaches {node.op} by constant operations that are not understood")
            continue
        if constant.size < (min_elements if use.decode is None else 1) or (len(constant.shape) < 2 and not use.decode):
            continue
        made = constants.status(node.result)
        if made is not None and (made is not Constants.UNREADABLE or use.layout in ("gather", "einsum", *AS_TABLE)):
            return  # a step on the way to a weight
        if use.layout in AS_TABLE and not _is_table(constant):
            continue
        canonical = _canonical(node, use, constant, constants)
        if canonical is None:
            problems.append(f"{_shown(flow.names[value])} does not fit {node.op}")
        elif canonical.size >= min_elements:
            yield use.weight, canonical, use
            if use.layout in ("gemm", "matmul"):
                return  # two constant factors: the right one is the weight


def _stack(node: Node, use: Use, constants: Constants, value: int, axis: int) -> Constant | None:
    """Weights that a Scan hands to its body one after the other: a stack of matrices, or all their rows below each other."""
    stack = constants.of(value)
    if stack is None or use.decode or use.scale or use.zero_point or use.layout not in _STACKED:
        return None
    rank = len(stack.shape)
    if rank < 3 or not -rank <= axis < rank or (use.layout == "conv" and rank < 4):
        return None
    order = (axis % rank, *(place for place in range(rank) if place != axis % rank))
    canonical = _oriented(node, use.layout, Transposed(stack, order))
    if canonical is not None and use.layout in ("conv", "gather", "rnn"):
        count, first, *rest = canonical.shape
        return Reshaped(canonical, (count * first, *rest))
    return canonical


_STACKED = ("matmul", "rows", "gemm", "gemm_left", "conv", "gather", "rnn")


def _shown(name: str) -> str:
    """A name from a file, fit for a terminal."""
    return repr(name[:80])[1:-1]


def _is_table(constant: Constant) -> bool:
    """Whether a summand may be trained: two dimensions or more, and not a mask of a few values."""
    if sum(length > 1 for length in constant.shape) < 2:
        return False
    start = (constant.size - _RUN) // 2
    run = constant.take(np.arange(start, start + _RUN))
    return 2 * np.unique(run).size > _RUN


def _canonical(node: Node, use: Use, constant: Constant, constants: Constants) -> Constant | None:
    try:
        if use.decode is not None:
            return use.decode(node, constant, constants)
        if use.scale is not None or use.zero_point is not None:
            integers = _integer(node, use, constant, constants)
            return _oriented(node, use.layout, integers) if integers is not None else None
        return _oriented(node, use.layout, constant)
    except (ValueError, LookupError, ArithmeticError):
        return None


def _integer(node: Node, use: Use, constant: Constant, constants: Constants) -> Constant | None:
    """Integers of an integer operator as real numbers; without a scale at hand, up to the scale of a row."""
    given = [node.inputs[i] if i is not None and i < len(node.inputs) else ABSENT for i in (use.scale, use.zero_point)]
    scale, zero = (constants.of(value) if value != ABSENT else None for value in given)
    rows_first = use.layout == "conv" or (use.layout == "gemm" and node.integer("transB", 0))
    return dequantize(constant, scale, zero, 0 if rows_first else -1)


def _oriented(node: Node, layout: str, constant: Constant) -> Constant | None:
    """Axes in canonical order."""
    rank = len(constant.shape)
    flipped = (*range(rank - 2), rank - 1, rank - 2)
    if layout in ("matmul", "query"):
        return Transposed(constant, flipped)
    if layout == "gemm":
        if node.integer("transBatchB", 0):
            return None
        return constant if node.integer("transB", 0) else Transposed(constant, flipped)
    if layout == "gemm_left":
        if node.integer("transBatchA", 0):
            return None
        return Transposed(constant, flipped) if node.integer("transA", 0) else constant
    if layout == "conv_transpose":
        groups = node.integer("group", 1)
        channels, out = constant.shape[:2]
        if groups < 1 or channels % groups:
            return None
        kernel = constant.shape[2:]
        split = Reshaped(constant, (groups, channels // groups, out, *kernel))
        swapped = Transposed(split, (0, 2, 1, *range(3, 3 + len(kernel))))
        return Reshaped(swapped, (groups * out, channels // groups, *kernel))
    return constant


def _large(constants: Constants, value: int) -> bool:
    if value == ABSENT:
        return False
    constant = constants.of(value)
    return constant is not None and len(constant.shape) >= 2 and constant.size >= MIN_ELEMENTS


_BIASES = {"QLinearConv": 8, "QGemm": 6, "LSTM": 3, "GRU": 3, "RNN": 3, "MatMulNBits": 5, "DynamicQuantizeMatMul": 4,
           "MatMulIntegerToFloat": 6, "DynamicQuantizeLSTM": 3, "DeformConv": 3, "ConvTransposeWithDynamicPads": 3,
           "DecoderAttention": 4, "QEmbedLayerNormalization": 99}  # fmt: skip


def bias_name(node: Node, index: int, flow: Flow) -> str:
    """Name of the bias that the same node adds."""
    if index != 1 and node.op not in ("QLinearConv", "QGemm"):
        return ""
    place = _BIASES.get(node.op, 2)
    if node.op in ("MatMulBnb4", "Add", "QLinearAdd", "MatMulInteger", "ConvInteger") or place >= len(node.inputs):
        return ""
    return flow.names[node.inputs[place]] if node.inputs[place] != ABSENT else ""
