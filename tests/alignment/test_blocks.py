"""Blocks that move as a whole: heads, groups of queries, rotary pairs, gates. The function stays, and every channel is found."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from onnxnnw.alignment import MatrixAlignment, Weight, align_networks

Arrays = dict[str, np.ndarray]
WIDTH, HEADS, GROUPS, SIZE = 40, 6, 2, 8
LENGTH = 7


def drawn(shapes: dict[str, tuple[int, int]], seed: int) -> Arrays:
    """Rows read what comes in; heavier tails than normal, as training leaves them."""
    rng = np.random.default_rng(seed)
    return {name: (0.3 * rng.standard_t(6, shape)).astype(np.float32) for name, shape in shapes.items()}


def aligned(one: Arrays, other: Arrays) -> dict[str, MatrixAlignment]:
    """Each weight's alignment; names are gone, so that contents alone tell which is which."""
    weights = [
        [
            Weight(f"{where}{n}", len(a), a.shape[1], 1, 1, "product", partial(np.asarray, a))
            for n, a in enumerate(arrays.values())
        ]
        for where, arrays in (("a", one), ("b", other))
    ]
    found = align_networks(*weights)
    assert [None if slot is None else slot.candidate for slot in found.slots] == list(range(len(one)))
    return {name: slot.matrix for name, slot in zip(one, found.slots, strict=True) if slot is not None}


def eight_bits(arrays: Arrays) -> Arrays:
    """On 255 levels a weight."""
    return {name: np.round(a / (np.abs(a).max() / 127)) * (np.abs(a).max() / 127) for name, a in arrays.items()}


