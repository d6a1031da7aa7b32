"""When an order is more than the best that strangers reach."""

from dataclasses import replace

import numpy as np
import pytest

from onnxnnw.alignment import align_matrices
from onnxnnw.alignment.balance import balanced, in_channels
from onnxnnw.alignment.clearness import excess, is_clear
from onnxnnw.alignment.search import find_order

SHAPES = [
    (16, 3, 9),
    (16, 16, 9),
    (64, 64, 9),
    (64, 64, 1),
    (10, 64, 1),
    (64, 10, 1),
    (128, 64, 1),
    (96, 1, 9),
    (256, 24, 1),
    (8, 4, 1),
]


@pytest.fixture
def rng() -> np.random.Generator:
    """The same draws in every run."""
    return np.random.default_rng(16)


def drawn(rng: np.random.Generator, rows: int, channels: int, taps: int, common: float) -> np.ndarray:
    """Heavy tails, rows and channels of their own size, and a mean and a profile of taps that all weights have."""
    sizes = np.exp(0.8 * rng.standard_normal((rows, 1, 1))) * np.exp(0.5 * rng.standard_normal((1, channels, 1)))
    values = rng.standard_t(3, (rows, channels, taps)) * sizes
    profile = np.linspace(1, 2, taps)
    return (values * profile + common * np.abs(values).mean() * profile).reshape(rows, -1).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("common", [0.0, 1.0, 4.0])
def test_strangers_are_never_clear(shape, common, rng: np.random.Generator):
    """However much they have in common in every order."""
    for _ in range(3):
        assert not align_matrices(drawn(rng, *shape, common), drawn(rng, *shape, common), taps=shape[2]).clear


@pytest.mark.parametrize("common", [0.0, 1.0])
def test_a_shuffled_copy_is_clear_though_much_was_done_to_it(common, rng: np.random.Generator):
    """Noise that leaves a score far below that of a good alignment."""
    for rows, channels, taps in ((64, 64, 9), (128, 64, 9)):
        ours = drawn(rng, rows, channels, taps, common)
        cube = ours.reshape(rows, channels, taps)
        theirs = cube + np.abs(cube).mean((1, 2), keepdims=True) * rng.standard_normal(cube.shape)
        theirs = theirs[rng.permutation(rows)][:, rng.permutation(channels)].reshape(rows, -1).astype(np.float32)
        found = align_matrices(ours, theirs, taps=taps)
        assert found.clear
        assert found.score < 0.9


def test_a_few_numbers_are_never_clear(rng: np.random.Generator):
    """Of so few the best order of anything agrees: not even with themselves are they more than that."""
    ours = balanced(in_channels(drawn(rng, 6, 2, 1, 0.0), 1)).values
    itself = replace(find_order(ours, ours, ()), score=0.9)  # above it nothing is asked
    assert excess(ours, ours, itself) > 0.35
    assert not is_clear(ours, ours, itself)
