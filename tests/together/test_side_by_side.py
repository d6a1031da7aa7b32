"""Records that are held against a candidate side by side get the answers that each gets alone."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxnnw.candidate import Anchors
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import CannotLook
from onnxnnw.gate.examining import Probe, examine_until
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.crowd import Crowd, crowd_key
from onnxnnw.matching.crowd_matches import match_crowd
from onnxnnw.matching.match import Match, Wanted, match_slots
from onnxnnw.matching.slot_scales import SlotScales
from onnxnnw.methods.rtw import RtwInsertion
from onnxnnw.network_file.file import open_network
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record_file import save_record
from onnxnnw.together import prepared
from onnxnnw.together.prepared import PreparedRecords
from onnxnnw.verification import looking
from onnxnnw.verification.examiner import Examiner
from onnxnnw.verification.named_records import NamedRecord, named_record
from onnxnnw.verification.verdict import Verdict
from tests.support import calibration_networks as networks
from tests.support import marks
from tests.support.disguises import permuted, rescaled
from tests.support.networks import dense, save

STRANGERS = 14
"""Networks of one layout with a fingerprint each, whose slots are found by content where they are found at all."""

Arrays = dict[str, np.ndarray]


def _weights(seed: int) -> Arrays:
    model = dense(layers=3, width=48, seed=seed)
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def _network(weights: Arrays, path: Path, rename: Callable[[str], str] = lambda name: name) -> Path:
    """x -> (MatMul, Add, Relu) -> … -> y, whatever the widths."""
    nodes, value, layers = [], "x", sum(name.startswith("w") for name in weights)
    for n in range(layers):
        out = "y" if n == layers - 1 else f"h{n}"
        nodes.append(helper.make_node("MatMul", [value, rename(f"w{n}")], [f"m{n}"]))
        nodes.append(helper.make_node("Add", [f"m{n}", rename(f"b{n}")], [f"a{n}"]))
        nodes.append(helper.make_node("Relu", [f"a{n}"], [out]))
        value = out
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", weights["w0"].shape[0]), ("y", weights[f"w{layers - 1}"].shape[1]))
    ]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(v), rename(k)) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def _in_two(weights: Arrays, path: Path) -> Path:
    """Its second layer as two products side by side, each of half of the columns."""
    model = onnx.load(_network(weights, path))
    left, right = np.split(weights["w1"], 2, axis=1)
    product = next(node for node in model.graph.node if "w1" in node.input)
    nodes = []
    for node in model.graph.node:
        if node is product:
            nodes.append(helper.make_node("MatMul", [node.input[0], "left"], ["l"]))
            nodes.append(helper.make_node("MatMul", [node.input[0], "right"], ["r"]))
            nodes.append(helper.make_node("Concat", ["l", "r"], [node.output[0]], axis=1))
        else:
            nodes.append(node)
    tensors = [t for t in model.graph.initializer if t.name != "w1"]
    tensors += [numpy_helper.from_array(np.ascontiguousarray(v), n) for n, v in (("left", left), ("right", right))]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensors)
    return save(model, path)


def _int8(values: np.ndarray) -> np.ndarray:
    step = np.abs(values).max() / 127
    return (np.round(values / step) * step).astype(np.float32)


def _with(weights: Arrays, **changed: np.ndarray) -> Arrays:
    return {**weights, **{name: np.asarray(value, np.float32) for name, value in changed.items()}}


_RNG = np.random.default_rng(5)
_ORDER, _FACTORS = _RNG.permutation(48), np.exp(_RNG.standard_normal(48)).astype(np.float32)
_NOISE = _RNG.normal(0, 0.05, (48, 48)).astype(np.float32)

CANDIDATES: dict[str, Callable[[Path, Path], Path]] = {
    "the network": lambda folder, path: folder / "0.onnx",
    "a mark that replaced": lambda folder, path: folder / "replaced.onnx",
    "a mark that was added": lambda folder, path: folder / "added.onnx",
    "a mark of a layer": lambda folder, path: folder / "layer.onnx",
    "renamed": lambda folder, path: _network(_weights(0), path, lambda name: f"{name[0]}x{name[1:]}"),
    "noisy": lambda folder, path: _network(_with(_weights(1), w0=_weights(1)["w0"] + _NOISE), path),
    "eight bits": lambda folder, path: _network({k: _int8(v) for k, v in _weights(2).items()}, path),
    "one layer of it": lambda folder, path: _network(_with(_weights(99), w2=_weights(3)["w2"]), path),
    "layers of two": lambda folder, path: _network(
        _with(_weights(4), w1=_weights(5)["w2"], w0=_weights(6)["w0"].T), path
    ),
    "in another order": lambda folder, path: _network(
        _with(_weights(0), w0=_weights(0)["w0"][:, _ORDER], w1=_weights(0)["w1"][_ORDER]), path
    ),
    "rescaled": lambda folder, path: _network(
        _with(_weights(0), w0=_weights(0)["w0"] * _FACTORS, w1=_weights(0)["w1"] / _FACTORS[:, None]), path
    ),
    "the opposite sign": lambda folder, path: _network(_with(_weights(0), w1=-_weights(0)["w1"]), path),
    "in two pieces": lambda folder, path: _in_two(_weights(0), path),
    "with NaN": lambda folder, path: _network(_with(_weights(7), w1=np.full((48, 48), np.nan)), path),
    "constant": lambda folder, path: _network(_with(_weights(8), w0=np.full((48, 48), 0.5)), path),
    "a stranger": lambda folder, path: _network(_weights(99), path),
    "a stranger of other names": lambda folder, path: _network(_weights(98), path, lambda name: f"n{name}"),
    "a stranger of another layout": lambda folder, path: save(dense(layers=2, width=64, seed=97), path),
    "a stranger of six layers": lambda folder, path: save(dense(layers=6, width=48, seed=96), path),
}
FEW = ("the network", "renamed", "in two pieces", "a stranger", "a stranger of six layers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of many networks of one layout, of one network several, of another layout, and of every kind of mark."""
    place = tmp_path_factory.mktemp("together")
    for seed in range(STRANGERS):
        path = _network(_weights(seed), place / f"{seed}.onnx")
        fingerprint(path, place / f"{seed:02}.record", key=networks.key(seed))
    for n in range(3):
        fingerprint(place / "1.onnx", place / f"kin{n}.record", key=networks.key(100 + n))
        other = save(dense(layers=2, width=64, seed=50 + n), place / f"other{n}.onnx")
        fingerprint(other, place / f"other{n}.record", key=networks.key(200 + n))
    for n, name in enumerate(("replaced", "added")):
        for copy in range(2):
            end = "" if not copy else "2"
            key = networks.key(300 + 2 * n + copy)
            out = place / f"{name}{end}.onnx"
            embed(place / f"{3 + copy}.onnx", out, place / f"{name}{end}.record", insertion=name, key=key)
    draft = marks.drafted(place / "5.onnx", RtwInsertion(bits=12))
    save_record(marks.marked_with_rtw(place / "5.onnx", place / "layer.onnx", draft), place / "layer.record")
    return place