def softmax(scores: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def turned(values: np.ndarray) -> np.ndarray:
    """Rotary positions: channel i of a head with channel i + size / 2, by an angle of its own [Su et al. 2021]."""
    angles = np.outer(np.arange(LENGTH), 100.0 ** (-np.arange(SIZE // 2) / (SIZE // 2)))
    one, other = values[..., : SIZE // 2], values[..., SIZE // 2 :]
    return np.concatenate(
        [one * np.cos(angles) - other * np.sin(angles), other * np.cos(angles) + one * np.sin(angles)], -1
    )


def attention(arrays: Arrays, inputs: np.ndarray, rotary: bool) -> np.ndarray:
    """Grouped-query attention: each key and value serves several queries in turn."""

    def heads(name: str) -> np.ndarray:
        return (inputs @ arrays[name].T).reshape(LENGTH, -1, SIZE).transpose(1, 0, 2)

    query, key, value = heads("query"), heads("key"), heads("value")
    if rotary:
        query, key = turned(query), turned(key)
    key, value = (np.repeat(each, len(query) // len(each), 0) for each in (key, value))
    mixed = softmax(query @ key.transpose(0, 2, 1) / SIZE**0.5) @ value
    return mixed.transpose(1, 0, 2).reshape(LENGTH, -1) @ arrays["out"].T


def attention_weights(groups: int) -> Arrays:
    """Six queries on so many keys and values."""
    rows = {"query": HEADS * SIZE, "key": groups * SIZE, "value": groups * SIZE}
    return drawn({name: (count, WIDTH) for name, count in rows.items()} | {"out": (WIDTH, HEADS * SIZE)}, groups)


def moved_heads(groups: int, rotary: bool, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Groups in another order, the queries of each, and inside each head what may move: with rotary positions no query or key."""
    group_order, each = rng.permutation(groups), HEADS // groups
    heads = np.concatenate([group * each + rng.permutation(each) for group in group_order])
    inside = [np.arange(SIZE) if rotary else rng.permutation(SIZE) for _ in range(groups)]
    values = [rng.permutation(SIZE) for _ in range(groups)]
    return {
        "query": np.concatenate([head * SIZE + inside[head // each] for head in heads]),
        "key": np.concatenate([group * SIZE + inside[group] for group in group_order]),
        "value": np.concatenate([group * SIZE + values[group] for group in group_order]),
        "out": np.concatenate([head * SIZE + values[head // each] for head in heads]),
    }


@pytest.mark.parametrize("change", [dict, eight_bits], ids=["exact", "8 bits"])
@pytest.mark.parametrize("rotary", [False, True], ids=["plain", "rotary"])
@pytest.mark.parametrize("groups", [HEADS, GROUPS], ids=["heads", "groups"])
def test_heads_are_found_whole_and_channels_in_them(groups: int, rotary: bool, change: Callable[[Arrays], Arrays]):
    """Another order of heads, of groups and inside them changes nothing, and is read back."""
    rng = np.random.default_rng(10 * groups + rotary)
    arrays, orders = attention_weights(groups), moved_heads(groups, rotary, rng)
    other = {name: a[:, orders[name]] if name == "out" else a[orders[name]] for name, a in arrays.items()}
    inputs = rng.standard_normal((LENGTH, WIDTH))
    np.testing.assert_allclose(attention(other, inputs, rotary), attention(arrays, inputs, rotary), atol=1e-5)
    found = aligned(arrays, change(other))
    for name in ("query", "key", "value"):
        assert np.array_equal(found[name].rows, np.argsort(orders[name])), name
        assert not (found[name].channels[0] != np.arange(WIDTH)).any()
    assert np.array_equal(found["out"].channels[0], np.argsort(orders["out"]))
    if rotary:
        pairs = found["query"].rows.reshape(HEADS, 2, SIZE // 2)
        assert np.array_equal(pairs[:, 1] - pairs[:, 0], np.full((HEADS, SIZE // 2), SIZE // 2))


def lstm(arrays: Arrays, inputs: np.ndarray, gates: int) -> np.ndarray:
    """Hidden states of an LSTM (four gates) or of a GRU (three), read out."""
    hidden = cell = np.zeros(arrays["recurrent"].shape[1])
    for step in inputs:
        sums = np.split(arrays["input"] @ step, gates), np.split(arrays["recurrent"] @ hidden, gates)
        one, two, *rest = (1 / (1 + np.exp(-(a + b))) for a, b in zip(*sums, strict=True))
        if gates == 4:
            cell = rest[0] * cell + one * np.tanh(sums[0][3] + sums[1][3])
            hidden = two * np.tanh(cell)
        else:
            hidden = (1 - one) * np.tanh(sums[0][2] + two * sums[1][2]) + one * hidden
    return arrays["read"] @ hidden


@pytest.mark.parametrize("change", [dict, eight_bits], ids=["exact", "8 bits"])
@pytest.mark.parametrize("gates", [4, 3], ids=["lstm", "gru"])
def test_gates_keep_their_places(gates: int, change: Callable[[Arrays], Arrays]):
    """Hidden units change places in every gate alike, where they are made and where they come back."""
    rng, units = np.random.default_rng(gates), 24
    shapes = {"input": (gates * units, WIDTH), "recurrent": (gates * units, units), "read": (10, units)}
    arrays, order = drawn(shapes, gates), rng.permutation(units)
    rows = (np.arange(gates)[:, None] * units + order).reshape(-1)
    other = {
        "input": arrays["input"][rows],
        "recurrent": arrays["recurrent"][rows][:, order],
        "read": arrays["read"][:, order],
    }
    inputs = rng.standard_normal((5, WIDTH))
    np.testing.assert_allclose(lstm(other, inputs, gates), lstm(arrays, inputs, gates), atol=1e-5)
    found = aligned(arrays, change(other))
    for name in ("input", "recurrent"):
        assert np.array_equal(found[name].rows, np.argsort(rows))
        assert np.array_equal(found[name].rows // units, np.repeat(np.arange(gates), units))
    assert np.array_equal(found["recurrent"].channels[0], np.argsort(order))
    assert np.array_equal(found["read"].channels[0], np.argsort(order))
