"""Wrong keys: how often a p-value is small, for networks of six kinds, through the code that verification runs."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from onnxnnw.statistics import associate_watermark, log10_of_either
from tests.support import calibration_networks as networks
from tests.support import null_draws as measure

FAST, SLOW = {"watermark": 1_000, "fingerprint": 100}, 5_000
KINDS = ("watermark", "fingerprint")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the network under test lies."""
    return tmp_path_factory.mktemp("calibration")


def check(kind: str, sample: measure.Sample) -> None:
    """What DESIGN promises of one candidate under many wrong keys."""
    count = sample.raw.size
    exact = kind == "watermark"  # a fingerprint's null distribution is nominal: bounded here, not exact
    for view in ("raw", "row_scaled", "printed"):
        log10_p = getattr(sample, view)
        whole = bool((log10_p < 0).all())  # an atom at p = 1: everything that was read was one value
        for level in measure.LEVELS:
            low, high = measure.limits(count, level)
            share = measure.share(log10_p, level)
            assert share <= high, (kind, sample.candidate, view, level)
            if exact and whole and view != "printed":
                assert low <= share, (kind, sample.candidate, view, level)
        if exact and whole and view != "printed":
            assert measure.ks_p(log10_p) > 1e-4, (kind, sample.candidate, view)
    assert sample.traced == 0, (kind, sample.candidate)
    assert (sample.printed > -6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_keys_find_the_mark_no_more_often_than_the_p_value_says(kind: str, folder: Path) -> None:
    """Under wrong keys p is uniform in each view of a watermark, bounded for a fingerprint, and nothing is traced."""
    for sample in measure.wrong_keys(*measure.subjects(folder)[kind], FAST[kind]):
        check(kind, sample)


@pytest.mark.slow
@pytest.mark.timeout(1_800)  # two to three minutes on an idle machine
@pytest.mark.parametrize("kind", KINDS)
def test_five_thousand_wrong_keys_find_the_mark_no_more_often_than_the_p_value_says(kind: str, folder: Path) -> None:
    """The same with 5,000 keys, where 0.1 % is resolved."""
    for sample in measure.wrong_keys(*measure.subjects(folder)[kind], SLOW):
        check(kind, sample)


def hostile_reads(rng: np.random.Generator, name: str, count: int) -> NDArray[np.float64]:
    """Values that an honest network would never hold."""
    return {
        "one outlier": np.eye(1, count, 7)[0] * 1e300,
        "two values": rng.integers(0, 2, count).astype(float),
        "sparse": rng.standard_normal(count) * (rng.random(count) < 0.05),
        "tiny": rng.standard_normal(count) * 1e-300,
        "steps": np.arange(count, dtype=float),
        "alternating": np.where(np.arange(count) % 2, 1e6, -1e-6),
        "not a number": np.where(rng.random(count) < 0.5, np.nan, rng.standard_cauchy(count)),
    }[name]


@pytest.mark.parametrize(
    ("name", "slots"),
    [
        ("one outlier", 1), ("two values", 60), ("sparse", 10), ("tiny", 1), ("steps", 60), ("alternating", 1),
        ("not a number", 10),
    ],
)  # fmt: skip
def test_the_watermark_test_is_exact_for_any_fixed_candidate(name: str, slots: int) -> None:
    """Whatever was read, p under fresh mark values is uniform, however the values are spread over slots."""
    rng = np.random.default_rng(sum(map(ord, name)) + slots)
    values, groups = hostile_reads(rng, name, 256), rng.integers(0, slots, 256)
    stream = networks.key(slots).stream("nct/values", bytes(32)).normals(256 * 2_000).reshape(2_000, 256)
    log10_p = np.array([associate_watermark(values, z, groups).log10_p for z in stream])
    for level in measure.LEVELS:
        low, high = measure.limits(log10_p.size, level)
        assert low <= measure.share(log10_p, level) <= high
    assert measure.ks_p(log10_p) > 1e-4


def test_two_views_cost_their_factor() -> None:
    """The best of two views, paid for, is small no more often than it says, however the views depend on each other."""
    rng = np.random.default_rng(3)
    for correlation in (-1.0, 0.0, 0.5, 1.0):
        first = rng.standard_normal(20_000)
        second = correlation * first + np.sqrt(1 - correlation**2) * rng.standard_normal(20_000)
        best = np.minimum(norm.logsf(first), norm.logsf(second)) / np.log(10)
        printed = np.array([log10_of_either(p, 2) for p in best])
        for level in measure.LEVELS:
            assert measure.share(printed, level) <= measure.limits(printed.size, level)[1]
