"""How operators use weights: which input, in which layout, and how integers there stand for real numbers.

Canonical layout is [out, in / groups, *kernel]; tables of rows (Gather) and sums (Add) stay as they are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from onnxnnw.graph.arrays import Constant, Reshaped, Sliced, Transposed
from onnxnnw.graph.constants import Constants
from onnxnnw.graph.decoding import Codebook, Unpacked, dequantize
from onnxnnw.graph.flow import ABSENT, Flow, Node

__all__ = ["AS_TABLE", "MIN_ELEMENTS", "NCHWC_BLOCKS", "Use", "bias_name", "unblocked", "uses", "uses_of", "weights_of"]

MIN_ELEMENTS = 64
"""Smaller weights carry no mark (DESIGN: eligible)."""

NCHWC_BLOCKS = (16, 8)
"""Channels in a block of onnxruntime's blocked convolutions: as many as the machine's vectors hold. The file does not say which."""

_RECENT = 20
"""Problems among which a function is looked for that is called again and again: it need not be named each time."""

AS_TABLE = ("add", "table")
"""Layouts of what is read and accounted for, and carries no mark: what is added to activations may be a grid of places."""

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


def _parameter(node: Node, index: int, constants: Constants) -> Constant | None:
    """A constant input, or None where it is not given; ValueError where it is given and not constant."""
    if index >= len(node.inputs) or node.inputs[index] == ABSENT:
        return None
    constant = constants.of(node.inputs[index])
    if constant is None:
        raise ValueError
    return constant


def _head(constant: Constant, axis: int, length: int) -> Constant:
    """The first ``length`` elements along an axis."""
    shape = constant.shape
    if shape[axis] == length:
        return constant
    return Sliced(constant, (0,) * len(shape), (1,) * len(shape), (*shape[:axis], length, *shape[axis + 1 :]))


def _matmul_nbits(node: Node, packed: Constant, constants: Constants) -> Constant | None:
    """[N, blocks, bytes] -> [N, K]; 2 ** (bits - 1) where no zero points are given [com.microsoft MatMulNBits]."""
    rows, columns = node.integer("N", 0), node.integer("K", 0)
    bits, block = node.integer("bits", 4), node.integer("block_size", 0)
    if bits not in (2, 4, 8) or min(rows, columns, block) < 1 or block * bits % 8:
        return None
    if len(node.inputs) > 4 and node.inputs[4] != ABSENT:  # g_idx: columns in an order of their own
        return None
    blocks = -(-columns // block)
    if packed.stored()[0].type_name != "uint8" or packed.size != rows * blocks * block * bits // 8:
        return None
    scale, zero = (_parameter(node, index, constants) for index in (2, 3))
    if scale is None:
        return None
    if zero is not None and zero.stored()[0].type_name == "uint8":
        width = -(-blocks * bits // 8)
        if zero.size != rows * width:
            return None
        zero = _head(Unpacked(Reshaped(zero, (rows, width)), bits), 1, blocks)
    codes = _head(Reshaped(Unpacked(Reshaped(packed, (packed.size,)), bits), (rows, blocks * block)), 1, columns)
    if zero is None:
        codes = Codebook(codes, tuple(float(code - 2 ** (bits - 1)) for code in range(2**bits)))
    return dequantize(codes, scale, zero, 1, block)


_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""NormalFloat4 [QLoRA, arXiv:2305.14314, appendix E]."""

_FP4 = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
"""The positive half of the four-bit floating point that goes with it."""


