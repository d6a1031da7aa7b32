"""A p-value after alignment is a p-value: wrong keys, related and unrelated candidates, added and replaced marks."""

import pytest
from scipy import stats

from tests.support.alignment_draws import CANDIDATES, WAYS, wrong_keys
from tests.support.null_draws import share

POSITIONS, VALUES, CONTROL = 10, 40, 60
STRANGERS = [name for name in CANDIDATES if "stranger" in name]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("way", WAYS[:2])
@pytest.mark.parametrize("name", CANDIDATES)
def test_wrong_keys_are_significant_as_often_as_they_may_be(tmp_path, way, name):
    """P(p <= a) is at most a, up to chance, and nothing is traced."""
    (draws,) = wrong_keys(tmp_path, way, [name], POSITIONS, VALUES)
    for level in (0.05, 0.01):
        found = round(share(draws.raw, level) * draws.raw.size)
        assert stats.binomtest(found, draws.raw.size, level, "greater").pvalue > 1e-4
    assert draws.traced == 0


@pytest.mark.parametrize("name", STRANGERS)
def test_aligning_to_the_mark_would_forge_it(tmp_path, name):
    """The same without taking the mark out of the reference: this test could fail, and here it must."""
    (draws,) = wrong_keys(tmp_path, WAYS[2], [name], CONTROL)
    assert share(draws.raw, 0.05) > 0.2
