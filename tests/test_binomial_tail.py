"""The exact tail of the binomial distribution, against scipy and at the places where its terms are too large for a float."""

import math

import pytest
from scipy import stats

from onnxnnw.statistics import log10_binomial_tail

TRIALS = (1, 2, 7, 54, 333, 1_000, 1_100, 2_500, 5_000)
PROBABILITIES = (1e-9, 1e-3, 0.1, 0.5, 0.9, 0.999)


@pytest.mark.parametrize("probability", PROBABILITIES)
@pytest.mark.parametrize("trials", TRIALS)
def test_the_binomial_tail_agrees_with_scipy(trials: int, probability: float) -> None:
    """To ten digits, or to 15 decimals where it is nearly certain; on both sides of the mean."""
    mean = int(trials * probability)
    for successes in sorted(
        {1, 2, trials // 10, trials // 3, mean - 1, mean, mean + 1, trials // 2, trials - 1, trials}
    ):
        expected = stats.binom.logsf(successes - 1, trials, probability) / math.log(10)
        found = log10_binomial_tail(successes, trials, probability)
        if math.isinf(expected):
            assert found < -307  # scipy ends there
        else:
            assert found == pytest.approx(expected, rel=1e-10, abs=1e-15), successes


def test_few_successes_of_many_trials_are_nearly_certain() -> None:
    """1 of 1,100 at one half: terms grow to 1e326 over the first, which no float holds."""
    assert log10_binomial_tail(1, 1_100, 0.5) == 0
    assert log10_binomial_tail(2_000, 5_000, 0.5) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("trials", "probability"), [(1_100, 0.5), (3_000, 0.1)])
def test_the_binomial_tail_falls_from_one_to_nothing(trials: int, probability: float) -> None:
    """Monotone, also where one sum hands over to the other, and down to the last term, which is p to the n."""
    tail = [log10_binomial_tail(successes, trials, probability) for successes in range(trials + 2)]
    assert tail == sorted(tail, reverse=True)
    assert tail[0] == 0
    assert tail[trials] == pytest.approx(trials * math.log10(probability))
    assert tail[-1] == -math.inf
