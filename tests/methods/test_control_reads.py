"""When a fingerprint's controls need not be read: what structure alone makes equal is never more likely than is said."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxnnw.methods.control_reads import log10_equal_by_structure

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats, Floats]]
CONTROLS = 8


def mixed(rng: np.random.Generator, count: int, usual: Floats, share: float) -> Floats:
    """(count, 9): a usual value per column in so many of its elements, and numbers of their own elsewhere."""
    own = rng.standard_normal((count, 1 + CONTROLS))
    return np.where(rng.random(own.shape) < share, usual[:, None], own)


def sparse(share: float) -> Draw:
    """Weights of which so many are zero, here and in the other network."""

    def draw(rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Floats]:
        enrolled = mixed(rng, count, np.zeros(count), share)
        other = np.where(rng.random(count) < share, 0.0, rng.standard_normal(count))
        return enrolled[:, 0], enrolled[:, 1:].mean(1), other

    return draw


def columns(share: float) -> Draw:
    """Columns of one constant each, the same in both networks, but for some elements."""

    def draw(rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Floats]:
        usual = rng.standard_normal(count)
        enrolled = mixed(rng, count, usual, share)
        other = np.where(rng.random(count) < share, usual, rng.standard_normal(count))
        return enrolled[:, 0], enrolled[:, 1:].mean(1), other

    return draw


def levels(number: int) -> Draw:
    """Few levels, drawn anew in the other network."""

    def draw(rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Floats]:
        enrolled = rng.integers(1, 1 + number, (count, 1 + CONTROLS)).astype(np.float64)
        return enrolled[:, 0], enrolled[:, 1:].mean(1), rng.integers(1, 1 + number, count).astype(np.float64)

    return draw


def uneven(rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Floats]:
    """Half of the columns constant, the others free of structure."""
    usual, constant = rng.standard_normal(count), rng.random(count) < 0.5
    own, other = rng.standard_normal((count, 1 + CONTROLS)), rng.standard_normal(count)
    enrolled = np.where(constant[:, None], usual[:, None], own)
    return enrolled[:, 0], enrolled[:, 1:].mean(1), np.where(constant, usual, other)


STRUCTURES = {
    **{f"{share:.0%} zeros": sparse(share) for share in (0.5, 0.8, 0.9, 0.99)},
    **{f"{share:.0%} constant": columns(share) for share in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)},
    "2 levels": levels(2),
    "3 levels": levels(3),
    "uneven": uneven,
}


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("count", [4, 8, 16])
def test_equality_by_structure_is_no_likelier_than_it_says(name: str, count: int) -> None:
    """P(all values are equal, and that is called rarer than a) <= a: with so few positions that it happens."""
    draws = 8_000
    values, controls, other = (
        each.reshape(draws, count) for each in STRUCTURES[name](np.random.default_rng(count), draws * count)
    )
    equal = np.flatnonzero((values == other).all(1))
    said = [log10_equal_by_structure(values[draw], controls[draw]) for draw in equal]
    for rate in (0.2, 0.1, 0.05, 0.02, 0.01):
        called = sum(log10 <= np.log10(rate) for log10 in said)
        assert called <= draws * rate + 3 * np.sqrt(draws * rate)


def test_it_happens_in_the_draws() -> None:
    """The law above is not empty: equal by structure at all of a few positions, in one draw of ten."""
    rng = np.random.default_rng(0)
    drawn = [STRUCTURES["90% constant"](rng, 8) for _ in range(300)]
    assert sum(np.array_equal(values, other) for values, _, other in drawn) > 30


@pytest.mark.parametrize(
    ("name", "certain"), [("50% zeros", True), ("99% zeros", False), ("99% constant", False), ("uneven", False)]
)
def test_structure_is_seen(name: str, certain: bool) -> None:
    """Of 512 positions: pruning by half leaves no doubt, a network that is nearly all structure does."""
    values, controls, _ = STRUCTURES[name](np.random.default_rng(1), 512)
    assert (log10_equal_by_structure(values, controls) < -60) is certain


def test_positions_without_controls_say_nothing() -> None:
    """Where a slot has one row, nothing tells structure."""
    values = np.random.default_rng(2).standard_normal(64)
    assert log10_equal_by_structure(values, np.zeros(64)) == 0