def _matmul_bnb4(node: Node, packed: Constant, constants: Constants) -> Constant | None:
    """Nibbles, the high one first, in blocks that run on over rows -> [N, K] [com.microsoft MatMulBnb4]."""
    rows, columns, block = node.integer("N", 0), node.integer("K", 0), node.integer("block_size", 0)
    kind = node.integer("quant_type", 1)
    size = rows * columns
    if min(rows, columns, block) < 1 or kind not in (0, 1) or packed.size != -(-size // 2):
        return None
    if packed.stored()[0].type_name != "uint8":
        return None
    scale = _parameter(node, 2, constants)
    if scale is None:
        return None
    table = _NF4 if kind else (*_FP4, *(-value for value in _FP4))
    codes = _head(Unpacked(Reshaped(packed, (packed.size,)), 4, high_first=True), 0, size)
    values = dequantize(Codebook(codes, table), scale, None, 0, block)
    return Reshaped(values, (rows, columns)) if values is not None else None


def _gather_quantized(node: Node, data: Constant, constants: Constants) -> Constant | None:
    """Rows of a table in blocks; bytes hold two codes of four bits [com.microsoft GatherBlockQuantized]."""
    bits, block = node.integer("bits", 4), node.integer("block_size", 128)
    rank = len(data.shape)
    axis = node.integer("quantize_axis", 1) % rank
    scale, zero = (_parameter(node, index, constants) for index in (2, 3))
    if scale is None or bits not in (2, 4, 8) or block < 1 or node.integer("gather_axis", 0) % rank:
        return None
    if data.stored()[0].type_name == "uint8":
        if axis != rank - 1:
            return None
        data = Unpacked(data, bits) if bits < 8 else data
        if zero is None:
            data = Codebook(data, tuple(float(code - 2 ** (bits - 1)) for code in range(2**bits)))
        elif bits < 8:
            zero = _head(Unpacked(zero, bits), axis, -(-data.shape[axis] // block))
    return dequantize(data, scale, zero, axis, block)


def _dynamic_lstm(scale: int) -> Callable[[Node, Constant, Constants], Constant | None]:
    """[directions, in, 4 hidden] -> [directions, 4 hidden, in] [com.microsoft DynamicQuantizeLSTM]."""

    def decode(node: Node, weight: Constant, constants: Constants) -> Constant | None:
        if len(weight.shape) != 3:
            return None
        values = dequantize(weight, _parameter(node, scale, constants), _parameter(node, scale + 1, constants), -1)
        return Transposed(values, (0, 2, 1)) if values is not None else None

    return decode


def unblocked(weight: Constant, block: int) -> Constant | None:
    """A weight of onnxruntime's blocked convolution as [out, in, *kernel], still padded to whole blocks.

    Stored are [out / b, in / b, *kernel, b (in), b (out)], or [out / b, in, *kernel, b (out)] where there are fewer inputs
    than a block: the first layer, and depthwise ones [onnxruntime, MlasReorderFilterOIHWBiBo and OIHWBo].
    """
    out, inputs, *kernel = weight.shape
    if out % block:
        return None
    axes = tuple(range(2, 2 + len(kernel)))
    if inputs % block:
        parts = Reshaped(weight, (out // block, inputs, *kernel, block))
        return Reshaped(Transposed(parts, (0, 2 + len(kernel), 1, *axes)), weight.shape)
    parts = Reshaped(weight, (out // block, inputs // block, *kernel, block, block))
    return Reshaped(Transposed(parts, (0, 3 + len(kernel), 1, 2 + len(kernel), *axes)), weight.shape)


def _nchwc(node: Node, weight: Constant, constants: Constants) -> Constant | None:
    readings = (unblocked(weight, block) for block in NCHWC_BLOCKS)
    return next((reading for reading in readings if reading is not None), None)


_CONV, _GEMM, _MATMUL, _ROWS = (
    (Use(1, "conv"),),
    (Use(1, "gemm"), Use(0, "gemm_left")),
    (Use(1, "matmul"), Use(0, "rows")),
    (Use(1, "rnn"), Use(2, "rnn")),
)
_TABLES = {
    **dict.fromkeys(("Mul", "Sub", "Div", "Pow", "QLinearMul"), (1, 0)),
    **dict.fromkeys(("Max", "Min", "Sum", "Mean", "Concat", "Einsum"), tuple(range(16))),
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
    "MatMulNBits": (Use(1, "blocks", decode=_matmul_nbits),),
    "MatMulBnb4": (Use(1, "blocks", decode=_matmul_bnb4),),
    "Attention": (Use(1, "matmul"),),
    "PackedAttention": (Use(1, "matmul"),),
    "DecoderMaskedSelfAttention": (Use(1, "matmul"),),
    "QAttention": (Use(1, "matmul", 4, 7),),
    "Gather": (Use(0, "gather"),),
    "GatherBlockQuantized": (Use(0, "gather", decode=_gather_quantized),),
    "EmbedLayerNormalization": (Use(2, "gather"), Use(3, "gather"), Use(4, "gather")),
    "LSTM": _ROWS,
    "GRU": _ROWS,
    "RNN": _ROWS,
    "DynamicQuantizeLSTM": (Use(1, "rnn", decode=_dynamic_lstm(8)), Use(2, "rnn", decode=_dynamic_lstm(10))),
    "Add": (Use(1, "add"), Use(0, "add")),
    "QLinearAdd": (Use(3, "add", 4, 5), Use(0, "add", 1, 2)),
    **{op: tuple(Use(place, "table") for place in places) for op, places in _TABLES.items()},
}
_BLOCKED_CONV = (Use(1, "nchwc", decode=_nchwc),)
_NCHWC = "com.microsoft.nchwc"
_MICROSOFT = {"Attention"}
"""Operators that take weights in Microsoft's domain and none in the standard's."""


def uses_of(node: Node) -> tuple[Use, ...]:
    """The inputs of a node that may be weights."""
    if node.domain == _NCHWC:
        return _BLOCKED_CONV if node.op == "Conv" else ()
    if node.domain not in ("", "com.microsoft") or (not node.domain and node.op in _MICROSOFT):
        return ()
    return _USES.get(node.op, ())


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
        constant = constants.of(value)
        if constant is None:
            if use.layout not in AS_TABLE and constants.is_unreadable(value):  # places and shapes are added too
                shown = _shown(flow.names[value])
                problems.append(f"{shown} reaches {node.op} by constant operations that are not understood")
            continue
        if constant.size < (min_elements if use.decode is None else 1) or (len(constant.shape) < 2 and not use.decode):
            continue
        made = constants.status(node.result)
        if made is not None and (made is not Constants.UNREADABLE or use.layout in ("gather", *AS_TABLE)):
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
    if layout == "matmul":
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
           "MatMulIntegerToFloat": 6, "DynamicQuantizeLSTM": 3}  # fmt: skip


def bias_name(node: Node, index: int, flow: Flow) -> str:
    """Name of the bias that the same node adds."""
    if index != 1 and node.op not in ("QLinearConv", "QGemm"):
        return ""
    place = _BIASES.get(node.op, 2)
    if node.op in ("MatMulBnb4", "Add", "QLinearAdd", "MatMulInteger", "ConvInteger") or place >= len(node.inputs):
        return ""
    return flow.names[node.inputs[place]] if node.inputs[place] != ABSENT else ""
