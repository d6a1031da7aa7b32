"""Two networks: each weight finds its own, with or without its name."""

import numpy as np
import pytest

from onnxnnw.alignment import Weight, align_networks
from tests.support import calibration_networks as networks
from tests.support import disguises


def weights_of(arrays: networks.Weights) -> list[Weight]:
    """Arrays as alignment sees them."""
    return [
        Weight(name, len(a), a[0].size, int(np.prod(a.shape[2:])), 1, "product", lambda a=a: a.reshape(len(a), -1))
        for name, a in arrays.items()
    ]


@pytest.mark.parametrize("name", disguises.DISGUISES)
@pytest.mark.parametrize("named", [True, False], ids=["names", "no names"])
def test_each_weight_finds_its_own(name, named):
    """Names help, and are not needed."""
    original = networks.trained_weights(3)
    other = disguises.DISGUISES[name](original, np.random.default_rng(1))
    order = np.random.default_rng(2).permutation(len(other))
    names = list(other)
    shuffled = {names[i] if named else f"t{n}": other[names[i]] for n, i in enumerate(order)}
    found = align_networks(weights_of(original), weights_of(shuffled))
    assert [None if one is None else one.candidate for one in found.slots] == np.argsort(order).tolist()
    assert found.matched > 0.97
    assert found.score > 0.97


def test_a_stranger_is_aligned_badly():
    """Some order fits best, and the score says how little that is in all but the smallest weights."""
    one, other = networks.trained_weights(1), networks.trained_weights(2)
    assert align_networks(weights_of(one), weights_of(other)).score < 0.6


def test_weights_are_used_once():
    """No weight of a candidate is two of the reference's."""
    one = networks.trained_weights(1)
    copies = {f"{name}.{n}": array for name, array in one.items() for n in (1, 2)}
    found = align_networks(weights_of(copies), weights_of(one))
    used = [slot.candidate for slot in found.slots if slot is not None]
    assert len(used) == len(set(used)) == len(one)


def test_another_network_altogether_has_no_counterparts():
    """Shapes that cannot correspond are not held together."""
    one = {"a": np.ones((4, 400), np.float32)}
    found = align_networks(weights_of(one), weights_of({"a": np.ones((400, 4), np.float32)}))
    assert found.slots == (None,)
    assert found.matched == 0


def test_a_weight_that_says_little_takes_its_neighbours_order():
    """Scaled both ways and in 8 bits, a weight alone does not tell its order; what makes its channels does."""
    rng = np.random.default_rng(8)
    makes, reads = rng.standard_normal((128, 40)), rng.standard_normal((48, 128))
    order, rows = rng.permutation(128), rng.permutation(48)
    factors = np.exp(0.8 * rng.standard_normal(128)), np.exp(0.8 * rng.standard_normal((48, 1)))
    coarse = (reads * factors[0] * factors[1])[rows][:, order]
    coarse = np.round(coarse / np.abs(coarse).max() * 127)
    one = {"makes": makes.astype(np.float32), "reads": reads.astype(np.float32)}
    other = {"makes": makes[order].astype(np.float32), "reads": coarse.astype(np.float32)}
    together = align_networks(weights_of(one), weights_of(other)).slots[1]
    alone = align_networks(weights_of({"reads": one["reads"]}), weights_of({"reads": other["reads"]})).slots[0]
    assert together is not None
    assert np.array_equal(together.matrix.channels[0], np.argsort(order))
    assert np.array_equal(together.matrix.rows, np.argsort(rows))
    assert alone is not None
    assert (alone.matrix.channels[0] == np.argsort(order)).mean() < 0.5
