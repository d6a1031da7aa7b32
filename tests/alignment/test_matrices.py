"""Two weights: what was done to the channels of one is found, whatever it was, and hostile values end in bounded time."""

import numpy as np
import pytest

from onnxnnw.alignment import align_matrices, search
from onnxnnw.alignment.assignment import assign

SHAPES = [(96, 1, 25), (32, 16, 9), (128, 96, 1), (10, 120, 1), (700, 64, 1)]
IDS = [f"{rows}x{channels}x{taps}" for rows, channels, taps in SHAPES]


def drawn(rows: int, channels: int, taps: int, seed: int = 0) -> np.ndarray:
    """Values as training leaves them: rows of different size, heavier tails than normal."""
    rng = np.random.default_rng(seed)
    return (np.exp(0.3 * rng.standard_normal((rows, 1, 1))) * rng.standard_t(6, (rows, channels, taps))).astype(
        np.float32
    )


def flat(cube: np.ndarray) -> np.ndarray:
    """(rows, channels, taps) -> (rows, row size)."""
    return cube.reshape(len(cube), -1)


@pytest.mark.parametrize(("rows", "channels", "taps"), SHAPES, ids=IDS)
@pytest.mark.parametrize("signs", [False, True], ids=["positive", "signs"])
def test_orders_scales_and_signs_are_found(rows, channels, taps, signs):
    """What was permuted, multiplied and flipped is read back as it was."""
    rng = np.random.default_rng(rows + signs)
    cube = drawn(rows, channels, taps)
    down, across = rng.permutation(rows), rng.permutation(channels)
    factors = np.exp(0.8 * rng.standard_normal(rows)), np.exp(0.8 * rng.standard_normal(channels))
    if signs:
        factors = factors[0] * rng.choice([-1, 1], rows), factors[1] * rng.choice([-1, 1], channels)
    other = (cube * factors[0][:, None, None] * factors[1][None, :, None])[down][:, across].astype(np.float32)
    found = align_matrices(flat(cube), flat(other), taps)
    assert np.array_equal(found.rows, np.argsort(down))
    assert np.array_equal(found.channels[0], np.argsort(across))
    np.testing.assert_allclose(found.applied(flat(other)), flat(cube), rtol=2e-3, atol=1e-4)
    assert found.score > 0.99


@pytest.mark.parametrize("signs", [False, True], ids=["positive", "signs"])
def test_few_assignments_find_what_was_disguised_exactly(signs, monkeypatch):
    """Signs are the next guess where the likely beginnings lead nowhere; all other beginnings would cost four times as much."""
    rng = np.random.default_rng(4)
    cube = drawn(96, 64, 9)
    factors = [rng.choice([-1, 1], lines) if signs else np.ones(lines) for lines in cube.shape[:2]]
    other = (cube * np.multiply.outer(*factors)[..., None])[rng.permutation(96)][:, rng.permutation(64)]
    counted = []
    monkeypatch.setattr(search, "assign", lambda *args, **kwargs: counted.append(args) or assign(*args, **kwargs))
    found = align_matrices(flat(cube), flat(other.astype(np.float32)), 9)
    assert found.score > 0.999
    assert len(counted) <= (6 if signs else 3)


@pytest.mark.parametrize(("rows", "channels", "taps"), SHAPES, ids=IDS)
def test_a_pure_order_is_undone_bit_for_bit(rows, channels, taps):
    """Where nothing was multiplied, values come back as they are stored."""
    rng = np.random.default_rng(rows)
    cube = drawn(rows, channels, taps)
    other = cube[rng.permutation(rows)][:, rng.permutation(channels)]
    found = align_matrices(flat(cube), flat(other), taps)
    assert np.array_equal(found.applied(flat(other)), flat(cube))
    assert not found.rescaled
    assert not found.flipped


def test_the_same_weight_stands_where_it_stood():
    """Nothing is moved that did not move."""
    cube = drawn(40, 30, 9)
    found = align_matrices(flat(cube), flat(cube), 9)
    assert not found.reordered
    assert found.matched == 1
    assert found.score == pytest.approx(1)


@pytest.mark.parametrize("share", [0.06, 0.2, 0.5])
def test_channels_that_were_added_are_left_out(share):
    """Rows and channels of arbitrary values are nobody's counterpart."""
    rng = np.random.default_rng(1)
    cube = drawn(64, 48, 9)
    more = round(64 * share), round(48 * share)
    wide = np.concatenate([cube, cube.std() * rng.standard_normal((64, more[1], 9))], 1)
    wide = np.concatenate([wide, cube.std() * rng.standard_normal((more[0], 48 + more[1], 9))])
    down, across = rng.permutation(len(wide)), rng.permutation(wide.shape[1])
    found = align_matrices(flat(cube), flat(wide[down][:, across].astype(np.float32)), 9)
    assert np.array_equal(found.rows, np.argsort(down)[:64])
    assert np.array_equal(found.channels[0], np.argsort(across)[:48])


