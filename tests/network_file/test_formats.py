"""Small number formats, against an independent implementation of them."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from onnxnnw.network_file.formats import PACKED_BITS, SMALL_FLOATS, decode_small, unpack
from onnxnnw.network_file.stored import StoredTensor

DTYPES = {
    "FLOAT8E4M3FN": ml_dtypes.float8_e4m3fn,
    "FLOAT8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "FLOAT8E5M2": ml_dtypes.float8_e5m2,
    "FLOAT8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "FLOAT8E8M0": ml_dtypes.float8_e8m0fnu,
    "FLOAT4E2M1": ml_dtypes.float4_e2m1fn,
}


@pytest.mark.parametrize("name", SMALL_FLOATS)
def test_every_code_of_a_small_float_is_the_right_number(name: str) -> None:
    """All 256 codes, or all 16."""
    codes = np.arange(2 ** PACKED_BITS.get(name, 8), dtype="u1")
    expected = codes.view(DTYPES[name]).astype(np.float32)
    np.testing.assert_array_equal(decode_small(codes, name), expected)


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
