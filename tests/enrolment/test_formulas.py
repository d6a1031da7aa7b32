"""Tables that were computed are told from weights that were trained."""

import numpy as np
import pytest
from scipy import fft, linalg

from onnxnnw.enrolment.formulas import is_formula
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network


def triangles(bands: int, bins: int) -> np.ndarray:
    """A bank of overlapping triangles on a logarithmic axis, as mel filters are."""
    edges = np.geomspace(2, bins, bands + 2)
    up = (np.arange(bins) - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - np.arange(bins)) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(up, down), 0, None).astype("f4")


def sinusoids(positions: int, width: int) -> np.ndarray:
    """The positions of the Transformer."""
    rates = 1e4 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(positions)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype("f4")


RNG = np.random.default_rng(0)
COMPUTED = {
    "mel, 80 of 201": triangles(80, 201),
    "mel, 80 of 513": triangles(80, 513),
    "mel, 40 of 257, of equal area": triangles(40, 257) / np.arange(1, 41, dtype="f4")[:, None],
    "Hadamard": (linalg.hadamard(128) / np.sqrt(128)).astype("f4"),
    "Hadamard, rows in another order": linalg.hadamard(256)[RNG.permutation(256)].astype("f4"),
    "permutation": np.eye(128, dtype="f4")[RNG.permutation(128)],
    "moving average": linalg.toeplitz(np.r_[np.ones(5), np.zeros(123)]).astype("f4") / 9,
    "cosine transform": fft.dct(np.eye(128), norm="ortho").astype("f4"),
    "sinusoidal positions": sinusoids(256, 64),
}
TRAINED = {
    "normal": RNG.standard_normal((128, 128)).astype("f4"),
    "of one sign": np.abs(RNG.standard_normal((128, 128))).astype("f4"),
    "signs": np.sign(RNG.standard_normal((128, 128))).astype("f4"),
    "three values": np.rint(RNG.standard_normal((128, 128))).clip(-1, 1).astype("f4"),
    "pruned 95 %": (RNG.standard_normal((128, 128)) * (RNG.random((128, 128)) > 0.95)).astype("f4"),
    "one weight in a row": np.eye(128, dtype="f4") * RNG.standard_normal(128).astype("f4"),
    "orthogonal": linalg.qr(RNG.standard_normal((128, 128)))[0].astype("f4"),
}


@pytest.mark.parametrize("table", COMPUTED, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_computed_tables_are_known(table, turned):
    """Whichever way they are stored."""
    assert is_formula(COMPUTED[table].T if turned else COMPUTED[table])


@pytest.mark.parametrize("table", TRAINED, ids=lambda name: name.replace(" ", "-"))
def test_weights_are_not(table):
    """Signs, sparse and orthogonal ones included."""
    assert not is_formula(TRAINED[table])


def test_no_weight_of_a_trained_network_is(resnet8):
    """The shipped ResNet8."""
    with open_network(resnet8) as network:
        assert not any(is_formula(slot.array()) for slot in find_slots(network).slots)
