"""Several weights of one width: what one cannot tell apart it takes from the others, and what it knows it keeps."""

from functools import partial

import numpy as np
import pytest

from onnxnnw.alignment import Weight, align_networks

WIDTH = 24
DEAD = (3, 11, 17)


def weights_of(arrays: dict[str, np.ndarray]) -> list[Weight]:
    """Matrices as alignment sees them."""
    return [Weight(n, len(a), a.shape[1], 1, 1, "product", partial(np.asarray, a)) for n, a in arrays.items()]


def residual(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two weights that make the channels of one stream and one that reads them; some channels are dead in two of the three."""
    out = {"stem": (WIDTH, 30), "block": (WIDTH, 40), "reader": (20, WIDTH)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in out.items()}
    arrays["stem"][list(DEAD)] *= 1e-3
    arrays["reader"][:, DEAD] *= 1e-3
    return arrays


def moved(arrays: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    """The stream's channels in another order."""
    return {"stem": arrays["stem"][order], "block": arrays["block"][order], "reader": arrays["reader"][:, order]}


def marked(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A value added in every twentieth place, which is far more than a dead channel holds."""
    out = {name: array.copy() for name, array in arrays.items()}
    for array in out.values():
        array[rng.random(array.shape) < 0.05] += np.float32(0.4)
    return out


@pytest.mark.parametrize("seed", range(8))
def test_dead_channels_take_the_order_of_weights_that_know_it(seed):
    """Marks drown what is left of a dead channel; the weight further on has it clearly."""
    rng = np.random.default_rng(seed)
    arrays, order = residual(rng), rng.permutation(WIDTH)
    found = align_networks(weights_of(arrays), weights_of(moved(marked(arrays, rng), order)))
    stem, block, reader = (one.matrix for one in found.slots if one is not None)
    assert np.array_equal(stem.rows, np.argsort(order))
    assert np.array_equal(block.rows, np.argsort(order))
    assert np.array_equal(reader.channels[0], np.argsort(order))


def test_a_clear_order_of_its_own_is_kept():
    """Where one weight alone has two channels elsewhere, that was done to it, and is reported as it is."""
    rng = np.random.default_rng(3)
    arrays, order = residual(rng), rng.permutation(WIDTH)
    other = moved(arrays, order)
    alive = [place for place in range(WIDTH) if order[place] not in DEAD][:2]
    other["block"][alive] = other["block"][alive[::-1]]
    found = align_networks(weights_of(arrays), weights_of(other))
    stem, block = found.slots[0], found.slots[1]
    assert stem is not None
    assert block is not None
    assert np.array_equal(stem.matrix.rows, np.argsort(order))
    own = np.argsort(order)
    own[order[alive]] = own[order[alive[::-1]]]
    assert np.array_equal(block.matrix.rows, own)


def test_scales_go_with_the_channels():
    """A channel that takes another's place takes its factor too: values come back as they were."""
    rng = np.random.default_rng(5)
    arrays, order = residual(rng), rng.permutation(WIDTH)
    factors = np.exp(0.5 * rng.standard_normal(WIDTH)).astype(np.float32)
    scaled = {
        "stem": arrays["stem"] * factors[:, None],
        "block": arrays["block"] * factors[:, None],
        "reader": arrays["reader"] / factors,
    }
    other = moved(scaled, order)
    found = align_networks(weights_of(arrays), weights_of(other))
    for (name, array), one in zip(arrays.items(), found.slots, strict=True):
        assert one is not None
        np.testing.assert_allclose(one.matrix.applied(other[name]), array, rtol=1e-3, atol=1e-7)
