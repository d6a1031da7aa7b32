"""The sequential test: its p-value holds whenever one stops, and a mark that is half there is rarely called absent."""

import math

import numpy as np
import pytest

from onnxnnw.statistics import SequentialTest


def run(answers: np.ndarray, chance: float, log10_rate: float) -> SequentialTest:
    """Ask until it is certain."""
    test = SequentialTest(chance, log10_rate)
    for right in answers:
        test.add(bool(right))
        if test.found or test.absent:
            break
    return test


MANY = pytest.mark.parametrize("draws", [200, pytest.param(4000, marks=pytest.mark.slow)])


@MANY
@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("rate", [0.2, 0.05, 0.01])
def test_chance_is_found_no_more_often_than_the_rate(classes: int, rate: float, draws: int) -> None:
    """Networks that know nothing, asked 300 times each at most: the most favourable moment is chosen."""
    rng = np.random.default_rng(classes)
    tests = [run(rng.random(300) < 1 / classes, 1 / classes, math.log10(rate)) for _ in range(draws)]
    assert sum(test.found for test in tests) <= draws * rate + 3 * math.sqrt(draws * rate)


@MANY
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_p_value_may_be_looked_at_after_each_answer(classes: int, draws: int) -> None:
    """P(p <= a at any time) <= a, without stopping for absence."""
    rng = np.random.default_rng(classes)
    smallest = []
    for _ in range(draws):
        test = SequentialTest(1 / classes, -99.0)
        for right in rng.random(100) < 1 / classes:
            test.add(bool(right))
        smallest.append(test.log10_p)
    for a in (0.5, 0.1, 0.02, 0.005):
        assert np.mean(np.array(smallest) <= math.log10(a)) <= a + 3 * math.sqrt(a / draws)


@MANY
@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("share", [0.5, 0.7, 1.0])
def test_a_mark_that_is_half_there_is_rarely_called_absent(classes: int, share: float, draws: int) -> None:
    """In 5 % of cases at most, and it is found once there are enough triggers."""
    rng = np.random.default_rng(classes)
    right = 1 / classes + share * (1 - 1 / classes)
    tests = [run(rng.random(1500) < right, 1 / classes, -6.0) for _ in range(draws)]
    assert sum(test.absent for test in tests) <= draws * 0.05 + 3 * math.sqrt(draws * 0.05)
    assert all(test.found or test.absent for test in tests)


def test_few_questions_are_enough_to_be_sure() -> None:
    """Ten classes: a whole mark at 1e-6 takes about ten, its absence about five."""
    assert run(np.ones(100, bool), 0.1, -6.0).asked <= 9
    assert run(np.zeros(100, bool), 0.1, -6.0).asked <= 6
