"""Scales of rows and columns that do not change what a network computes are told apart from its weights."""

import numpy as np
import pytest

from onnxnnw.matching.row_scale import BALANCED_ROWS, column_scales, row_magnitudes, row_scales

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(16, 27), (64, 64), (300, 80), (48, 9)])
def test_columns_are_balanced_whatever_rows_and_columns_are_multiplied_by(shape: tuple[int, int]) -> None:
    """Positive factors of the columns multiply their scales, up to one number for all; those of rows change nothing."""
    array = RNG.normal(size=shape) * np.exp(RNG.normal(0, 0.5, shape))
    rows, columns = (np.exp(RNG.normal(0, 1, n)) for n in shape)
    before, after = column_scales(array), column_scales(array * rows[:, None] * columns)
    assert before is not None
    assert after is not None
    ratio = after / before / columns
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


def test_balanced_columns_have_the_same_magnitude() -> None:
    """Divided by their scales, and rows by theirs."""
    array = RNG.normal(size=(32, 500)) * np.exp(RNG.normal(0, 1, 500))
    scales = column_scales(array)
    assert scales is not None
    balanced = array / scales
    balanced /= row_scales(row_magnitudes(balanced))[:, None]
    np.testing.assert_allclose(np.sqrt((balanced**2).mean(0)), 1, rtol=1e-2)


@pytest.mark.parametrize("taps", [1, 3, 9])
def test_the_taps_of_a_channel_have_one_gain(taps: int) -> None:
    """What multiplies a channel multiplies its gain, whatever its taps are; one tap is one column."""
    array = RNG.normal(size=(64, 45)) * np.exp(RNG.normal(0, 0.5, 45))
    channels = np.exp(RNG.normal(0, 1, 45 // taps))
    before, after = column_scales(array, taps), column_scales(array * np.repeat(channels, taps), taps)
    assert before is not None
    assert after is not None
    assert before.shape == (45 // taps,)
    ratio = after / before / channels
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


@pytest.mark.parametrize(
    "array",
    [
        np.ones((BALANCED_ROWS - 1, 100)), np.zeros((64, 64)), np.full((64, 64), np.nan), np.full((64, 64), np.inf),
        np.eye(64)[:20] * 0, np.zeros((0, 5)), np.ones((64, 0)),
    ],
    ids=["few rows", "zeros", "NaN", "infinite", "dead rows", "no rows", "no columns"],
)  # fmt: skip
def test_columns_without_a_gauge_have_none(array: np.ndarray) -> None:
    """Too few rows, or no finite magnitude."""
    assert column_scales(array) is None


def test_balancing_looks_at_a_sample() -> None:
    """Rows at fixed places, so that a large weight costs no more than a small one."""
    array = RNG.normal(size=(4096, 64))
    scales = column_scales(array)
    array[1::2] = 7  # rows that are not among the sampled ones
    np.testing.assert_array_equal(column_scales(array), scales)
