"""Tables of one file are held against formulas as far as there is room, and a large one takes nothing from a small one."""

import numpy as np
import pytest

from onnxnnw.constants.arrays import Literal
from onnxnnw.graph.computed_tables import FormulaCheck, is_computed


@pytest.mark.parametrize("count", [100, 10_000])
def test_a_wave_is_one_however_long_and_noise_in_it_is_seen(count):
    """The formula is fitted to some places, and held against all."""
    wave = np.sin(np.arange(count) * 0.1)
    assert is_computed(Literal(wave))
    hidden = wave.copy()
    hidden[count // 2 + 1] += 0.5
    assert not is_computed(Literal(hidden))


def test_what_does_not_fit_is_not_looked_at_and_what_follows_is():
    """Of a table beyond the room nothing is said for it."""
    check = FormulaCheck(100)
    small, large = Literal(np.zeros(60)), Literal(np.zeros(101))
    assert not check.holds(large)
    assert check.holds(small)
    assert not check.holds(small)


@pytest.mark.parametrize("scale", [1, 1e6])
@pytest.mark.parametrize("tail", [1.1, 1.5])
def test_a_large_value_far_away_hides_nothing(scale, tail):
    """Numbers that are small beside the end of a power series are held against the formula by their own size."""
    rng = np.random.default_rng(0)
    hidden = np.concatenate([rng.normal(0, 0.05, 5000), tail ** np.arange(60), scale * np.sin(np.arange(400) / 9)])
    assert not is_computed(Literal(hidden.astype(np.float32)))


@pytest.mark.parametrize(
    ("length", "dtype"), [(64, np.float32), (512, np.float32), (4096, np.float32), (64, np.float16)]
)
@pytest.mark.parametrize("function", [np.cos, np.sin])
def test_a_cache_of_rotations_is_a_table(length, dtype, function):
    """As they are exported: angles in 32 bits, kept in 32 or 16; the slowest turn hardly moves [RoPE, arXiv:2104.09864]."""
    frequencies = (10000.0 ** -(np.arange(0, 64, 2) / 64)).astype(np.float32)
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    assert is_computed(Literal(function(np.concatenate([angles, angles], 1)).astype(dtype).astype(np.float32)))


def test_very_large_numbers_are_no_masks():
    """A mask has one such number, or two."""
    rng = np.random.default_rng(0)
    assert not is_computed(Literal(((3 + rng.normal(size=400)) * 1e34).astype(np.float32)))
    assert is_computed(Literal(np.triu(np.full((40, 40), -np.finfo(np.float32).max, np.float32), 1)))
