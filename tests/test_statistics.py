"""The probabilities behind a verdict, against scipy and against their own laws."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats

from onnxnnw.errors import UsageError
from onnxnnw.statistics import (
    associate_fingerprint,
    associate_watermark,
    correlations,
    correlations_of_groups,
    log10_normal_tail,
    log10_of_either,
    pearson,
    required_reads,
    standardise,
)
from onnxnnw.statistics.tails import log10_two_sided

Floats = NDArray[np.float64]


@pytest.mark.parametrize("t", [-1e4, -50.0, -8.0, -1.0, 0.0, 0.5, 3.0, 8.0, 24.999, 25.0, 25.001, 40.0, 300.0, 1e4])
def test_the_normal_tail_agrees_with_scipy(t: float) -> None:
    """To eleven digits, where p itself has underflowed long ago too."""
    assert log10_normal_tail(t) == pytest.approx(special.log_ndtr(-t) / math.log(10), rel=1e-11, abs=1e-15)


def test_the_normal_tail_falls_everywhere_and_ends_at_nothing() -> None:
    """Monotone, also where one formula hands over to the other."""
    t = np.concatenate([np.linspace(-40, 60, 5_001), np.linspace(24.99, 25.01, 501)])
    tail = [log10_normal_tail(x) for x in np.sort(t)]
    assert (np.diff(tail) <= 0).all()
    assert log10_normal_tail(math.inf) == -math.inf
    assert log10_normal_tail(-math.inf) == 0


def test_looking_in_several_ways_costs_their_number() -> None:
    """min(1, A p)."""
    assert log10_of_either(-10.0, 2) == pytest.approx(-10 + math.log10(2))
    assert log10_of_either(-0.1, 2) == 0
    assert log10_of_either(-math.inf, 5) == -math.inf


def test_required_reads_give_the_stated_power() -> None:
    """164 at 1e-6, and never fewer for a stricter rate."""
    assert required_reads(1e-6) == 164
    assert required_reads(0.05) == math.ceil(((stats.norm.isf(0.05) + 1.645) / 0.5) ** 2)
    assert required_reads(0.999) >= 1
    reads = [required_reads(10.0**-k) for k in range(1, 200, 5)]
    assert reads == sorted(reads)
    for rate in (0, 1, -1, 2, math.nan):
        with pytest.raises(UsageError):
            required_reads(rate)


def random_values(rng: np.random.Generator, count: int, kind: str) -> Floats:
    """Normal, heavy-tailed, or with many ties."""
    values = {
        "normal": rng.standard_normal(count),
        "heavy": rng.standard_cauchy(count),
        "ties": rng.integers(0, 4, count).astype(float),
    }[kind]
    return np.asarray(values, np.float64)


@pytest.mark.parametrize("count", [3, 4, 5, 10, 100, 512, 3_000, 20_000])
@pytest.mark.parametrize("kind", ["normal", "heavy", "ties"])
def test_correlations_agree_with_scipy(count: int, kind: str) -> None:
    """Pearson, Spearman with ties, and Spearman's two-sided p-value."""
    rng = np.random.default_rng(count)
    for strength in (0.0, 0.03, 0.5, 3.0):
        left = random_values(rng, count, kind)
        right = np.round(strength * left + random_values(rng, count, kind), 3)
        if len(set(left)) < 2 or len(set(right)) < 2:
            continue
        found = correlations(left, right)
        expected = stats.spearmanr(left, right)
        assert found.pearson == pytest.approx(stats.pearsonr(left, right).statistic, abs=1e-10)
        assert found.spearman == pytest.approx(expected.statistic, abs=1e-12)
        if expected.pvalue > 1e-290:
            assert found.log10_p == pytest.approx(math.log10(expected.pvalue), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("rho", [1e-12, 1e-6, 0.01, 0.3, 0.9, 0.999, 1 - 1e-9])
@pytest.mark.parametrize("count", [3, 5, 30, 512, 20_000])
def test_the_p_value_of_a_correlation_is_accurate_far_beyond_underflow(rho: float, count: int) -> None:
    """Against the incomplete beta function, and where that underflows against its series at the origin."""
    a, rest = (count - 2) / 2, (1 - rho) * (1 + rho)
    p = special.betainc(a, 0.5, rest)
    if p > 1e-290:
        expected = math.log10(p)
    else:
        series = special.hyp2f1(a, 0.5, a + 1, rest)
        expected = (a * math.log(rest) - math.log(a) - special.betaln(a, 0.5) + math.log(series)) / math.log(10)
    assert log10_two_sided(rho, count) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_undefined_correlations_are_zero_and_prove_nothing() -> None:
    """Constant values, too few, or none."""
    for left, right in (([1.0] * 9, range(9)), ([1.0, 2.0], [1.0, 2.0]), ([], []), ([np.nan] * 5, range(5))):
        found = correlations(np.array(left, float), np.array(right, float))
        assert found.log10_p == 0
        assert not found.retrieved(0.05)


def test_the_standards_rule_wants_a_positive_significant_correlation() -> None:
    """rho > 0 and two-sided p < .05 [NNW-TEC 3]."""
    x = np.arange(30.0)
    assert correlations(x, x).retrieved(0.05)
    assert not correlations(x, -x).retrieved(0.05)
    assert correlations(x, -x).log10_p == -math.inf


slots = st.integers(1, 6)
finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.lists(st.tuples(finite, slots), min_size=1, max_size=60))
def test_standardised_values_are_clipped_and_centred(pairs: list[tuple[float, int]]) -> None:
    """Within plus and minus 3; a slot of four or more has mean 0 and mean square 1 before clipping."""
    values, groups = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    scores = standardise(values, groups)
    assert np.abs(scores).max() <= 3
    for slot in set(groups.tolist()):
        part = scores[groups == slot]
        if part.size >= 4 and np.abs(part).max() < 3 and part.any():
            assert part.mean() == pytest.approx(0, abs=1e-6)
            assert (part**2).mean() == pytest.approx(1, abs=1e-6)


