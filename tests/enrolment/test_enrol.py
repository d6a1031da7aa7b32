"""Enrolment: what is eligible, what is kept, what is written, and what is refused."""

import math
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import chisquare

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.owner import Owner
from onnxnnw.errors import CapacityError, UnreadableNetwork, UnsupportedNetwork, UsageError
from onnxnnw.methods import nct
from onnxnnw.records import positions as placement
from onnxnnw.records import record_file
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.support import calibration_networks as networks


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A small network."""
    return networks.save(networks.trained_weights(), tmp_path / "network.onnx")


def linear(weights: dict[str, networks.Array], path: Path) -> Path:
    """A chain of matrix products, wide enough for tables."""
    value, nodes = "x", []
    for name in weights:
        nodes.append(helper.make_node("MatMul", [value, name], [f"{name}.out"]))
        value = f"{name}.out"
    first = next(iter(weights.values()))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", first.shape[0]])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(a, np.float32), name) for name, a in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def eligible(record: Record) -> set[str]:
    """Names of the slots in which mark positions may lie."""
    return {entry.name for entry in record.slots if entry.eligible}


def sinusoidal(rows: int, columns: int) -> networks.Array:
    """Positions as transformers encode them."""
    angles = np.arange(rows)[:, None] / 10_000 ** (np.arange(0, columns, 2) / columns)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(rows, columns).astype(np.float32)


def fourier(window: int) -> networks.Array:
    """A windowed Fourier basis as voice networks hold it."""
    k, n = np.arange(window // 2)[:, None], np.arange(window)
    return (np.hanning(window) * np.cos(2 * np.pi * k * n / window)).astype(np.float32)


def test_formula_tables_are_not_fingerprinted(tmp_path: Path) -> None:
    """Everybody's Fourier basis and sinusoidal positions are the same; trained layers are eligible."""
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.standard_normal((256, 128)), axis=0).astype(np.float32)  # hard, but no formula
    weights = {
        "basis": fourier(256).T, "layer": rng.standard_normal((128, 256)), "positions": sinusoidal(256, 128),
        "back": rng.standard_normal((128, 256)), "wide": smooth, "last": rng.standard_t(2, (128, 10)),
    }  # fmt: skip
    path = linear(weights, tmp_path / "voice.onnx")
    assert not {"basis", "positions"} & eligible(networks.enrolled(path, watermark=False))
    assert {"layer", "back", "last"} <= eligible(networks.enrolled(path, watermark=False))
    assert eligible(networks.enrolled(path, watermark=True)) == set(weights)


def test_random_layers_are_never_taken_for_formulas(tmp_path: Path) -> None:
    """Over many random layers of many shapes and distributions, all are eligible."""
    rng = np.random.default_rng(1)
    draw = (rng.standard_normal, lambda shape: rng.uniform(-1, 1, shape), lambda shape: rng.standard_t(2, shape))
    for trial in range(12):
        sizes = [int(n) for n in rng.integers(16, 200, 6)]
        weights = {f"w{i}": draw[(trial + i) % 3](shape) for i, shape in enumerate(pairwise(sizes))}
        path = linear(weights, tmp_path / f"{trial}.onnx")
        assert eligible(networks.enrolled(path, watermark=False, positions=64)) == set(weights)


@pytest.mark.parametrize("watermark", [True, False])
def test_dead_rows_take_no_part(watermark: bool, tmp_path: Path) -> None:
    """Pruned channels hold neither mark nor anchors nor control reads, and the record says which they are."""
    weights = networks.trained_weights()
    dead = {"block3.conv2.weight": (0, 5, 63), "fc.weight": (9,)}
    weights["block3.conv2.weight"][[0, 5]] = 0
    weights["block3.conv2.weight"][63] *= 1e-4
    weights["fc.weight"][9] = 0
    record = networks.enrolled(networks.save(weights, tmp_path / "n.onnx"), watermark, positions=4_000)
    plan = placement.plan_of(record)
    controls = placement.control_positions(record, plan)
    for number, entry in enumerate(record.slots):
        assert entry.dead_rows == dead.get(entry.name, ())
        chosen = plan.slots == number
        used = [plan.of(number), placement.anchor_positions(record, plan)[number], controls[chosen].reshape(-1)]
        rows = np.concatenate(used) // entry.row_size
        assert not set(rows.tolist()) & set(entry.dead_rows)


