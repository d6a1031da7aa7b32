"""Finding slots again by their content: under other names, in another order, transposed, among many alike."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching import match
from onnxnnw.matching.anchor_agreement import Wanted, agreement, agreements
from onnxnnw.matching.match import match_slots
from onnxnnw.matching.row_scale import row_magnitudes
from onnxnnw.network_file.file import open_network
from tests.support.networks import model_of, save, tensor, weight


def network(path: Path, seeds: Sequence[int], names: Sequence[str], shape: tuple[int, int] = (16, 16)) -> list[Slot]:
    """A chain of MatMuls whose k-th weight comes from the k-th seed."""
    nodes = [helper.make_node("MatMul", [f"v{k}", name], [f"v{k + 1}"]) for k, name in enumerate(names)]
    tensors = [weight(name, *shape, seed=seed) for name, seed in zip(names, seeds, strict=True)]
    return find_slots(open_network(save(model_of(nodes, tensors, ["v0"], [f"v{len(names)}"]), path / "m.onnx"))).slots


def wanted(slots: Sequence[Slot], anchors: int = 32) -> list[Wanted]:
    """What a record keeps of slots."""
    rng = np.random.default_rng(0)
    out = []
    for slot in slots:
        positions = rng.choice(slot.size, anchors, replace=False)
        out.append(Wanted(slot.name, slot.bias, slot.rows, slot.row_size, positions, slot.values(positions)))
    return out


@pytest.mark.parametrize("crowded", [False, True])
def test_renamed_and_reordered_slots_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crowded: bool) -> None:
    """By content alone, in a table of all pairs or, where there are too many, among neighbours."""
    if crowded:
        monkeypatch.setattr(match, "MAX_PAIRS", 10)
    records = wanted(network(tmp_path, range(6), [f"w{k}" for k in range(6)]))
    order = [1, 0, 3, 2, 5, 4]
    found = match_slots(records, network(tmp_path, order, [f"n{k}" for k in range(6)]))
    assert [None if m is None else m.slot.name for m in found] == ["n1", "n0", "n3", "n2", "n5", "n4"]
    assert all(m is not None and m.agrees and not m.transposed for m in found)


def test_names_never_outweigh_content(tmp_path: Path) -> None:
    """Two slots that exchanged their names are still told apart."""
    records = wanted(network(tmp_path, [1, 2], ["a", "b"]))
    found = match_slots(records, network(tmp_path, [1, 2], ["b", "a"]))
    assert [m.slot.name for m in found if m is not None] == ["b", "a"]


def test_a_transposed_slot_is_found(tmp_path: Path) -> None:
    """Rows as columns, square or not."""
    for shape in ((16, 16), (12, 20)):
        records = wanted(network(tmp_path, [1], ["a"], shape))
        turned = weight("t", *shape, seed=1)
        nodes = [helper.make_node("Gemm", ["x", "t"], ["y"], transB=1)]
        (slot,) = find_slots(open_network(save(model_of(nodes, [turned]), tmp_path / "t.onnx"))).slots
        (found,) = match_slots(records, [slot])
        assert found is not None
        assert found.agrees
        assert found.transposed


def test_a_namesake_without_agreement_is_read_but_does_not_agree(tmp_path: Path) -> None:
    """An unrelated network is read rather than called absent."""
    records = wanted(network(tmp_path, [1, 2], ["a", "b"]))
    first, second = match_slots(records, network(tmp_path, [8, 9], ["a", "c"]))
    assert first is not None
    assert not first.agrees
    assert second is None


def test_each_slot_is_used_once(tmp_path: Path) -> None:
    """Copies of one weight are counterparts of different slots."""
    records = wanted(network(tmp_path, [1, 1, 1], ["a", "b", "c"]))
    for crowded in (1_000_000, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(match, "MAX_PAIRS", crowded)
            found = match_slots(records, network(tmp_path, [1, 1, 1], ["x", "y", "c"]))
        assert sorted(m.slot.name for m in found if m is not None) == ["c", "x", "y"]
        assert found[2] is not None
        assert found[2].slot.name == "c"


def values_of(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.frombuffer(weight(name, *shape, seed=seed).raw_data, "f4").reshape(shape)


def one_slot(node: NodeProto, values: np.ndarray, path: Path, *more: TensorProto) -> Slot:
    """The slot of ``w``."""
    model = model_of([node], [tensor("w", values), *more], domains=("com.microsoft",))
    slots = find_slots(open_network(save(model, path / f"{len(list(path.iterdir()))}.onnx"))).slots
    return next(slot for slot in slots if slot.name == "w")


def test_rows_of_a_merged_weight_are_found(tmp_path: Path) -> None:
    """Query, key and value of Attention, of different sizes too, each a part of one stored tensor."""
    sizes = {"q": 32, "k": 16, "v": 16}
    parts = {name: values_of(name, (24, size), seed) for seed, (name, size) in enumerate(sizes.items())}
    records = [
        wanted([one_slot(helper.make_node("MatMul", ["x", "w"], ["y"]), values, tmp_path)])[0]
        for values in parts.values()
    ]
    merged = np.concatenate([parts["k"], parts["q"], parts["v"]], axis=1)
    node = helper.make_node("Attention", ["x", "w", ""], ["y"], domain="com.microsoft", num_heads=4)
    found = match_slots(records, [one_slot(node, merged, tmp_path)])
    for match_, values in zip(found, parts.values(), strict=True):
        assert match_ is not None
        assert match_.reading == "rows"
        np.testing.assert_array_equal(match_.slot.array(), values.T)
    assert sum(m.slot.covered for m in found if m is not None) == merged.size


def test_gates_in_another_order_are_found(tmp_path: Path) -> None:
    """ONNX has input, output, forget, cell; others have other orders. Both directions change alike."""
    values = values_of("w", (2, 4 * 8, 10), 3)
    (record,) = wanted(
        [one_slot(helper.make_node("LSTM", ["x", "w", "r"], ["y"]), values, tmp_path, weight("r", 2, 32, 8))]
    )
    turned = values.reshape(2, 4, 8, 10)[:, [0, 2, 1, 3]].reshape(values.shape)
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"])
    (found,) = match_slots([record], [one_slot(node, turned, tmp_path, weight("r", 2, 32, 8))])
    assert found is not None
    assert found.reading == "gates"
    np.testing.assert_array_equal(found.slot.array(), values.reshape(64, 10))


def test_the_opposite_sign_is_voted_on(tmp_path: Path) -> None:
    """All values negated, as two layers in a row may be."""
    values = values_of("w", (16, 16), 3)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    (record,) = wanted([one_slot(node, values, tmp_path)])
    (found,) = match_slots([record], [one_slot(node, -values, tmp_path)])
    assert found is not None
    assert (found.sign, found.agrees) == (-1, True)


def test_rows_of_other_scales_agree_in_their_gauge(tmp_path: Path) -> None:
    """Each anchor in units of its row, where the record keeps what those were."""
    rng = np.random.default_rng(0)
    values = values_of("w", (64, 64), 3)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    slot = one_slot(node, values, tmp_path)
    (plain,) = wanted([slot])
    scales = row_magnitudes(slot.array())[plain.positions // slot.row_size]
    kept = replace(plain, folds=np.ones(32), row_scales=scales)
    other = one_slot(node, values * np.exp(rng.normal(0, 1.2, 64)).astype("f4"), tmp_path)
    (found,) = match_slots([kept], [other])
    assert found is not None
    assert found.agreement > 30


@pytest.mark.parametrize("gone", [False, True])
def test_anchors_say_whether_folded_or_stored_values_are_compared(tmp_path: Path, gone: bool) -> None:
    """What multiplied the rows may have been folded into them, or cut away with the rest of the network."""
    rng = np.random.default_rng(0)
    gain = (np.exp(rng.normal(0, 1, 64)) * rng.choice([-1, 1], 64)).astype("f4")
    values = values_of("w", (64, 64), 3)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Mul", ["h", "g"], ["y"])]
    model = model_of(nodes, [tensor("w", values), tensor("g", gain)])
    (slot,) = find_slots(open_network(save(model, tmp_path / "raw.onnx"))).slots
    (plain,) = wanted([slot])
    assert slot.row_gain is not None
    rows = plain.positions // slot.row_size
    kept = replace(plain, folds=slot.row_gain[rows], row_scales=row_magnitudes(slot.folded())[rows])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    (found,) = match_slots([kept], [one_slot(node, values if gone else values * gain, tmp_path)])
    assert found is not None
    assert found.agreement > 30
    assert found.folded is not gone


def test_agreement_knows_scale_offset_and_gaps() -> None:
    """A correlation: linear changes keep it, noise lowers it, numbers that are none are left out."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=32)
    assert agreement(values * 1e-30 + 5e-30, values) == pytest.approx(40)
    assert agreement(-values, values) == pytest.approx(-40)
    gaps = values.copy()
    gaps[:20] = np.nan
    assert agreement(gaps, values) > match.AGREEMENT
    gaps[:26] = np.inf
    assert agreement(gaps, values) == 0, "fewer than eight are left"
    assert agreement(np.zeros(32), values) == 0
    assert agreement(np.full(32, 1e300), values) == 0
    assert abs(agreement(rng.normal(size=32), values)) < match.AGREEMENT


def test_many_agreements_at_once_are_those_of_each() -> None:
    """Slots with few anchors stand beside slots with many."""
    rng = np.random.default_rng(1)
    expected = [rng.normal(size=size) for size in (32, 5, 0, 9, 32)]
    found = [values + rng.normal(size=values.size) for values in expected]
    found[0][3] = np.nan
    assert agreements(found, expected) == pytest.approx(
        [agreement(*pair) for pair in zip(found, expected, strict=True)]
    )
    assert agreements([], []).size == 0
