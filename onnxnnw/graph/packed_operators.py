"""Weights that operators keep packed: blocks of codes, stacks of experts, blocks of channels."""

from collections.abc import Callable

from onnxnnw.constants.arrays import Constant
from onnxnnw.constants.constants import Constants
from onnxnnw.constants.decoding import Codebook, Unpacked, dequantize
from onnxnnw.constants.moved import Reshaped, Sliced, Transposed, as_unblocked
from onnxnnw.flow.nodes import ABSENT, Node

__all__ = [
    "dynamic_lstm",
    "experts",
    "gather_quantized",
    "matmul_bnb4",
    "matmul_nbits",
    "nchwc",
]

_EXPERT_SCALES = {1: (3, 11), 2: (6, 12), 3: (9, 13)}
"""Inputs of QMoE that hold the scales and the zero points of its first, second and third weight."""


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


def matmul_nbits(node: Node, packed: Constant, constants: Constants) -> Constant | None:
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


def matmul_bnb4(node: Node, packed: Constant, constants: Constants) -> Constant | None:
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


def gather_quantized(node: Node, data: Constant, constants: Constants) -> Constant | None:
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


def experts(number: int) -> Callable[[Node, Constant, Constants], Constant | None]:
    """[experts, N, K * bits / 8] -> [experts, N, K], integers only, as the file has them [com.microsoft QMoE].

    Where a file says that its weights were packed for a device beforehand, nobody but the device's provider knows how.
    """

    def decode(node: Node, packed: Constant, constants: Constants) -> Constant | None:
        attributes = node.attributes()
        kind, prepacked = attributes.get("quant_type"), attributes.get("weights_prepacked")
        bits = node.integer(f"fc{number}_expert_weight_bits", 0) or node.integer("expert_weight_bits", 4)
        if (kind is not None and kind.s != b"int") or (prepacked is not None and prepacked.i != 0):
            return None
        if bits not in (2, 4, 8) or len(packed.shape) != 3 or packed.stored()[0].type_name != "uint8":
            return None
        scale, zero = (_parameter(node, index, constants) for index in _EXPERT_SCALES[number])
        if scale is None:
            return None
        codes = Unpacked(packed, bits) if bits < 8 else packed
        experts, rows, columns = codes.shape
        block = node.integer("block_size", 0) or columns
        blocks = -(-columns // block)
        if block < 1 or scale.size != experts * rows * blocks:
            return None
        if zero is None:
            middle = Codebook(codes, tuple(float(code - 2 ** (bits - 1)) for code in range(2**bits)))
            return dequantize(middle, scale, None, 2, block)
        if bits < 8:
            zero = _head(Unpacked(zero, bits), len(zero.shape) - 1, blocks if len(zero.shape) == 3 else rows)
        return dequantize(codes, scale, zero, 2, block) if zero.size == scale.size else None

    return decode


def dynamic_lstm(scale: int) -> Callable[[Node, Constant, Constants], Constant | None]:
    """[directions, in, 4 hidden] -> [directions, 4 hidden, in] [com.microsoft DynamicQuantizeLSTM]."""

    def decode(node: Node, weight: Constant, constants: Constants) -> Constant | None:
        if len(weight.shape) != 3:
            return None
        values = dequantize(weight, _parameter(node, scale, constants), _parameter(node, scale + 1, constants), -1)
        return Transposed(values, (0, 2, 1)) if values is not None else None

    return decode


def nchwc(node: Node, weight: Constant, constants: Constants) -> Constant | None:
    return as_unblocked(weight)