def test_positions_anchors_and_controls_keep_apart(network: Path) -> None:
    """Positions are distinct; anchors lie outside the mark; controls share the column and never the row."""
    record = networks.enrolled(network, watermark=False, positions=4_000)
    plan = placement.plan_of(record)
    places = set(zip(plan.slots.tolist(), plan.positions.tolist(), strict=True))
    assert len(places) == 4_000
    for number, positions in enumerate(placement.anchor_positions(record, plan)):
        assert len(set(positions.tolist())) == positions.size == 32
        assert not {(number, p) for p in positions.tolist()} & places
    sizes = np.array([entry.row_size for entry in record.slots])[plan.slots]
    controls = placement.control_positions(record, plan)
    assert controls.shape == (4_000, 8)
    assert (controls % sizes[:, None] == (plan.positions % sizes)[:, None]).all()
    assert (controls // sizes[:, None] != (plan.positions // sizes)[:, None]).all()
    assert all(len(set(row)) == 8 for row in controls.tolist())


def test_controls_are_spread_evenly_over_the_other_rows(network: Path) -> None:
    """Every other row is as likely as any; with few rows all others are taken, once each."""
    record = networks.enrolled(network, watermark=False, positions=10_000)
    plan = placement.plan_of(record)
    controls = placement.control_positions(record, plan)
    for name, rows in (("block1.conv1.weight", 16), ("fc.weight", 10)):
        number = [entry.name for entry in record.slots].index(name)
        chosen = plan.slots == number
        size = record.slots[number].row_size
        own = plan.positions[chosen] // size
        distance = (controls[chosen] // size - own[:, None]) % rows
        counts = np.bincount(distance.reshape(-1), minlength=rows)
        assert counts[0] == 0
        assert chisquare(counts[1:]).pvalue > 1e-4


def test_a_slot_with_few_rows_has_few_controls(tmp_path: Path) -> None:
    """Three rows leave two others; the rest is marked as not there."""
    weights = {
        "a": np.random.default_rng(0).standard_normal((900, 3)),
        "b": np.random.default_rng(1).standard_normal((3, 900)),
    }
    record = networks.enrolled(linear(weights, tmp_path / "n.onnx"), watermark=False, positions=300)
    plan = placement.plan_of(record)
    controls = placement.control_positions(record, plan)[plan.slots == 0]
    assert record.slots[0].shape == (3, 900)
    assert ((controls >= 0).sum(1) == 2).all()


def test_positions_are_uniform_over_all_eligible_weights(network: Path) -> None:
    """Slots get their share by size."""
    record = networks.enrolled(network, watermark=True, positions=20_000)
    counts = np.bincount(placement.plan_of(record).slots, minlength=len(record.slots))
    sizes = np.array([entry.capacity for entry in record.slots], float)
    # drawn without replacement, so a little more even than independent draws: chi-square is conservative here
    assert chisquare(counts, sizes / sizes.sum() * counts.sum()).pvalue > 1e-4


def test_embedding_changes_exactly_the_bytes_of_the_mark(network: Path, tmp_path: Path) -> None:
    """N weights take the values that follow from the record; all else stays, bit for bit."""
    record = embed(network, tmp_path / "marked.onnx", tmp_path / "r.json", 300, key=networks.key(4)).record
    before, after = networks.read(network), networks.read(tmp_path / "marked.onnx")
    expected = networks.apply_mark(before, record)
    assert all(np.array_equal(expected[name], after[name]) for name in before)
    assert 295 <= sum(int((before[name] != after[name]).sum()) for name in before) <= 300
    assert network.stat().st_size == (tmp_path / "marked.onnx").stat().st_size


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_mark_values_have_the_strength_that_was_asked_for(network: Path, strength: float) -> None:
    """Their deviation in units of their slot's; or the absolute one."""
    record = networks.enrolled(network, watermark=True, positions=10_000, strength=strength)
    weights = networks.read(network)
    for name, (_, values) in nct.mark(record).items():
        if values.size > 1_000:
            assert values.std() / weights[name].std() == pytest.approx(strength, rel=0.1)


def test_an_absolute_deviation_ignores_the_slots(network: Path, tmp_path: Path) -> None:
    """--value-std reproduces the published tables."""
    record = embed(network, tmp_path / "m.onnx", tmp_path / "r.json", 5_000, value_std=0.5).record
    assert np.concatenate([values for _, values in nct.mark(record).values()]).std() == pytest.approx(0.5, rel=0.05)


def test_too_small_a_network_names_its_capacity(tmp_path: Path) -> None:
    """N and the anchors may take half of the eligible weights; the error says how many positions fit, and they do."""
    path = linear({"a": np.random.default_rng(0).standard_normal((16, 32))}, tmp_path / "n.onnx")
    with pytest.raises(CapacityError, match="room for 224 positions"):
        networks.enrolled(path, watermark=True, positions=225)
    assert networks.enrolled(path, watermark=True, positions=224).number_of_positions == 224
    tiny = linear({"a": np.ones((4, 4))}, tmp_path / "tiny.onnx")
    with pytest.raises(CapacityError, match="no eligible weights"):
        networks.enrolled(tiny, watermark=True)


@pytest.mark.parametrize(
    ("positions", "strength"),
    [(0, 1.0), (-1, 1.0), (2**40, 1.0), (10, 0.0), (10, -1.0), (10, math.nan), (10, math.inf)],
)
def test_impossible_numbers_are_wrong_usage(network: Path, positions: int, strength: float) -> None:
    """Refused with the number in the message."""
    with pytest.raises(UsageError):
        networks.enrolled(network, watermark=True, positions=positions, strength=strength)


def test_a_mark_that_does_not_fit_its_element_type_is_refused(network: Path, tmp_path: Path) -> None:
    """Infinite weights are never written."""
    with pytest.raises(UsageError, match="float"):
        embed(network, tmp_path / "m.onnx", tmp_path / "r.json", value_std=1e300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.onnx"]


def test_weak_and_strong_marks_are_warned_of(network: Path, tmp_path: Path) -> None:
    """Fewer positions than absence needs, or values that betray themselves."""
    few = fingerprint(network, tmp_path / "few.json", positions=163)
    assert "takes 164" in few.warnings[0]
    assert not fingerprint(network, tmp_path / "enough.json", positions=164).warnings
    strong = embed(network, tmp_path / "m.onnx", tmp_path / "strong.json", strength=3.5)
    assert "betray" in strong.warnings[0]


def test_an_existing_record_or_the_input_is_never_overwritten(network: Path, tmp_path: Path) -> None:
    """Wrong usage, before anything is written."""
    (tmp_path / "r.json").write_text("precious")
    before = network.read_bytes()
    for call in (
        lambda: fingerprint(network, tmp_path / "r.json"),
        lambda: embed(network, tmp_path / "m.onnx", tmp_path / "r.json"),
        lambda: embed(network, network, tmp_path / "other.json"),
    ):
        with pytest.raises(UsageError):
            call()
    assert (tmp_path / "r.json").read_text() == "precious"
    assert network.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["network.onnx", "r.json"]  # noqa: PTH208


@pytest.mark.parametrize("record", ["out.onnx", "out.onnx.data", "./out.onnx"])
def test_record_and_marked_copy_are_two_files(network: Path, tmp_path: Path, record: str) -> None:
    """Else one would replace the other, and the record is the only copy of its secret."""
    with pytest.raises(UsageError, match="one file"):
        embed(network, tmp_path / "out.onnx", f"{tmp_path}/{record}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.onnx"]


def test_no_output_replaces_a_record_a_folder_or_a_pipe(network: Path, tmp_path: Path) -> None:
    """Whatever stands there is there afterwards."""
    fingerprint(network, tmp_path / "kept.record")
    content = (tmp_path / "kept.record").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, words in (("kept.record", "is a record"), ("pipe", "a device or a pipe"), ("folder", "is a folder")):
        with pytest.raises(UsageError, match=words):
            embed(network, tmp_path / name, tmp_path / "new.record")
    with pytest.raises(UsageError, match="there is no folder"):
        embed(network, tmp_path / "none" / "out.onnx", tmp_path / "new.record")
    with pytest.raises(UsageError, match="there is no folder"):
        fingerprint(network, tmp_path / "none" / "new.record")
    assert (tmp_path / "kept.record").read_bytes() == content
    assert (tmp_path / "pipe").is_fifo()
    assert not (tmp_path / "new.record").exists()


def test_no_record_is_written_that_cannot_be_read(network: Path, tmp_path: Path, monkeypatch) -> None:
    """A name in another encoding, and more bytes than a record may have."""
    with pytest.raises(UsageError, match="the actor is no text in UTF-8"):
        Owner("J\udcf6rg")
    monkeypatch.setattr(record_file, "MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="fewer positions"):
        fingerprint(network, tmp_path / "f.record")
    assert not (tmp_path / "f.record").exists()


def test_a_strength_is_given_in_one_way_and_leaves_something(network: Path, tmp_path: Path) -> None:
    """Not both ways, and not so weak that nothing of it is stored."""
    out, record = tmp_path / "out.onnx", tmp_path / "mark.record"
    with pytest.raises(UsageError, match="one of the two"):
        embed(network, out, record, strength=2, value_std=0.1)
    with pytest.raises(UsageError, match="rounded to zero"):
        embed(network, out, record, strength=1e-300, insertion="replaced")
    with pytest.raises(UsageError, match="rounded away"):
        embed(network, out, record, strength=1e-300)
    assert not out.exists()
    strong = embed(network, out, record, value_std=1000)
    assert any("outliers" in warning for warning in strong.warnings)


def test_marks_that_can_never_be_proven_are_warned_of(network: Path, tmp_path: Path) -> None:
    """With 23 positions not even the untouched mark is significant at 1e-6."""
    few = fingerprint(network, tmp_path / "few.record", positions=23)
    assert any("never prove anything" in warning for warning in few.warnings)
    more = fingerprint(network, tmp_path / "more.record", positions=24)
    assert not any("never prove anything" in warning for warning in more.warnings)


def test_a_record_to_keep_must_know_the_weights(network: Path, tmp_path: Path) -> None:
    """Positions are left alone by name: renamed weights are an error, not silence."""
    kept = fingerprint(network, tmp_path / "kept.record").record
    renamed = replace(kept, slots=tuple(replace(slot, name=f"other.{slot.name}") for slot in kept.slots))
    for record, words in ((renamed, "by a name or shape"), (replace(kept, method="rtw"), "no positions")):
        with pytest.raises(UsageError, match=words):
            embed(network, tmp_path / "out.onnx", tmp_path / "new.record", keep=[record])


def test_a_failed_embed_leaves_no_record_behind(network: Path, tmp_path: Path) -> None:
    """A record without its network would be a secret spent for nothing."""
    (tmp_path / "folder").mkdir()
    with pytest.raises((UsageError, UnreadableNetwork, UnsupportedNetwork, OSError)):
        embed(network, tmp_path / "folder", tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_rows_that_are_not_numbers_take_no_part(tmp_path: Path) -> None:
    """A NaN in a layer keeps positions and anchors out of its row; the rest can be marked and found."""
    weights = networks.trained_weights()
    weights["block3.conv2.weight"][7, 3] = np.nan
    path = networks.save(weights, tmp_path / "n.onnx")
    record = networks.enrolled(path, watermark=False)
    entry = next(entry for entry in record.slots if entry.name == "block3.conv2.weight")
    assert not entry.eligible
    assert 7 in entry.dead_rows
    (verdict,) = verify(path, [record])
    assert verdict.decision == "traced"


def test_an_owner_has_one_of_the_standards_roles(network: Path, tmp_path: Path) -> None:
    """Anything else is refused with the list."""
    with pytest.raises(UsageError, match="Trainer"):
        Owner("A", "Emperor")
    made = fingerprint(network, tmp_path / "r.json", owner=Owner("A", "Trainer", "from", "to"))
    record = load_record(tmp_path / "r.json", made.commitment)
    assert (record.actor, record.role, record.source_id, record.destination_id) == ("A", "Trainer", "from", "to")


def test_keeping_clear_of_marks_that_fill_most_of_the_room_still_works(tmp_path: Path) -> None:
    """More draws may be skipped than are kept; the record verifies all the same."""
    path = linear({"a": np.random.default_rng(0).standard_normal((40, 50))}, tmp_path / "0.onnx")
    records: list[Record] = []
    for number in (1, 2, 3):
        out = tmp_path / f"{number}.onnx"
        embed(path, out, tmp_path / f"{number}.json", 500, keep=records, key=networks.key(number), insertion="replaced")
        records.append(load_record(tmp_path / f"{number}.json"))
        path = out
    assert records[2].arrays["skipped"].size > 500
    for record in records:
        (verdict,) = verify(path, [replace(record)])
        assert verdict.decision == "traced"
        assert any(finding.name == "unchanged" for finding in verdict.findings)
