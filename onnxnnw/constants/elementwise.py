"""Element-wise operators as functions of NumPy arrays; exact for integers, as ONNX defines them.

Truth values are 0 and 1 as uint8.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from onnxnnw.constants.rulebook import real, text
from onnxnnw.flow.nodes import Node
from onnxnnw.network_file.stored import Array

__all__ = ["OPERATORS", "function_of"]

Function = Callable[..., Array]


def _divide(left: Array, right: Array) -> Array:
    """ONNX divides integers without remainder, towards zero."""
    if left.dtype.kind not in "iu" or right.dtype.kind not in "iu":
        quotient: Array = np.divide(left, right)
        return quotient
    floor = left // right
    whole: Array = floor + ((left % right != 0) & ((left < 0) != (right < 0)))
    return whole.astype(floor.dtype, copy=False)


def _power(base: Array, exponent: Array) -> Array:
    """Of the type of the base [ONNX Pow-12]."""
    if base.dtype.kind == "f" or (exponent.dtype.kind in "iu" and not (exponent < 0).any()):
        return np.power(base, exponent).astype(base.dtype, copy=False)
    return np.power(base.astype(np.float64), exponent).astype(base.dtype)


def _truth(function: Callable[..., Any]) -> Function:
    return lambda *values: function(*values).astype("u1")


def _erf(values: Array) -> Array:
    from scipy.special import erf  # a heavy import, and a rare operator

    out: Array = erf(values)
    return out


def _sigmoid(values: Array) -> Array:
    out: Array = np.reciprocal(1 + np.exp(-values))
    return out


def _softplus(values: Array) -> Array:
    out: Array = np.logaddexp(values, values.dtype.type(0))
    return out


def _relu(values: Array) -> Array:
    out: Array = np.maximum(values, values.dtype.type(0))
    return out


def _mean(*values: Array) -> Array:
    out: Array = reduce(np.add, values) / values[0].dtype.type(len(values))
    return out


def _prelu(values: Array, slope: Array) -> Array:
    return np.where(values < 0, values * slope, values)


def _choose(condition: Array, left: Array, right: Array) -> Array:
    return np.where(condition != 0, left, right)


_UNARY: dict[str, Function] = {
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Abs": np.abs,
    "Exp": np.exp,
    "Log": np.log,
    "Tanh": np.tanh,
    "Sign": np.sign,
    "Round": np.rint,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
    "Erf": _erf,
    "Sigmoid": _sigmoid,
    "Softplus": _softplus,
    "Softsign": lambda values: values / (1 + np.abs(values)),
    "Relu": _relu,
    "Not": _truth(np.logical_not),
    "IsNaN": _truth(np.isnan),
    "BitwiseNot": np.invert,
}
_BINARY: dict[str, Function] = {
    "Mul": np.multiply,
    "Div": _divide,
    "Add": np.add,
    "Sub": np.subtract,
    "Pow": _power,
    "PRelu": _prelu,
    "And": _truth(np.logical_and),
    "Or": _truth(np.logical_or),
    "Xor": _truth(np.logical_xor),
    "Equal": _truth(np.equal),
    "Greater": _truth(np.greater),
    "GreaterOrEqual": _truth(np.greater_equal),
    "Less": _truth(np.less),
    "LessOrEqual": _truth(np.less_equal),
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
}
_ANY_NUMBER: dict[str, Function] = {
    "Max": lambda *values: reduce(np.maximum, values),
    "Min": lambda *values: reduce(np.minimum, values),
    "Sum": lambda *values: reduce(np.add, values),
    "Mean": _mean,
}


def _modulus(node: Node) -> Function | None:
    """The sign of the divisor, or of the dividend as C has it."""
    return np.fmod if node.integer("fmod", 0) else np.mod


def _shift(node: Node) -> Function | None:
    direction = text(node, "direction", "")
    move = {"LEFT": np.left_shift, "RIGHT": np.right_shift}.get(direction)

    def shift(values: Array, places: Array) -> Array:
        if values.dtype.kind != "u" or places.dtype.kind != "u" or move is None:
            raise TypeError
        out: Array = move(values, places)
        return out

    return shift if move is not None else None


def _leaky(node: Node) -> Function | None:
    alpha = real(node, "alpha", 0.01)
    return lambda values: np.where(values < 0, values * values.dtype.type(alpha), values)


def _elu(node: Node) -> Function | None:
    alpha = real(node, "alpha", 1.0)
    return lambda values: np.where(values < 0, values.dtype.type(alpha) * np.expm1(values), values)


def _hard_sigmoid(node: Node) -> Function | None:
    alpha, beta = real(node, "alpha", 0.2), real(node, "beta", 0.5)
    return lambda values: np.clip(values.dtype.type(alpha) * values + values.dtype.type(beta), 0, 1)


def _infinite(node: Node) -> Function | None:
    below, above = node.integer("detect_negative", 1), node.integer("detect_positive", 1)
    return _truth(lambda values: np.isinf(values) & np.where(values < 0, below, above).astype(bool))


_WITH_ATTRIBUTES: dict[str, Callable[[Node], Function | None]] = {
    "Mod": _modulus,
    "BitShift": _shift,
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "IsInf": _infinite,
}
_OPERANDS = {**dict.fromkeys(_UNARY, 1), **dict.fromkeys(_BINARY, 2), "Where": 3, "Mod": 2, "BitShift": 2, "LeakyRelu": 1,
             "Elu": 1, "HardSigmoid": 1, "IsInf": 1}  # fmt: skip
OPERATORS = (*_OPERANDS, *_ANY_NUMBER)
"""Operators of which ``function_of`` knows what they do."""


def function_of(node: Node, operands: int) -> Function | None:
    """What a node of one of ``OPERATORS`` does to its operands' elements; None where there are too many or too few."""
    if node.op in _ANY_NUMBER:
        return _ANY_NUMBER[node.op]
    if operands != _OPERANDS[node.op]:
        return None
    if node.op in _WITH_ATTRIBUTES:
        return _WITH_ATTRIBUTES[node.op](node)
    return _choose if node.op == "Where" else _UNARY.get(node.op) or _BINARY[node.op]
