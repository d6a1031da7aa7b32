"""Small number formats: floating point of eight and four bits, and integers that share a byte."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PACKED_BITS", "SMALL_FLOATS", "decode_small", "round_small", "unpack"]

Array = NDArray[Any]

PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
"""ONNX's element types of which several share a byte, the first in its lowest bits."""

SMALL_FLOATS = {
    "FLOAT8E4M3FN": (4, 3, 7, "fn"),
    "FLOAT8E4M3FNUZ": (4, 3, 8, "fnuz"),
    "FLOAT8E5M2": (5, 2, 15, "ieee"),
    "FLOAT8E5M2FNUZ": (5, 2, 16, "fnuz"),
    "FLOAT8E8M0": (8, 0, 127, "power"),
    "FLOAT4E2M1": (2, 1, 1, "finite"),
}
"""Bits of exponent and mantissa, bias of the exponent, and which codes are no finite numbers
[OCP 8-bit Floating Point Specification 1.0; Microscaling Formats 1.0; ONNX TensorProto.DataType]."""


@cache
def _table(name: str) -> Array:
    """The number of each code, as float32."""
    exponent_bits, mantissa_bits, bias, kind = SMALL_FLOATS[name]
    if kind == "power":
        powers = np.ldexp(1.0, np.arange(256) - bias)
        powers[255] = np.nan
        return powers.astype(np.float32)
    half = 2 ** (exponent_bits + mantissa_bits)
    code = np.arange(half)
    exponent, mantissa = code >> mantissa_bits, code & (2**mantissa_bits - 1)
    fraction = np.where(exponent > 0, 2**mantissa_bits + mantissa, mantissa)
    positive = np.ldexp(fraction.astype(np.float64), np.maximum(exponent, 1) - bias - mantissa_bits)
    if kind == "ieee":
        positive[exponent == 2**exponent_bits - 1] = np.nan
        positive[(2**exponent_bits - 1) << mantissa_bits] = np.inf
    elif kind == "fn":
        positive[-1] = np.nan
    both = np.concatenate([positive, -positive])
    if kind == "fnuz":
        both[half] = np.nan  # the code of a negative zero
    return both.astype(np.float32)


def round_small(values: Array, name: str, saturate: bool) -> Array:
    """Numbers as reading them back gives after they were stored as a small float, as float32; ties go to even codes.

    Args:
        saturate: Whether what is too large becomes the largest number, not an infinity or NaN. Four bits have neither.
    """
    exponent_bits, mantissa_bits, _, kind = SMALL_FLOATS[name]
    positive = _table(name)[: 2 ** (exponent_bits + mantissa_bits)].astype(np.float64)
    grid = positive[np.isfinite(positive)]
    beyond = 2 * grid[-1] - grid[-2]
    middles = (grid + np.append(grid[1:], beyond)) / 2
    size = np.abs(values.astype(np.float64))
    code = np.searchsorted(middles, size)
    code += (code < middles.size) & (code % 2 == 1) & (middles[np.minimum(code, middles.size - 1)] == size)
    too_large = code >= grid.size
    out = grid[np.minimum(code, grid.size - 1)]
    if kind != "finite":
        infinite = np.isinf(size) if kind == "fnuz" else np.zeros(size.shape, bool)
        out = np.where(infinite if saturate else too_large, np.inf if kind == "ieee" else np.nan, out)
    signed = np.where(np.isnan(size), np.nan, np.copysign(out, values))
    if kind == "fnuz":
        signed = signed + 0.0  # it has no negative zero
    return signed.astype(np.float32)


def decode_small(codes: Array, name: str) -> Array:
    """Codes of a small format as numbers: floats as float32, integers as int8 or uint8."""
    if name in SMALL_FLOATS:
        return _table(name)[codes]
    if name in ("INT4", "INT2"):
        sign = 1 << (PACKED_BITS[name] - 1)
        return (codes.astype("i1") ^ sign) - sign
    return codes


def unpack(stored: Array, bits: int, high_first: bool = False) -> Array:
    """Bytes as the codes that share them, along the last axis: (..., n) -> (..., n * 8 / bits)."""
    shifts = np.arange(0, 8, bits, dtype="u1")
    codes: Array = stored[..., None] >> (shifts[::-1] if high_first else shifts) & (2**bits - 1)
    return codes.reshape(*stored.shape[:-1], stored.shape[-1] * (8 // bits))