def test_channels_that_were_removed_have_no_counterpart():
    """What is left is found; what is gone reads as NaN."""
    rng = np.random.default_rng(2)
    cube = drawn(64, 48, 9)
    rows, channels = rng.permutation(64)[:45], rng.permutation(48)[:34]
    found = align_matrices(flat(cube), flat(cube[rows][:, channels]), 9)
    assert np.array_equal(np.flatnonzero(found.rows >= 0), np.sort(rows))
    assert np.array_equal(rows[found.rows[np.sort(rows)]], np.sort(rows))
    applied = found.applied(flat(cube[rows][:, channels])).reshape(64, 48, 9)
    there = np.isfinite(applied)
    assert np.array_equal(applied[there], cube[there])
    assert there.sum() == 45 * 34 * 9


def test_places_and_values_say_the_same():
    """``sources`` names where ``applied`` takes its values, and by what it multiplies them."""
    rng = np.random.default_rng(3)
    cube = drawn(20, 18, 4)
    other = (cube * np.exp(rng.standard_normal((20, 1, 1))))[rng.permutation(20)[:17]].astype(np.float32)
    found = align_matrices(flat(cube), flat(other), 4)
    places, factors = found.sources(np.arange(cube.size))
    values = np.where(places >= 0, other.reshape(-1)[places] * factors, np.nan)
    np.testing.assert_allclose(values, found.applied(flat(other)).reshape(-1), rtol=1e-5)


@pytest.mark.parametrize("groups", [4, 8])
def test_groups_of_a_convolution_may_stand_elsewhere(groups):
    """Groups in another order, and rows and channels of each."""
    rng = np.random.default_rng(4)
    size, channels = 16, 8
    parts = [drawn(size, channels, 9, seed) for seed in range(groups)]
    order = rng.permutation(groups)
    moved = [parts[g][rng.permutation(size)][:, rng.permutation(channels)] for g in order]
    one, other = flat(np.concatenate(parts)), flat(np.concatenate(moved))
    found = align_matrices(one, other, 9, groups, groups)
    assert np.array_equal(found.applied(other), one)
    assert np.array_equal(found.rows.reshape(groups, size)[:, 0] // size, np.argsort(order))


HOSTILE = {
    "zeros": lambda rng: np.zeros((330, 60), np.float32),
    "one number": lambda rng: np.full((330, 60), 0.5, np.float32),
    "NaN": lambda rng: np.full((330, 60), np.nan, np.float32),
    "infinite": lambda rng: np.where(rng.random((330, 60)) < 0.5, np.float32(np.inf), np.float32(1)),
    "equal rows": lambda rng: np.tile(rng.standard_normal(60).astype(np.float32), (330, 1)),
    "huge": lambda rng: (rng.standard_normal((330, 60)) * 3e38).clip(-3e38, 3e38).astype(np.float32),
    "tiny": lambda rng: (rng.standard_normal((330, 60)) * 1e-40).astype(np.float32),
    "products": lambda rng: np.outer(np.arange(330), np.arange(60)).astype(np.float32),
    "one row": lambda rng: np.eye(330, 60, dtype=np.float32),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_give_an_answer(name):
    """Every row is somebody's or nobody's, once, and the score is a number."""
    cube = flat(drawn(330, 60, 1))
    other = HOSTILE[name](np.random.default_rng(5))
    for one, two in ((cube, other), (other, cube), (other, other)):
        found = align_matrices(one, two)
        rows = found.rows[found.rows >= 0]
        assert len(set(rows.tolist())) == rows.size
        assert np.isfinite(found.score)
        assert np.isfinite(found.row_scales).all()


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (2, 2), (1, 1)])
def test_the_smallest_weights_have_an_order_too(shape):
    """One row, one channel, or both."""
    values = np.random.default_rng(6).standard_normal(shape).astype(np.float32)
    found = align_matrices(values, values)
    assert np.array_equal(found.applied(values), values)


@pytest.mark.parametrize("dead", [1, 3])
def test_dead_channels_are_said_to_have_no_sign_of_their_own(dead: int) -> None:
    """What a mark left in channels whose weights decayed to nothing is noise: nobody flipped them; flips of others are found."""
    rng = np.random.default_rng(dead)
    for flipped in (0, 4):
        reference = rng.normal(size=(16, 12, 9)).astype("f4")
        reference[:, :dead] *= 1e-3
        candidate = reference + rng.normal(size=reference.shape).astype("f4") * (rng.random(reference.shape) < 0.05)
        candidate[:, dead : dead + flipped] *= -1
        order = rng.permutation(12)
        found = align_matrices(reference.reshape(16, -1), candidate[:, order].reshape(16, -1), taps=9)
        assert (found.row_scales > 0).all()
        assert (found.channel_scales[0] < 0).sum() == flipped
        assert (found.channels[0][dead:] == np.argsort(order)[dead:]).all()
