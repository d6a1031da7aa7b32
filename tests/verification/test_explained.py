"""How much is explained: a sample whose limit holds, and a measure of agreement that luck does not fool."""

import numpy as np
import pytest
import scipy.stats

from onnxnnw.verification.explained import Stratum, _better, _limit, agreeing, lower_limit


@pytest.mark.parametrize(
    ("agree", "reads"), [(0, 9), (1, 9), (5, 32), (31, 32), (32, 32), (500, 640), (640, 640), (4000, 4400)]
)
def test_the_limit_is_that_of_clopper_and_pearson(agree: int, reads: int) -> None:
    """As scipy has it, by the beta distribution."""
    expected = scipy.stats.beta.ppf(0.05, agree, reads - agree + 1) if agree else 0.0
    assert lower_limit(agree, reads) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(1,), (1, 1, 1, 1), (90, 5, 5), (50, 30, 10, 5, 5)], ids=str)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_limit_of_a_stratified_sample_holds(sizes: tuple[int, ...], share: float) -> None:
    """It lies above the truth in at most one of twenty samples, whichever layers were replaced in part: 2,000 draws."""
    rng = np.random.default_rng(len(sizes))
    total, missed = sum(sizes), 0
    shares = np.clip(share + rng.normal(0, 0.05, len(sizes)), 0.02, 1)
    truth = float(shares @ sizes / total)
    for _ in range(2000):
        strata = []
        for size, own in zip(sizes, shares, strict=True):
            reads = 32 + 512 * size // total
            strata.append(Stratum(size, int(rng.binomial(reads, own)), reads, 0.0))
        estimate = sum(s.elements * s.share for s in strata) / total
        missed += estimate * _limit(strata) > truth
    assert missed <= 2000 * 0.05 + 3 * np.sqrt(2000 * 0.05 * 0.95)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1, 0.3])
@pytest.mark.parametrize("replaced", [0.0, 0.1, 0.3, 0.5])
def test_what_was_replaced_is_not_taken_for_noise(noise: float, replaced: float) -> None:
    """Gaussian noise agrees, other values do not: to a few per cent, luck taken away; what cannot be told is not explained."""
    rng = np.random.default_rng(1)
    enrolled = rng.normal(size=4000)
    found = enrolled + rng.normal(0, noise, 4000)
    other = rng.random(4000) < replaced
    found[other] = rng.normal(size=int(other.sum()))
    agree, reads, luck = agreeing(enrolled, found, 1.0)
    share = Stratum(1, agree, reads, luck).share
    assert share < 1 - replaced + 0.03 + noise * replaced
    if noise < 0.3 or replaced < 0.5:
        assert share > 1 - replaced - 0.03 - noise * replaced


def test_strangers_agree_no_more_than_by_luck() -> None:
    """Independent values explain nothing, whatever their tails."""
    rng = np.random.default_rng(2)
    for draw in (rng.standard_normal, lambda n: rng.standard_t(3, n), lambda n: rng.choice([-1.0, 1.0], n)):
        shares = [Stratum(1, *agreeing(draw(600), draw(600), 1.0)).share for _ in range(50)]
        assert np.mean(shares) < 0.1


def test_zeros_hold_nothing_and_do_not_count() -> None:
    """Pruning removes; it hides nothing."""
    enrolled = np.random.default_rng(3).normal(size=1000)
    found = np.where(np.abs(enrolled) < 0.7, 0.0, enrolled)
    agree, reads, _ = agreeing(enrolled, found, 1.0)
    assert agree == reads == np.count_nonzero(found)


def test_a_unit_in_which_everything_agrees_by_chance_is_none_to_prefer() -> None:
    """A slot that was marked disagrees in a few places; another unit that lets all agree says nothing of them."""
    assert not _better((155, 155, 0.94), (150, 155, 0.002))
    assert _better((155, 155, 0.002), (20, 155, 0.1))
