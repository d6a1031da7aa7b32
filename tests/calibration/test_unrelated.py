"""Fingerprints of unrelated networks: structure that both share is no evidence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import calibration_networks as networks
from tests.support import null_draws as measure
from tests.support import unrelated


@pytest.mark.parametrize("kind", unrelated.KINDS, ids=lambda kind: kind.__name__)
def test_unrelated_networks_are_not_traced(kind: Callable[[int], networks.Weights], tmp_path: Path) -> None:
    """Common columns, smooth kernels and a few huge rows make no p-value small more often than it may be."""
    found = unrelated.unrelated(kind, 15, tmp_path)
    assert found.traced == 0
    assert found.effect.max() < 0.25
    for level in measure.LEVELS:
        assert measure.share(found.log10_p, level) <= measure.limits(15, level)[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", unrelated.KINDS, ids=lambda kind: kind.__name__)
def test_five_hundred_unrelated_pairs_are_not_traced(kind: Callable[[int], networks.Weights], tmp_path: Path) -> None:
    """The same with enough pairs to see one in a hundred."""
    found = unrelated.unrelated(kind, 500, tmp_path)
    assert found.traced == 0
    assert found.effect.max() < 0.25
    assert found.log10_p.min() > -6
    assert measure.share(found.log10_p, 0.05) <= measure.limits(500, 0.05)[1]
