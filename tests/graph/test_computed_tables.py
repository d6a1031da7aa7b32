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
