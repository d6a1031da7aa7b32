"""Records know what followed the weights: folded and raw files are compared in the unit of enrolment."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import UnreadableRecord
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.row_scale import column_scales
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.records.row_factors import columns_of, factor_arrays, row_factors_of, unit_change
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.support.networks import model_of, save, tensor, weight

KEY = Key(b"what followed the weights, 32 B.")
NEW = ("folded", "folds", "anchor_gains", "balanced", "channels")
CHANNELS = (8, 48, 64, 32)


def network(seed: int = 0) -> ModelProto:
    """Convolutions with normalisations whose statistics are far from 1, a third of their gammas negative."""
    rng = np.random.default_rng(seed)
    nodes, tensors, value = [], [], "x"
    for k, (inputs, out) in enumerate(pairwise(CHANNELS)):
        gamma = np.exp(rng.normal(0, 1, out)) * np.where(rng.random(out) < 0.33, -1, 1)
        statistics = (gamma, rng.normal(size=out), rng.normal(size=out), np.exp(rng.normal(0, 1.5, out)))
        names = [f"{part}{k}" for part in ("gamma", "beta", "mean", "variance")]
        tensors += [weight(f"w{k}", out, inputs, 3, 3, seed=10 * seed + k), weight(f"b{k}", out)]
        tensors += [tensor(name, values.astype("f4")) for name, values in zip(names, statistics, strict=True)]
        nodes += [
            helper.make_node("Conv", [value, f"w{k}", f"b{k}"], [f"h{k}"], pads=[1] * 4),
            helper.make_node("BatchNormalization", [f"h{k}", *names], [f"n{k}"]),
            helper.make_node("Relu", [f"n{k}"], [f"v{k}"]),
        ]
        value = f"v{k}"
    model = model_of(nodes, tensors, outputs=[value])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, [1, CHANNELS[0], 8, 8]))
    return model


def folded(path: Path, out: Path) -> Path:
    """What onnxruntime's basic optimisation writes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert not any(node.op_type == "BatchNormalization" for node in onnx.load(out).graph.node)
    return out


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """A marked raw network, the record of its mark and that of its fingerprint."""
    folder = tmp_path_factory.mktemp("folds")
    embed(save(network(), folder / "raw.onnx"), folder / "marked.onnx", folder / "mark", key=KEY)
    fingerprint(folder / "marked.onnx", folder / "trace", key=KEY)
    return folder / "marked.onnx", [load_record(folder / name) for name in ("mark", "trace")]


def verdicts(path: Path, records: list[Record]) -> list[Verdict]:
    return [verify(path, [record])[0] for record in records]


def test_what_a_tool_folds_costs_nothing(enrolled: tuple[Path, list[Record]], tmp_path: Path) -> None:
    """The effect in the folded file is that of the raw one, signs included."""
    marked, records = enrolled
    for before, after in zip(
        verdicts(marked, records), verdicts(folded(marked, tmp_path / "f.onnx"), records), strict=True
    ):
        assert (before.path, after.path) == ("fast", "thorough")
        assert after.decision == "traced"
        assert after.effect == pytest.approx(before.effect, abs=1e-3)
        assert (after.account.estimate, after.coverage) == (pytest.approx(1, abs=1e-3), 1)
        assert after.explained > 0.99


def test_a_folded_network_is_found_in_its_raw_form(tmp_path: Path) -> None:
    """Enrolled after folding; the suspect has the normalisations still, and weights that they turn into those."""
    raw = network()
    path = folded(save(raw, tmp_path / "raw.onnx"), tmp_path / "folded.onnx")
    embed(path, tmp_path / "marked.onnx", tmp_path / "mark", key=KEY)
    record = load_record(tmp_path / "mark")
    assert row_factors_of(record) == {}
    with open_network(tmp_path / "raw.onnx") as network_:
        scales = [slot.row_gain for slot in find_slots(network_).slots]
    with open_network(tmp_path / "marked.onnx") as network_:
        marked = [slot.array() for slot in find_slots(network_).slots]
    suspect = ModelProto()
    suspect.CopyFrom(raw)
    for proto in suspect.graph.initializer:
        if proto.name[0] == "w":
            values, gain = marked[int(proto.name[1:])], scales[int(proto.name[1:])]
            assert gain is not None
            proto.CopyFrom(tensor(proto.name, (values / gain[:, None]).astype("f4").reshape(tuple(proto.dims))))
    (verdict,) = verify(save(suspect, tmp_path / "suspect.onnx"), [record])
    (itself,) = verify(tmp_path / "marked.onnx", [record])
    assert verdict.decision == "traced"
    assert verdict.effect == pytest.approx(itself.effect, abs=1e-3)


