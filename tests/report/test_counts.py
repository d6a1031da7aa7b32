"""Counts, shares and means: laws, hand-computed examples, and scipy as the reference."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from onnxnnw.report import counts
from onnxnnw.report.counts import STANDARD, STRICT
from onnxnnw.report.trials import Detection, read_trial
from tests.support import made_results as made


def detection(number: int = 0, study: str = "detection", **fields) -> Detection:
    """A trial as it is read from a line."""
    content = made.line(study, number, **{"mark": made.mark(), "verdict": made.verdict(-9.0, {}, True), **fields})
    trial = read_trial(content, "a line")
    assert isinstance(trial, Detection)
    return trial


def asked(number: int, truth: bool, model: int, payload: int, traced: bool, retrieved: bool) -> Detection:
    """A question with its two answers."""
    verdict = made.verdict(-9.0 if traced else -0.3, {}, retrieved)
    return detection(number, truth=truth, model=model, payload=payload, verdict=verdict, quality={})


def wrong(number: int, key: int, traced: bool, model: int = 0) -> Detection:
    """A question with a wrong key."""
    verdict = made.verdict(-9.0 if traced else -0.3, {}, traced)
    return detection(number, "wrong key", key=key, marked=True, model=model, verdict=verdict, quality={})


def mean_of(values: list[float | None]) -> counts.Mean | None:
    """The mean of one value a training."""
    trials = [asked(number, True, number, 0, True, True) for number in range(len(values))]
    return counts.mean(trials, lambda trial: values[trial.model])


def traced(trial: Detection) -> bool:
    """The strict decision."""
    return trial.verdict.traced


answers = st.lists(
    st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans()),
    unique_by=lambda answer: answer[:3],
)


@given(answers)
def test_every_network_is_counted_once(found):
    """TP + FN are the marked networks, TN + FP the unmarked ones, for either decision."""
    trials = [asked(number, *answer) for number, answer in enumerate(found)]
    for decision in (STANDARD, STRICT):
        counted = counts.counts(trials, decision)
        assert counted.true_positives + counted.false_negatives == sum(truth for truth, *_ in found)
        assert counted.true_negatives + counted.false_positives == len(
            {model for truth, model, *_ in found if not truth}
        )
        if counted.networks:
            assert 0 <= counted.false_positive_ratio + counted.false_negative_ratio <= 1


def test_a_worked_example_of_the_protocol():
    """M = 2, D = 3: one mark lost; one unmarked network accused by one of its three records, which is one FP of eight."""
    marked = [asked(n, True, n // 3, n % 3, traced=n != 5, retrieved=True) for n in range(6)]
    unmarked = [asked(6 + n, False, n // 3, n % 3, traced=False, retrieved=n == 4) for n in range(6)]
    strict, standard = (counts.counts([*marked, *unmarked], decision) for decision in (STRICT, STANDARD))
    assert strict == counts.Counts(true_positives=5, true_negatives=2, false_positives=0, false_negatives=1)
    assert standard == counts.Counts(true_positives=6, true_negatives=1, false_positives=1, false_negatives=0)
    assert (standard.networks, standard.false_positive_ratio) == (8, 1 / 8)
    assert strict.false_negative_ratio == 1 / 8


def test_wrong_keys_are_no_networks():
    """A trial with a wrong key changes no count."""
    right = [asked(0, True, 0, 0, True, True)]
    wrong = detection(1, "wrong key", key=3, verdict=made.verdict(-9.0, {}, True))
    assert counts.counts([*right, wrong], STRICT) == counts.counts(right, STRICT)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_limits_contain_the_share(pair):
    """Clopper and Pearson's limits, against the quantiles of the beta distribution, where each key is asked once."""
    hits, count = pair
    share = counts.share([wrong(n, n, n < hits) for n in range(count)], traced)
    low = stats.beta.ppf(0.025, hits, count - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1.0
    assert (share.low, share.high) == pytest.approx((low, high), abs=1e-9)
    assert share.low <= share.value <= share.high
    assert (share.hits, share.count, share.units) == (hits, count, count)


@pytest.mark.parametrize("hits", [[True], [False], [True, False], [True, False, False, True, True]])
def test_twenty_copies_of_one_keys_trials_give_the_interval_of_one_key(hits):
    """A key that is asked again is no further draw, for shares and for means."""
    once = [wrong(n, 7, hit) for n, hit in enumerate(hits)]
    often = [wrong(n, 7, hit) for n, hit in enumerate(hits * 20)]
    one, twenty = (counts.share(trials, traced) for trials in (once, often))
    assert (one.low, one.high, one.units) == (twenty.low, twenty.high, twenty.units)
    assert (twenty.units, twenty.count) == (1, 20 * len(hits))
    assert counts.mean(often, lambda trial: float(traced(trial))).low is None


def test_no_hit_of_many_trials_is_limited_by_the_keys():
    """0 of 6,020 trials of 460 keys: at most 0.80 %, not 0.06 %."""
    trials = [wrong(n, n % 460, False) for n in range(6020)]
    share = counts.share(trials, traced)
    assert (share.hits, share.count, share.units) == (0, 6020, 460)
    assert share.high == pytest.approx(1 - 0.025 ** (1 / 460))
    assert round(100 * share.high, 2) == 0.8


def test_keys_of_other_trainings_and_of_unmarked_networks_are_others():
    """The same number is another secret in another network; the own key of an unmarked network is one of its own."""
    trials = [wrong(0, 1, False), wrong(1, 1, False, model=1), asked(2, False, 0, 0, False, False)]
    assert counts.share(trials, traced).units == 3
    alone = detection(3, "wrong key", key=1, marked=False, quality={})
    assert counts.share([wrong(0, 1, False), alone], traced).units == 2


def test_limits_are_those_of_the_share_that_is_printed():
    """A key that was asked a hundred times weighs a hundred times as much, and there are hardly two draws."""
    trials = [wrong(number, 0, True) for number in range(100)]
    trials += [wrong(100 + key, key, False) for key in range(1, 21)]
    share = counts.share(trials, traced)
    assert share.value == 100 / 120
    assert share.low < 0.5 < share.value < share.high
    draws = 120**2 / (100**2 + 20)
    assert (share.low, share.high) == pytest.approx(counts.exact_limits(share.value * draws, draws))


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.02, 0.3, 5.0])
def test_limits_of_keys_that_were_asked_unequally_hold_what_they_promise(spread):
    """Sixty keys, asked once to a hundred times: 95 % limits contain the true share in 95 % of 2,000 draws, or more."""
    rng, share, draws = np.random.default_rng(3), 0.05, 2000
    asked = rng.integers(1, 101, 60)
    rates = rng.beta(share * spread, (1 - share) * spread, (draws, 60))
    hits, count = rng.binomial(asked, rates).sum(1), int(asked.sum())
    effective = count**2 / float((asked**2).sum())
    inside = 0
    for number in hits:
        draws_of = 60 if number in (0, count) else effective
        low, high = counts.exact_limits(number / count * draws_of, draws_of)
        inside += low <= share <= high
    assert inside / draws >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.02, 0.3, 5.0])
