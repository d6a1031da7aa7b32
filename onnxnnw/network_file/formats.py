"""Small number formats: floating point of eight and four bits, and integers that share a byte."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

__all__ = ["PACKED_BITS", "SMALL_FLOATS", "decode_small", "round_small", "unpack"]

Array = NDArray[Any]

PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
"""ONNX's element types of which several share a byte, the first in its lowest bits."""

SMALL_FLOATS: Mapping[str, Any] = {
    "FLOAT8E4M3FN": ml_dtypes.float8_e4m3fn,
    "FLOAT8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "FLOAT8E5M2": ml_dtypes.float8_e5m2,
    "FLOAT8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "FLOAT8E8M0": ml_dtypes.float8_e8m0fnu,
    "FLOAT4E2M1": ml_dtypes.float4_e2m1fn,
}
"""ONNX's element types of at most eight bits of floating point, as NumPy types
[OCP 8-bit Floating Point Specification 1.0; Microscaling Formats 1.0; ONNX TensorProto.DataType]."""


@cache
def _table(name: str) -> Array:
    """The number of each code, as float32: looking up is faster than converting."""
    codes = np.arange(2 ** PACKED_BITS.get(name, 8), dtype="u1")
    numbers: Array = codes.view(SMALL_FLOATS[name]).astype(np.float32)
    return numbers


def round_small(values: Array, name: str, saturate: bool) -> Array:
    """Numbers as reading them back gives after they were stored as a small float, as float32; ties go to even codes.

    Args:
        saturate: Whether what is too large becomes the largest number, not an infinity or NaN. Four bits have neither.
    """
    given = values.astype(np.float32)
    largest = np.nanmax(_table(name), initial=0, where=np.isfinite(_table(name)))
    if name == "FLOAT4E2M1":
        saturate = True
    elif name.endswith("FNUZ"):
        given = np.where(
            np.isinf(given), np.float32(np.nan), given
        )  # [ONNX Cast: no infinity, also where others saturate]
    kept = np.clip(given, -largest, largest) if saturate else given
    rounded: Array = kept.astype(SMALL_FLOATS[name]).astype(np.float32)
    return np.where(np.isnan(given), given, rounded)  # four bits have no NaN


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
