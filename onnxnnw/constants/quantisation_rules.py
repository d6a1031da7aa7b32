"""What operators make of constants by quantisation, and of what was quantised: ONNX's own, QONNX's and Brevitas'."""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxnnw.constants.arrays import Constant
from onnxnnw.constants.decoding import Elementwise, Quantized, QuantizedFloat, Reduced, dequantize, fit_parameters
from onnxnnw.constants.rulebook import element_type, number_of, outputs_rule, rule, text
from onnxnnw.flow.nodes import Node
from onnxnnw.network_file.formats import SMALL_FLOATS
from onnxnnw.network_file.stored import Array

__all__: list[str] = []

_BOTH = ("", "com.microsoft")
_FAKE = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
"""Domains of operators that round to a grid and stay real numbers [QONNX, arXiv:2206.07527]."""


@rule("DequantizeLinear", domains=_BOTH)
def _dequantize_linear(node: Node, parts: list[Any]) -> Constant | None:
    if len(parts) < 2 or parts[1] is None:
        return None
    zero = parts[2] if len(parts) > 2 else None
    return dequantize(parts[0], parts[1], zero, node.integer("axis", 1), node.integer("block_size", 0))


_RANGES = {f"{sign}INT{bits}": (0 if sign else -(2 ** (bits - 1)), 2 ** (bits - (not sign)) - 1)
           for sign in ("", "U") for bits in (2, 4, 8, 16)}  # fmt: skip


@rule("QuantizeLinear", domains=_BOTH)
def _quantize_linear(node: Node, parts: list[Any]) -> Constant | None:
    if len(parts) < 2 or parts[1] is None or node.integer("precision", TensorProto.FLOAT) not in (0, TensorProto.FLOAT):
        return None
    zero = parts[2] if len(parts) > 2 else None
    target: int | None = node.integer("output_dtype", 0)
    if not target:
        target = element_type(zero) if zero is not None else TensorProto.UINT8
    fitting = fit_parameters(parts[0], (parts[1], zero), node.integer("axis", 1), node.integer("block_size", 0))
    if fitting is None or target is None:
        return None
    name = TensorProto.DataType.Name(target)
    if name in SMALL_FLOATS and name != "FLOAT8E8M0":
        return QuantizedFloat(parts[0], *fitting, target, bool(node.integer("saturate", 1)))
    limits = _RANGES.get(name)
    return Quantized(parts[0], *fitting, *limits) if limits is not None else None


@outputs_rule("DynamicQuantizeLinear")
def _dynamically_quantized(node: Node, parts: list[Any], place: int) -> Constant | None:
    """One of the outputs of DynamicQuantizeLinear: codes of eight bits, their scale, their zero point [ONNX, opset 11].

    onnxruntime's quantiser leaves it behind weights that Constant nodes hold.
    """
    values = parts[0]
    scale = Reduced(values, _dynamic_scale, ())
    zero = Elementwise(
        lambda low, step: np.clip(np.rint(-low / step), 0, 255).astype("u1"), (Reduced(values, _low, ()), scale)
    )
    if place == 0:
        fitting = fit_parameters(values, (scale, zero), 0, 0)
        return None if fitting is None else Quantized(values, *fitting, 0, 255)
    return (scale, zero)[place - 1]


def _low(values: Array) -> Array:
    low: Array = np.fmin.reduce(values, axis=None, initial=0)
    return low


def _dynamic_scale(values: Array) -> Array:
    step: Array = (np.fmax.reduce(values, axis=None, initial=0) - _low(values)) / np.float32(255)
    return np.where(step > 0, step, np.float32(1)).astype(np.float32)


def _half_up(values: Array) -> Array:
    return np.sign(values) * np.floor(np.abs(values) + 0.5)


def _half_down(values: Array) -> Array:
    return np.sign(values) * np.ceil(np.abs(values) - 0.5)


def _away(values: Array) -> Array:
    return np.sign(values) * np.ceil(np.abs(values))


_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": _away,
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": _half_up,
    "HALF_DOWN": _half_down,
}


@rule("Quant", "IntQuant", domains=_FAKE)
def _quant(node: Node, parts: list[Any]) -> Constant | None:
    """Rounded to a grid of ``2 ** bits`` numbers, and back to real ones [QONNX Quant]."""
    if len(parts) != 4 or None in parts:
        return None
    bits = float(number_of(parts[3]))
    signed, narrow = node.integer("signed", 1), node.integer("narrow", 0)
    rounding = _ROUNDINGS.get(text(node, "rounding_mode", "ROUND").upper())
    if rounding is None or not 1 <= bits <= 32:
        return None
    bipolar = bits == 1 and signed
    if signed:
        low, high = -(2.0 ** (bits - 1)) + bool(narrow), 2.0 ** (bits - 1) - 1
    else:
        low, high = 0.0, 2.0**bits - 1 - bool(narrow)

    def quantise(values: Array, scale: Array, zero: Array) -> Array:
        grid = values / scale + zero
        whole = np.where(grid >= 0, 1, -1) if bipolar else rounding(np.clip(grid, low, high))
        return ((whole - zero) * scale).astype(np.float32)

    return _of_same_shape(Elementwise(quantise, tuple(parts[:3])), parts[0])


@rule("BipolarQuant", domains=_FAKE)
def _bipolar_quant(node: Node, parts: list[Any]) -> Constant | None:
    """The scale with the sign of the number [QONNX BipolarQuant]."""
    if len(parts) != 2 or None in parts:
        return None

    def quantise(values: Array, scale: Array) -> Array:
        return (np.where(values >= 0, 1, -1) * scale).astype(np.float32)

    return _of_same_shape(Elementwise(quantise, tuple(parts)), parts[0])


def _of_same_shape(result: Constant, values: Constant) -> Constant | None:
    return result if result.shape == values.shape else None