def _records(folder: Path) -> list[NamedRecord]:
    from onnxnnw.verification.named_records import load_records

    named, _ = load_records(folder)
    return named


def _verdicts(path: Path, records: Sequence[NamedRecord]) -> tuple[list[Verdict], Examiner]:
    with open_network(path) as network:
        examiner = Examiner(network, records, 1e-6, False)
        found, failed = examiner.verdicts()
    assert not failed
    return found, examiner


def _said(verdict: Verdict) -> tuple[object, ...]:
    return (verdict.record, verdict.decision, verdict.read, verdict.absent, verdict.path, verdict.standard.retrieved)


@pytest.mark.parametrize("what", [w if w in FEW else pytest.param(w, marks=pytest.mark.slow) for w in CANDIDATES])
def test_each_record_says_what_it_says_alone(
    what: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decision, p, effect, what was read, and the order of all; of the best every field."""
    path = CANDIDATES[what](folder, tmp_path / "candidate.onnx")
    records = _records(folder)
    together, examiner = _verdicts(path, records)
    assert examiner.prepared is not None
    with monkeypatch.context() as patch:
        patch.setattr(looking, "FEW", 10**9)
        alone, lonely = _verdicts(path, records)
    assert lonely.prepared is None
    assert [_said(verdict) for verdict in together] == [_said(verdict) for verdict in alone]
    for field in ("log10_p", "effect"):
        expected = [getattr(verdict, field) for verdict in alone]
        assert [getattr(verdict, field) for verdict in together] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert together[0].to_json() == alone[0].to_json()
    assert together[19].to_json() == alone[19].to_json()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["the network", "renamed", "a mark that replaced", "a stranger"])
def test_prepared_records_serve_one_candidate_after_the_other(
    what: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether what depends on records alone is kept or made anew, and in groups of whatever size; a policy's answers, too."""
    path = CANDIDATES[what](folder, tmp_path / "candidate.onnx")
    records = _records(folder)
    probes = [Probe(named) for named in records]
    answers = []
    kept = PreparedRecords([named.record for named in records])
    for at_once, room in ((256, 10**9), (256, 0), (3, 10**9), (1, 0)):
        monkeypatch.setattr(prepared, "AT_ONCE", at_once)
        monkeypatch.setattr(prepared, "KEPT", room)
        for known in (kept, kept, PreparedRecords([named.record for named in records]), None):
            found = examine_until(path, records, probes, (), 1e-6, False, lambda verdict: False, prepared=known)
            answers.append([(v.record, v.decision, round(v.log10_p, 8)) for v in found.verdicts])
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == len(records)


def test_what_cannot_be_read_is_an_error_either_way(folder: Path, tmp_path: Path) -> None:
    """However many records there are."""
    (tmp_path / "candidate.onnx").write_bytes((folder / "0.onnx").read_bytes()[:500])
    with pytest.raises(CannotLook):
        _verdicts(tmp_path / "candidate.onnx", _records(folder))


def test_a_damaged_record_among_many_is_named_as_ever(folder: Path, tmp_path: Path) -> None:
    """What contradicts itself is in no group, and the others are answered."""
    from dataclasses import replace

    records = _records(folder)
    broken = replace(records[2].record, parameters={**records[2].record.parameters, "anchors": 0})
    several = [*records[:2], NamedRecord(broken, "broken", "0" * 64), *records[3:]]
    with open_network(folder / "0.onnx") as network:
        found, failed = Examiner(network, several, 1e-6, False).verdicts()
    assert len(found) == len(records) - 1
    assert len(failed) == 1
    assert failed[0].startswith("broken: ")


# --- the laws below it ------------------------------------------------------------------------------------------------


def _same(one: Match | None, other: Match | None) -> bool:
    if one is None or other is None:
        return one is other
    said = [(m.slot, m.transposed, m.sign, m.reading, m.folded, m.columns is None) for m in (one, other)]
    return said[0] == said[1] and one.agreement == pytest.approx(other.agreement, rel=1e-9)


@pytest.mark.parametrize("what", [w if w in FEW else pytest.param(w, marks=pytest.mark.slow) for w in CANDIDATES])
def test_a_crowd_is_matched_as_each_of_it(what: str, folder: Path, tmp_path: Path) -> None:
    """Slot by slot the same counterpart; and most records of strangers need no search of their own."""
    path = CANDIDATES[what](folder, tmp_path / "candidate.onnx")
    records = [named_record(folder / f"{seed:02}.record").record for seed in range(STRANGERS)]
    groups: dict[object, list[list[Wanted]]] = {}
    for record in records:
        wanted = Anchors(record).wanted()
        groups.setdefault(crowd_key(wanted), []).append(wanted)
    answered = 0
    with open_network(path) as network:
        view = find_slots(network)
        for several in groups.values():
            found = match_crowd(Crowd(several), view.slots, SlotScales())
            for wanted, matches in zip(several, found, strict=True):
                if matches is None:
                    continue
                answered += 1
                expected = match_slots(wanted, view.slots)
                assert all(_same(one, other) for one, other in zip(matches, expected, strict=True))
    assert answered >= STRANGERS - (4 if "stranger" in what else 9)


@pytest.mark.slow
@pytest.mark.parametrize("change", [None, permuted, rescaled, lambda w, rng: networks.noisy(w, 0.3)])
def test_convolutions_are_matched_as_each_of_them(change: Callable | None, tmp_path: Path) -> None:
    """With normalisations that multiply rows, kernels, and slots of several shapes that could be parts of each other."""
    records = []
    for seed in range(4):
        path = networks.save(networks.trained_weights(seed), tmp_path / f"{seed}.onnx")
        records.append(fingerprint(path, tmp_path / f"{seed}.record", key=networks.key(seed)).record)
    weights = networks.trained_weights(9 if change is None else 0)
    weights = weights if change is None else change(weights, np.random.default_rng(3))
    candidate = networks.save(weights, tmp_path / "candidate.onnx", lambda name: f"n{name}")
    several = [Anchors(record).wanted() for record in records]
    assert len({crowd_key(wanted) for wanted in several}) == 1
    with open_network(candidate) as network:
        view = find_slots(network)
        found = match_crowd(Crowd(several), view.slots, SlotScales())
        assert sum(matches is not None for matches in found) >= 3
        for wanted, matches in zip(several, found, strict=True):
            expected = match_slots(wanted, view.slots)
            assert matches is None or all(_same(one, other) for one, other in zip(matches, expected, strict=True))


def test_groups_are_of_one_table_and_hold_every_record(folder: Path) -> None:
    """Each record that can be read is in one group, beside records that differ in nothing but numbers."""
    records = [named.record for named in _records(folder)]
    several = PreparedRecords(records)
    groups = [group for batch in sorted({several.batch_of(r) for r in records}) for group in several.groups(batch)]
    members = [record for group in groups for record in group.records]
    assert sorted(map(id, members)) == sorted(map(id, records))
    for group in groups:
        assert len({record.slots for record in group.records}) == 1
        assert group.fingerprints is None or len({plan_of(r).positions.size for r in group.records}) == 1
