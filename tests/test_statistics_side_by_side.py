"""Tests of many fingerprints at once say what each says alone."""

import numpy as np
import pytest

from onnxnnw.statistics import associate_fingerprint, correlations
from onnxnnw.statistics.side_by_side import Expected, associate_fingerprints, correlations_of_each, ranks_of_each

RECORDS, READS, SLOTS = 12, 200, 5


def _draws(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values that agree with what is expected from not at all to wholly; gaps, ties, constants and huge numbers among them."""
    rng = np.random.default_rng(seed)
    expected = rng.standard_t(4, (RECORDS, READS))
    found = rng.standard_t(4, (RECORDS, READS)) + np.linspace(0, 3, RECORDS)[:, None] * expected
    slots = rng.integers(0, SLOTS, (RECORDS, READS))
    rows = slots * 1000 + rng.integers(0, 20, (RECORDS, READS))
    found[1] = 0.25
    found[2, slots[2] == 1] = np.nan
    found[3] = np.nan
    found[4] = np.round(found[4] * 2)
    found[5] *= 1e200
    found[6] = expected[6]
    expected[7, :5] = np.inf
    found[8, 2:] = np.nan
    rows[9] = 7
    return found, expected, slots, rows


@pytest.mark.parametrize("seed", range(5))
def test_associations(seed: int) -> None:
    """p, effect and number of reads."""
    found, expected, slots, rows = _draws(seed)
    own = np.arange(RECORDS)[:, None]
    names, numbers = np.unique(own * 10**6 + rows, return_inverse=True)
    together = associate_fingerprints(
        found, Expected(expected, own * SLOTS + slots, numbers.reshape(found.shape), names // 10**6)
    )
    for n, got in enumerate(together):
        alone = associate_fingerprint(found[n], expected[n], slots[n], rows[n])
        assert (got.log10_p, got.effect) == pytest.approx((alone.log10_p, alone.effect), rel=1e-9, abs=1e-12)
        assert got.read == alone.read


@pytest.mark.parametrize("seed", range(5))
def test_correlations(seed: int) -> None:
    """Spearman, Pearson, and the tail of the former."""
    found, expected, _, _ = _draws(seed)
    for n, got in enumerate(correlations_of_each(found, expected, ranks_of_each(expected))):
        alone = correlations(found[n], expected[n])
        assert (got.spearman, got.pearson, got.log10_p) == pytest.approx(
            (alone.spearman, alone.pearson, alone.log10_p), rel=1e-9, abs=1e-12
        )


@pytest.mark.parametrize("reads", [1, 2, 3, 4])
def test_few_reads(reads: int) -> None:
    """Where hardly anything was read, too."""
    rng = np.random.default_rng(reads)
    found, expected = rng.normal(size=(2, RECORDS, reads))
    slots, own = np.zeros((RECORDS, reads), np.int64), np.arange(RECORDS)[:, None]
    rows = own * reads + np.arange(reads)
    known = Expected(expected, own + slots, rows, rows.reshape(-1) // reads)
    for n, got in enumerate(associate_fingerprints(found, known)):
        alone = associate_fingerprint(found[n], expected[n], slots[n], np.arange(reads))
        assert (got.log10_p, got.effect) == pytest.approx((alone.log10_p, alone.effect), rel=1e-9, abs=1e-9)
    for n, tail in enumerate(correlations_of_each(found, expected, ranks_of_each(expected))):
        assert tail.log10_p == pytest.approx(correlations(found[n], expected[n]).log10_p, rel=1e-9)