def test_what_followed_may_be_cut_away(enrolled: tuple[Path, list[Record]], tmp_path: Path) -> None:
    """A sub-model that ends before a normalisation holds stored values; its anchors say so."""
    marked, records = enrolled
    model = onnx.load(marked)
    del model.graph.node[-2:]
    model.graph.output[0].name = model.graph.node[-1].output[0]
    for proto in model.graph.initializer:
        proto.name += "'"
    for node in model.graph.node:
        node.input[1:] = [f"{name}'" for name in node.input[1:]]
    for before, after in zip(
        verdicts(marked, records), verdicts(save(model, tmp_path / "cut.onnx"), records), strict=True
    ):
        assert after.decision == "traced"
        assert after.effect == pytest.approx(before.effect, abs=1e-3)


def test_another_network_with_the_same_normalisations_is_not_traced(
    enrolled: tuple[Path, list[Record]], tmp_path: Path
) -> None:
    """What followed the weights is no evidence: only the weights are compared."""
    marked, records = enrolled
    other = network(1)
    statistics = {p.name: p for p in onnx.load(marked).graph.initializer if p.name[0] in "gbmv"}
    for proto in other.graph.initializer:
        if proto.name in statistics:
            proto.CopyFrom(statistics[proto.name])
    path = save(other, tmp_path / "other.onnx")
    for candidate in (path, folded(path, tmp_path / "f.onnx")):
        assert [verdict.decision for verdict in verdicts(candidate, records)] == ["not traced"] * 2


def test_rows_that_a_normalisation_silences_take_no_part(tmp_path: Path) -> None:
    """A gamma of zero: folded, nothing of the row would be left."""
    model = network()
    for proto in model.graph.initializer:
        if proto.name == "gamma1":
            values = numpy_helper.to_array(proto).copy()
            values[[3, 40]] = 0
            proto.CopyFrom(tensor("gamma1", values))
    embed(save(model, tmp_path / "raw.onnx"), tmp_path / "marked.onnx", tmp_path / "mark", key=KEY)
    record = load_record(tmp_path / "mark")
    assert {3, 40} <= set(next(entry.dead_rows for entry in record.slots if entry.name == "w1"))


def test_records_from_before_are_judged_as_before(enrolled: tuple[Path, list[Record]], tmp_path: Path) -> None:
    """Without the arrays nothing is folded; a fingerprint is still found by its stored values."""
    marked, (_, trace) = enrolled
    old = replace(trace, arrays={n: a for n, a in trace.arrays.items() if n not in NEW})
    assert row_factors_of(old) is None
    model = onnx.load(marked)
    for proto in model.graph.initializer:
        proto.name += "'"
    for node in model.graph.node:
        node.input[1:] = [f"{name}'" for name in node.input[1:]]
    for path in (marked, save(model, tmp_path / "renamed.onnx")):
        (verdict,) = verify(path, [old])
        assert (verdict.decision, round(verdict.effect, 3)) == ("traced", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"folded": np.array([1, 1, 2], "|u1")},
        {"folded": np.array([1, 1], "|u1")},
        {"folds": np.ones(3, "<f4")},
        {"folds": np.array([np.nan] * sum(CHANNELS[1:]), "<f4")},
    ],
    ids=["a flag of 2", "too few flags", "too few factors", "no numbers"],
)
def test_records_that_contradict_themselves_are_not_readable(
    enrolled: tuple[Path, list[Record]], change: dict[str, np.ndarray]
) -> None:
    """Flags and factors fit the slot table, or the record is damaged."""
    _, (mark, _) = enrolled
    with pytest.raises(UnreadableRecord):
        row_factors_of(replace(mark, arrays={**mark.arrays, **change}))


