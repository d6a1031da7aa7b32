"""The table that records are scanned against: each slot standardised, whatever its values are."""

import numpy as np
import pytest

from onnxnnw.records.slot_table import SlotEntry
from onnxnnw.registry.alignment import scores_table
from onnxnnw.registry.scan_data import STEPS
from onnxnnw.statistics.association import CLIP

RNG = np.random.default_rng(0)
SLOTS = {
    "normal": RNG.standard_normal(200_000) * 0.05,
    "far from 0": 1000 + RNG.standard_normal(5000),
    "heavy-tailed": RNG.standard_t(1.5, 70_000),
    "constant": np.full(100, 0.25),
    "one": np.array([3.0]),
    "very large": RNG.standard_normal(999) * 1e30,
    "very small": RNG.standard_normal(999) * 1e-30,
    "not finite here and there": np.where(RNG.random(5000) < 0.01, np.nan, RNG.standard_normal(5000)),
    "infinite here and there": np.where(RNG.random(5000) < 0.01, np.inf, RNG.standard_normal(5000)),
    "never finite": np.full(64, np.nan),
}


@pytest.mark.parametrize("name", SLOTS)
def test_a_slot_is_standardised_rounded_and_clipped(name: str) -> None:
    """As the formula says, but for rounding of what lies half way between two steps."""
    values = SLOTS[name].astype(np.float32)
    slot = SlotEntry("w", "MatMul", (values.size,), "float", "", "matmul", values.size, (), True)
    found = scores_table([values], [slot])
    kept = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    wanted = np.clip((kept - kept.mean()) / (kept.std() or 1.0), -CLIP, CLIP) * STEPS
    assert np.abs(found - wanted).max() <= 0.5 + 1e-2
    assert found.dtype == np.int8


def test_what_was_not_found_is_zero_and_leaves_the_others_in_their_places() -> None:
    """A slot without a counterpart, and one of another size."""
    slots = [SlotEntry(name, "MatMul", (64,), "float", "", "matmul", 64, (), True) for name in "abc"]
    values = RNG.standard_normal(64).astype(np.float32)
    table = scores_table([None, values[:32], values], slots)
    assert not table[:128].any()
    assert (table[128:] == scores_table([values], slots[:1])).all()
