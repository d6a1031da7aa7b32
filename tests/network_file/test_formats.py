"""Small number formats, against their specifications."""

import numpy as np
import pytest
from onnx import TensorProto

from onnxnnw.network_file.formats import PACKED_BITS, SMALL_FLOATS, decode_small, round_small, unpack
from onnxnnw.network_file.stored import StoredTensor

LIMITS = {
    "FLOAT8E4M3FN": (448.0, 2.0**-9),
    "FLOAT8E4M3FNUZ": (240.0, 2.0**-10),
    "FLOAT8E5M2": (57344.0, 2.0**-16),
    "FLOAT8E5M2FNUZ": (57344.0, 2.0**-17),
    "FLOAT8E8M0": (2.0**127, 2.0**-127),
    "FLOAT4E2M1": (6.0, 0.5),
}
"""Largest and smallest positive numbers as the specifications print them."""


@pytest.mark.parametrize("name", SMALL_FLOATS)
def test_a_small_float_has_the_limits_of_its_specification(name: str) -> None:
    """[OCP 8-bit Floating Point Specification 1.0, table 2; Microscaling Formats 1.0, tables 5 and 7; ONNX, float 8]"""
    numbers = decode_small(np.arange(2 ** PACKED_BITS.get(name, 8), dtype="u1"), name)
    positive = numbers[np.isfinite(numbers) & (numbers > 0)]
    assert (positive.max(), positive.min()) == LIMITS[name]
    assert np.isinf(numbers).sum() == (2 if name == "FLOAT8E5M2" else 0)


@pytest.mark.parametrize("name", sorted(SMALL_FLOATS.keys() - {"FLOAT8E8M0"}))
@pytest.mark.parametrize("saturate", [True, False])
def test_rounding_takes_the_nearest_number_and_even_codes_of_two(name: str, saturate: bool) -> None:
    """Against all numbers of the type, one by one; what is too large is the largest, or no number."""
    numbers = decode_small(np.arange(2 ** PACKED_BITS.get(name, 8), dtype="u1"), name).astype(np.float64)
    grid = np.unique(numbers[np.isfinite(numbers)])
    values = np.concatenate([grid, (grid[1:] + grid[:-1]) / 2, np.random.default_rng(0).normal(0, grid[-1] / 3, 500)])
    values = values[np.abs(values) <= grid[-1]].astype(np.float32)
    rounded = round_small(values, name, saturate).astype(np.float64)
    assert np.isin(rounded, grid).all()
    off = np.abs(grid[None] - values[:, None].astype(np.float64))
    np.testing.assert_array_equal(np.abs(rounded - values), off.min(1))
    code = {number: index for index, number in enumerate(np.unique(np.abs(grid)))}
    ties = (off == off.min(1)[:, None]).sum(1) == 2
    assert ties.any()
    assert all(code[abs(number)] % 2 == 0 for number in rounded[ties])
    beyond = round_small(np.float32([4 * grid[-1], -np.inf, np.nan]), name, saturate)
    if saturate or name == "FLOAT4E2M1":
        expected = [grid[-1], np.nan if name.endswith("FNUZ") else -grid[-1], np.nan]
    else:
        expected = [np.inf, -np.inf, np.nan] if name == "FLOAT8E5M2" else [np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(beyond, np.float32(expected))


@pytest.mark.parametrize("name", PACKED_BITS)
@pytest.mark.parametrize("count", [1, 7, 64])
def test_taking_packed_elements_is_reading_all_and_choosing(name: str, count: int) -> None:
    """Also where the last byte is not full; integers as onnx's own types read them."""
    bits = PACKED_BITS[name]
    stored = np.random.default_rng(0).integers(0, 256, -(-count * bits // 8)).astype("u1")
    tensor = StoredTensor("w", TensorProto.DataType.Value(name), (count,), "inline", inline=stored)
    positions = np.random.default_rng(1).permutation(count)
    np.testing.assert_array_equal(tensor.take(positions), tensor.array()[positions])
    if name not in SMALL_FLOATS:
        codes = (np.unpackbits(stored, bitorder="little").reshape(-1, bits) * 2 ** np.arange(bits)).sum(1)[:count]
        signed = np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes)
        np.testing.assert_array_equal(tensor.array(), codes if name.startswith("U") else signed)


def test_bytes_come_apart_in_either_order() -> None:
    """0x21 is 1, 2 or 2, 1."""
    assert unpack(np.array([0x21], "u1"), 4).tolist() == [1, 2]
    assert unpack(np.array([0x21], "u1"), 4, high_first=True).tolist() == [2, 1]
    assert unpack(np.array([[0b11100100]], "u1"), 2).tolist() == [[0, 1, 2, 3]]
    assert unpack(np.array([200], "u1"), 8).tolist() == [200]
