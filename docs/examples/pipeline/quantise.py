"""Quantise a network to 8 bits with onnxruntime: python quantise.py FLOAT INT8."""

import sys

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static


class Drawn(CalibrationDataReader):
    """Inputs to calibrate with; drawn here, take your own."""

    def __init__(self, name: str, shape: tuple[int, ...], count: int) -> None:
        rng = np.random.default_rng(0)
        self.inputs = iter([{name: rng.normal(size=shape).astype(np.float32)} for _ in range(count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.inputs, None)


def quantise(source: str, target: str) -> None:
    """Weights in int8, one scale per channel; activations in int8 as well."""
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    shape = tuple(size if isinstance(size, int) else 1 for size in given.shape)
    quantize_static(source, target, Drawn(given.name, shape, 4), per_channel=True, weight_type=QuantType.QInt8)


if __name__ == "__main__":
    quantise(*sys.argv[1:])