def test_factors_are_kept_and_read_back(enrolled: tuple[Path, list[Record]]) -> None:
    """In single precision; what is the same on both sides is exactly no factor."""
    marked, (mark, _) = enrolled
    folds = row_factors_of(mark)
    assert folds is not None
    with open_network(marked) as network_:
        for number, slot in enumerate(find_slots(network_).slots):
            assert slot.row_gain is not None
            np.testing.assert_array_equal(folds[number], slot.row_gain.astype("f4"))
            assert unit_change(slot.row_gain, folds[number]) is None
    assert unit_change(None, None) is None
    assert unit_change(np.array([2.0, 3.0]), np.array([1.0, 0.0])).tolist() == [2.0, 3.0]  # type: ignore[union-attr]
    assert set(factor_arrays([None, None])) == {"folded"}


def equalised(path: Path, out: Path) -> Path:
    """Cross-layer equalisation of the folded network, under other names: rows are multiplied, the next columns divided."""
    model = onnx.load(path)
    weights = [p for p in model.graph.initializer if len(p.dims) == 4]
    chain = [next(w for w in weights if w.name == n.input[1]) for n in model.graph.node if n.op_type == "Conv"]
    values = [numpy_helper.to_array(proto).copy() for proto in chain]
    rng = np.random.default_rng(5)
    for first, second in pairwise(range(len(chain))):
        scale = np.exp(rng.normal(0, 0.8, len(values[first]))).astype("f4")
        values[first] *= scale[:, None, None, None]
        values[second] /= scale[None, :, None, None]
    for proto, array in zip(chain, values, strict=True):
        proto.CopyFrom(tensor(proto.name, array))
    for proto in model.graph.initializer:
        proto.name += "'"
    for node in model.graph.node:
        node.input[1:] = [f"{name}'" for name in node.input[1:]]
    return save(model, out)


def test_positive_rescaling_through_an_activation_costs_nothing(
    enrolled: tuple[Path, list[Record]], tmp_path: Path
) -> None:
    """Rows are divided by their scale; columns are put into the unit of enrolment where the anchors say that they were rescaled."""
    marked, records = enrolled
    path = equalised(folded(marked, tmp_path / "f.onnx"), tmp_path / "e.onnx")
    for before, after in zip(verdicts(marked, records), verdicts(path, records), strict=True):
        assert after.decision == "traced"
        assert after.effect == pytest.approx(before.effect, abs=0.01)
    without = [
        replace(r, arrays={n: a for n, a in r.arrays.items() if n not in ("channels", "balanced")}) for r in records
    ]
    assert verdicts(path, without[1:])[0].effect < 0.95, "it is the columns that make the difference"


def test_damaged_magnitudes_of_columns_are_refused(enrolled: tuple[Path, list[Record]]) -> None:
    """They are positive numbers, as many as the slot table says: of channels, and of columns in older records."""
    _, (mark, _) = enrolled
    for record, name in ((mark, "channels"), (by_columns(mark, enrolled[0]), "columns")):
        count = record.arrays[name].size
        assert len(columns_of(record)) == 3
        for change in (np.ones(count - 1, "<f4"), np.zeros(count, "<f4"), np.full(count, np.inf, "<f4")):
            with pytest.raises(UnreadableRecord):
                columns_of(replace(record, arrays={**record.arrays, name: change}))


def by_columns(record: Record, path: Path) -> Record:
    """The record as it was made before channels were kept: a magnitude of every column, in single precision."""
    with open_network(path) as network:
        scales = [column_scales(slot.array()) for slot in find_slots(network).slots]
    arrays = {name: array for name, array in record.arrays.items() if name != "channels"}
    return replace(record, arrays={**arrays, "columns": np.concatenate(scales).astype("<f4")})


def test_records_that_keep_columns_find_what_channels_find(enrolled: tuple[Path, list[Record]], tmp_path: Path) -> None:
    """Older records are read as they are; a network whose channels were rescaled is found by either."""
    marked, (_, trace) = enrolled
    path = equalised(folded(marked, tmp_path / "f.onnx"), tmp_path / "e.onnx")
    old = Record.from_bytes(by_columns(trace, marked).to_bytes())
    assert 9 * trace.arrays["channels"].size == old.arrays["columns"].size
    new, before = verdicts(path, [trace, old])
    assert (new.decision, before.decision) == ("traced", "traced")
    assert new.effect == pytest.approx(before.effect, abs=1e-3)