@pytest.mark.parametrize("keys", [8, 60, 460])
def test_limits_by_key_hold_what_they_promise(keys, spread):
    """Keys that differ, each asked twenty times: 95 % limits contain the true share in 95 % of 2,000 draws, or more."""
    rng, share, draws = np.random.default_rng(keys), 0.05, 2000
    rates = rng.beta(share * spread, (1 - share) * spread, (draws, keys))
    found = (rng.binomial(20, rates) / 20).sum(1)
    inside = 0
    for hits in found:
        low, high = counts.exact_limits(float(hits), keys)
        inside += low <= share <= high
    assert inside / draws >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)


def test_nothing_has_no_share_and_no_mean():
    """Nothing asked, nothing said."""
    assert counts.share([], traced) is None
    assert counts.mean([], lambda trial: 1.0) is None
    assert mean_of([None, None]) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_students_limits_contain_the_mean(values):
    """Mean and limits, against scipy's interval."""
    mean = mean_of([*values, None])
    spread = max(map(abs, values)) + 1
    if np.std(values) > 1e-9 * spread:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert (mean.low, mean.high) == pytest.approx((low, high), abs=1e-6 * spread)
    assert mean.count == len(values)
    assert mean.low <= mean.value <= mean.high


def test_one_value_has_no_limits():
    """A mean of one is that one."""
    assert mean_of([2.5]) == counts.Mean(2.5, 1, None, None)