@given(
    st.lists(st.tuples(st.integers(-1000, 1000), slots), min_size=4, max_size=60),
    st.lists(st.integers(-5_000, 5_000), min_size=7, max_size=7),
    st.lists(st.sampled_from([1e-300, 1e-30, 0.25, 1.0, 3.0, 1e30, 1e297]), min_size=7, max_size=7),
)
def test_standardising_forgets_shift_and_scale_of_every_slot(
    pairs: list[tuple[int, int]], shifts: list[int], scales: list[float]
) -> None:
    """x -> a x + b per slot changes nothing (slots that are too small to be centred: only the scale)."""
    values, groups = np.array([float(p[0]) for p in pairs]), np.array([p[1] for p in pairs])
    centred = np.bincount(groups, minlength=7)[groups] >= 4
    moved = (values + np.array(shifts)[groups] * centred) * np.array(scales)[groups]
    assert standardise(moved, groups) == pytest.approx(standardise(values, groups), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e300, -1e300, 1e-300, 5e-324, 1e17])
@pytest.mark.parametrize("count", [4, 7, 33, 1_000])
def test_a_slot_without_spread_gives_zeros(value: float, count: int) -> None:
    """Also where the rounded mean of equal numbers is not that number."""
    assert not standardise(np.full(count, value), np.zeros(count, np.int64)).any()


def test_a_small_slot_is_not_centred() -> None:
    """Three values keep their signs; four are compared with their mean."""
    assert standardise(np.array([2.0, 2.0, 2.0]), np.zeros(3, np.int64)).tolist() == [1, 1, 1]
    assert standardise(np.array([2.0, 2.0, 2.0, 2.0]), np.zeros(4, np.int64)).tolist() == [0, 0, 0, 0]


def test_no_values_are_no_evidence() -> None:
    """Nothing read, or everything the same: p = 1 and no effect."""
    nothing = np.empty(0), np.empty(0), np.empty(0, np.int64)
    assert associate_watermark(*nothing).log10_p == 0
    assert associate_fingerprint(*nothing, np.empty(0, np.int64)).log10_p == 0
    same = np.ones(50), np.random.default_rng(0).standard_normal(50), np.zeros(50, np.int64)
    assert (associate_watermark(*same).log10_p, associate_watermark(*same).effect) == (0, 0)


