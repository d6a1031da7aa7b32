"""Narrow floating-point formats: ml_dtypes and NumPy are the references."""

import ml_dtypes
import numpy as np
import pytest

from onnxnnw.errors import UsageError
from onnxnnw.graph.slots import find_slots
from onnxnnw.modifications.base import apply
from onnxnnw.modifications.float_quantization import FORMATS, FloatQuantization, rounded
from onnxnnw.network_file.file import open_network
from tests.support.networks import dense, save

TYPES = {
    (16, 5): np.float16,
    (16, 8): ml_dtypes.bfloat16,
    (8, 4): ml_dtypes.float8_e4m3fn,
    (8, 5): ml_dtypes.float8_e5m2,
    (4, 2): ml_dtypes.float4_e2m1fn,
}


@pytest.mark.parametrize(("bits", "exponent"), FORMATS, ids=str)
def test_numbers_are_rounded_as_the_format_does(bits, exponent):
    """Normal and subnormal ones, zero, ties, up to the largest."""
    form, rng = FORMATS[bits, exponent], np.random.default_rng(0)
    values = (rng.normal(size=4000) * np.exp2(rng.uniform(-20, 6, 4000))).astype(np.float32)
    values = np.concatenate([values, np.arange(-8, 8.125, 0.125, np.float32), np.zeros(1, np.float32)])
    values = values[np.abs(values) <= min(form.largest, 1e30)]
    assert np.array_equal(
        rounded(values.astype(np.float64), form), values.astype(TYPES[bits, exponent]).astype(np.float64)
    )


@pytest.mark.parametrize(("bits", "exponent"), FORMATS, ids=str)
def test_what_is_too_large_becomes_the_largest(bits, exponent):
    form = FORMATS[bits, exponent]
    assert rounded(np.array([-1e308, 1e308]), form).tolist() == [-form.largest, form.largest]


@pytest.mark.parametrize(("bits", "exponent"), FORMATS, ids=str)
def test_twice_is_once(bits, exponent, tmp_path):
    """A network of the format stays as it is; every layer has at most so many values."""
    source = save(dense(2, 48), tmp_path / "net.onnx")
    change = FloatQuantization(bits=bits, exponent=exponent)
    apply(change, source, tmp_path / "once.onnx")
    apply(change, tmp_path / "once.onnx", tmp_path / "twice.onnx")
    layers = []
    for name in ("once.onnx", "twice.onnx"):
        with open_network(tmp_path / name) as network:
            layers.append([slot.tensor.array() for slot in find_slots(network, min_elements=1).slots])
    assert all(np.allclose(left, right, rtol=1e-6, atol=0) for left, right in zip(*layers, strict=True))
    assert all(len(np.unique(layer)) <= 2**bits for layer in layers[0])


def test_a_format_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="8 with 4"):
        FloatQuantization(bits=6)