def test_impact_by_hand():
    """An error of 12.5 % instead of 10 % is an impact of 25 %; a higher quality counts as much as a lower one [Eq. 1]."""
    trial = detection(truth=True, quality={"classification-error": 12.5}, unmarked={"classification-error": 10})
    assert counts.impact(trial, "classification-error") == pytest.approx(25)
    better = detection(truth=True, quality={"classification-error": 7.5}, unmarked={"classification-error": 10})
    assert counts.impact(better, "classification-error") == pytest.approx(25)


def test_error_by_hand():
    """A PSNR of 27 after 30 is an error of 10 % [Eq. 2], and no impact."""
    at = {"name": "quantization", "parameter": "bits", "value": 4}
    trial = detection(truth=True, modification=at, quality={"psnr": 27}, unmodified={"psnr": 30}, unmarked={"psnr": 31})
    assert counts.error(trial, "psnr") == pytest.approx(10)
    assert counts.impact(trial, "psnr") is None


@pytest.mark.parametrize("unmarked", [None, {}, {"psnr": 30.0}, {"classification-error": 0.0}])
def test_no_impact_without_something_to_compare(unmarked):
    """Unknown, another metric, or a denominator of 0: no number is made up."""
    trial = detection(truth=True, quality={"classification-error": 5.0}, unmarked=unmarked)
    assert counts.impact(trial, "classification-error") is None


@given(st.floats(0.01, 1e3))
def test_what_did_not_change_has_no_impact(quality):
    """Identity gives zero."""
    assert counts.relative_change({"miou": quality}, {"miou": quality}, "miou") == 0


@given(st.lists(st.floats(-30, 0), max_size=50), st.sampled_from([0.05, 0.01, 1e-6]))
def test_small_p_values_are_counted(logarithms, level):
    """The share of p <= level, in logarithms as in plain numbers."""
    trials = [
        detection(n, truth=False, quality={}, verdict=made.verdict(p, {}, False)) for n, p in enumerate(logarithms)
    ]
    small = sum(map(counts.at_most(level), counts.claims(trials)))
    assert small == sum(10**p <= level * (1 + 1e-12) for p in logarithms)


def test_a_p_value_that_is_not_claimed_is_not_counted():
    """TBW with the user's own labels has none."""
    verdict = {**made.verdict(-1.0, {}, False), "log10_p": None}
    assert counts.claims([detection(truth=False, quality={}, verdict=verdict)]) == []


def test_symbol_error_rate_by_hand():
    """Three of 64 Symbols differ; a detector decodes none."""
    decoded = detection(truth=True, quality={}, verdict=made.verdict(-9.0, {}, True, errors=3))
    assert counts.symbol_error_rate(decoded) == 3 / 64
    assert counts.symbol_error_rate(detection(truth=True, quality={})) is None


def test_wrong_keys_of_the_made_campaign_are_uniform(results):
    """What is said of its p-values: at most 5 % in 5 % of the trials, within exact limits."""
    absent = [trial for trial in results.of(Detection) if not trial.truth]
    share = counts.share(absent, counts.at_most(0.05))
    assert share.low <= 0.05 <= share.high
    assert math.isclose(share.value, np.mean([trial.verdict.log10_p <= math.log10(0.05) for trial in absent]))