def test_the_watermark_statistic_is_what_the_design_says() -> None:
    """T, p and e recomputed slot by slot in plain Python."""
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 30, 200)
    values, z = rng.standard_t(2, 200) + 0.7 * groups, rng.standard_normal(200)
    values[::17] = np.nan
    s = np.zeros(200)
    for slot in range(30):
        chosen = np.flatnonzero((groups == slot) & np.isfinite(values))
        x = values[chosen]
        m = x.mean() if x.size >= 4 else 0.0
        d = math.sqrt(((x - m) ** 2).mean()) if x.size else 0.0
        s[chosen] = np.clip((x - m) / d, -3, 3) if d else 0
    used = np.isfinite(values)
    found = associate_watermark(values, z, groups)
    assert found.log10_p == pytest.approx(math.log10(stats.norm.sf((s * z).sum() / math.sqrt((s**2).sum()))))
    assert found.effect == pytest.approx((s * z).sum() / math.sqrt((s**2).sum() * (z[used] ** 2).sum()))
    assert found.read == used.sum()


def test_the_fingerprint_statistic_is_what_the_design_says() -> None:
    """min(e sqrt(n), T_row) recomputed row by row."""
    rng = np.random.default_rng(2)
    groups, rows = rng.integers(0, 5, 300), rng.integers(0, 60, 300)
    y = rng.standard_normal(300)
    x = 0.4 * y + rng.standard_normal(300)
    s, t = standardise(x, groups), standardise(y, groups)
    e = (s * t).sum() / math.sqrt((s**2).sum() * (t**2).sum())
    m = (s * t).mean()
    numbers = sorted(set(rows.tolist()))
    spread = sum(((s * t)[rows == r].sum() - (rows == r).sum() * m) ** 2 for r in numbers)
    by_row = (s * t).sum() / math.sqrt(len(numbers) / (len(numbers) - 1) * spread)
    found = associate_fingerprint(x, y, groups, rows)
    assert found.effect == pytest.approx(e)
    assert found.log10_p == pytest.approx(log10_normal_tail(min(e * math.sqrt(300), by_row)))


def test_one_row_alone_is_no_fingerprint() -> None:
    """Values of one out-row are not independent, so a single row has no p-value, however well it agrees."""
    x = np.random.default_rng(3).standard_normal(100)
    zeros = np.zeros(100, np.int64)
    assert associate_fingerprint(x, x, zeros, zeros).log10_p == 0


def test_rows_that_agree_as_a_block_count_once() -> None:
    """Forty taps that are copies of one number prove no more than the number."""
    rng = np.random.default_rng(4)
    rows = np.repeat(np.arange(20), 40)
    groups = np.zeros(800, np.int64)
    p = []
    for _ in range(500):
        left, right = rng.standard_normal(20)[rows], rng.standard_normal(20)[rows]
        p.append(associate_fingerprint(left, right, groups, rows).log10_p)
    assert np.mean(np.array(p) <= -1) < 0.16
    assert min(p) > -6


@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "heavy", "ties"]))
def test_a_copy_has_effect_one_and_order_does_not_matter(seed: int, kind: str) -> None:
    """e = 1 for a copy; permuting all inputs together changes nothing; negation turns the sign."""
    rng = np.random.default_rng(seed)
    x, groups, rows = random_values(rng, 80, kind), rng.integers(0, 4, 80), np.arange(80)
    assume(standardise(x, groups).any())
    assert associate_fingerprint(x, x, groups, rows).effect == pytest.approx(1)
    y, order = rng.standard_normal(80), rng.permutation(80)
    one = associate_watermark(x, y, groups)
    other = associate_watermark(x[order], y[order], groups[order])
    assert (one.log10_p, one.effect) == pytest.approx((other.log10_p, other.effect), abs=1e-9)
    assert associate_watermark(-x, y, groups).effect == pytest.approx(-one.effect, abs=1e-12)


@pytest.mark.parametrize("kind", ["normal", "huge", "constant", "nearly constant", "zero"])
def test_correlations_of_groups_are_those_of_each_group(kind: str) -> None:
    """Up to rounding; and none is given where rounding alone would decide it."""
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 5, 200) * 2  # some numbers belong to no pair
    left = rng.standard_normal(200)
    right = 0.5 * left + rng.standard_normal(200)
    left = {
        "normal": left,
        "huge": left * 1e300,
        "constant": np.full(200, 0.1),
        "nearly constant": 1.0 + 1e-15 * left,
        "zero": np.zeros(200),
    }[kind]
    found = correlations_of_groups(left, right, groups)
    for group in set(groups.tolist()):
        expected = pearson(left[groups == group], right[groups == group])
        if kind in ("normal", "huge"):
            assert expected == pytest.approx(float(found[group]), abs=1e-12)
        else:
            assert np.isnan(found[group])
