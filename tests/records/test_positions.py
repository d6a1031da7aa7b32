"""Laws of what is drawn beside a record's positions."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxnnw.records.positions import _distinct_others, control_positions, controls_ahead, plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.shared_parts import SharedParts
from tests.support import calibration_networks as networks


def one_by_one(words: NDArray[np.uint64], lines: int, own: int) -> list[int]:
    """As documented: the k-th is word k modulo the number of others left, counted among those."""
    left = [line for line in range(lines) if line != own]
    out = []
    for word in words.tolist():
        out.append(left.pop(word % len(left)) if left else -1)
    return out


@pytest.mark.parametrize("seed", range(20))
def test_controls_are_drawn_without_replacement(seed: int) -> None:
    """Those of many positions at once are those of each, where few or no others are left too."""
    rng = np.random.default_rng(seed)
    lines = rng.integers(1, 12 if seed % 2 else 1000, 50)
    own = rng.integers(0, lines)
    words = rng.integers(0, 2**64, (50, 8), np.uint64)
    expected = [one_by_one(words[k], int(lines[k]), int(own[k])) for k in range(50)]
    assert expected == _distinct_others(words, lines, own).tolist()


def test_controls_drawn_ahead_for_many_records_are_those_of_each(tmp_path: Path) -> None:
    """Drawn together where records share their slot table, and taken out once."""
    path = networks.save(networks.trained_weights(), tmp_path / "network.onnx")
    shared = SharedParts()
    contents = [networks.enrolled(path, False, number).to_bytes() for number in (1, 2, 3)]
    alone = [Record.from_bytes(content) for content in contents]
    expected = [control_positions(record, plan_of(record)).tolist() for record in alone]
    together = [Record.from_bytes(content, shared) for content in contents]
    controls_ahead([*together, networks.enrolled(path, True)])
    assert all("_controls" in vars(record) for record in together)
    assert expected == [control_positions(record, plan_of(record)).tolist() for record in together]
    assert not any("_controls" in vars(record) for record in together)
