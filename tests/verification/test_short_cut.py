"""The short cut of a known skeleton: the verdict of the thorough path, or not taken."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.errors import CannotLook, UnreadableRecord
from onnxnnw.methods.control_reads import needs_no_controls
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.sources.limits import Budget, limited
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.short_cut import short_cut
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, externalise, model_of, save, tensor, weight
from tests.support.range_server import RangeServer

RESNET8 = Path(__file__).parent.parent.parent / "models" / "resnet8.onnx"
Written = Callable[[Path], Path]


def short(candidate: Path | str, record: Record) -> Verdict | None:
    """The short cut's verdict."""
    found = shorts(candidate, record)
    return None if found is None else found[0]


def shorts(candidate: Path | str, *records: Record) -> list[Verdict] | None:
    """Its verdicts against several records."""
    return short_cut(candidate, [NamedRecord(r, r.name or "record", r.commitment) for r in records], 1e-6)


def thorough(candidate: Path, record: Record) -> Verdict:
    """The verdict without it."""
    return verify(candidate, [record], thorough=True)[0]


NETWORKS: dict[str, Written] = {
    "embedded": lambda folder: save(dense(3, 64), folder / "m.onnx"),
    "float16": lambda folder: save(dense(3, 64, dtype="float16"), folder / "m.onnx"),
    "convolutions": lambda folder: Path(shutil.copy(RESNET8, folder / "m.onnx")),
    "external": lambda folder: externalise(dense(3, 64), folder, "m.onnx", lambda name: "m.data"),
    "two files": lambda folder: externalise(
        dense(3, 64), folder, "m.onnx", lambda name: {"w0": "a.data", "w1": "deep/b.data"}.get(name)
    ),
}


@pytest.fixture(params=NETWORKS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Record]:
    """A network with the record of its fingerprint."""
    (tmp_path / "model").mkdir()
    path = NETWORKS[request.param](tmp_path / "model")
    fingerprint(path, tmp_path / "r.record", 400)
    return path, load_record(tmp_path / "r.record")


def test_it_is_the_verdict_of_the_thorough_path(written: tuple[Path, Record]) -> None:
    """Word for word, for an unchanged copy; and the whole look confirms the index."""
    path, record = written
    found = short(path, record)
    assert found == thorough(path, record)
    assert found.decision == "traced"
    assert verify(path, [record])[0] == found
    assert verify(path, [record], full=True)[0].decision == "identical"


@pytest.mark.parametrize("insertion", ["added", "replaced"])
def test_a_marked_copy_has_one_too(insertion: str, tmp_path: Path) -> None:
    """The mark lies in slots alone, so the skeleton is known before it is written."""
    path = save(dense(3, 64), tmp_path / "m.onnx")
    embed(path, tmp_path / "marked.onnx", tmp_path / "w.record", 400, insertion=insertion)
    record = load_record(tmp_path / "w.record")
    found = short(tmp_path / "marked.onnx", record)
    assert found == thorough(tmp_path / "marked.onnx", record)
    assert found.decision == "traced"
    assert short(path, record) is None


def test_several_records_of_one_network_share_it(tmp_path: Path) -> None:
    """Word for word the verdicts of the thorough path, each p-value multiplied; of a mark, and of fingerprints before and after."""
    path, marked = save(dense(3, 64), tmp_path / "m.onnx"), tmp_path / "marked.onnx"
    embed(path, marked, tmp_path / "w.record", 400)
    for name, of in (("f", marked), ("g", marked)):
        fingerprint(of, tmp_path / f"{name}.record", 300)
    records = [load_record(tmp_path / f"{name}.record") for name in "fwg"]
    found = shorts(marked, *records)
    assert found is not None
    assert tuple(found) == verify(marked, records, thorough=True) == verify(marked, records)
    assert [verdict.decision for verdict in found] == ["traced"] * 3
    alone = {record.name: short(marked, record) for record in records}
    for verdict in found:
        single = alone[verdict.record]
        assert single is not None
        assert verdict.log10_p == pytest.approx(single.log10_p + np.log10(3), abs=1e-9)


def test_one_record_that_says_something_else_takes_the_thorough_path(tmp_path: Path) -> None:
    """Of a stranger, of the network before it was marked, without a skeleton; and more of them than are made whole."""
    path, marked = save(dense(3, 64), tmp_path / "m.onnx"), tmp_path / "marked.onnx"
    embed(path, marked, tmp_path / "w.record", 400)
    fingerprint(path, tmp_path / "before.record", 2000)
    fingerprint(save(dense(3, 64, seed=4), tmp_path / "o.onnx"), tmp_path / "other.record", 300)
    mark, before, other = (load_record(tmp_path / f"{name}.record") for name in ("w", "before", "other"))
    assert shorts(marked, mark) is not None
    for records in ([mark, other], [other, mark], [mark, before], [mark, replace(mark, skeleton=None)], [mark] * 21):
        assert shorts(marked, *records) is None
        assert verify(marked, records) == verify(marked, records, thorough=True)


def outside(record: Record, file: int) -> np.ndarray:
    """Every byte of a file that belongs to no slot."""
    gaps = record.skeleton.gaps(file, record.slots)
    return np.concatenate([np.arange(start, stop) for start, stop in gaps] or [np.empty(0, np.int64)])


def test_a_byte_outside_the_slots_ends_it(written: tuple[Path, Record]) -> None:
    """Each one that was tried, in the model and in its external files; whole, shorter and longer files."""
    path, record = written
    rng = np.random.default_rng(0)
    for number, (name, _) in enumerate(record.skeleton.files):
        file = path if not name else path.parent / name
        content = file.read_bytes()
        places = outside(record, number)
        for place in rng.permutation(places)[:60]:
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(changed)
            assert short(path, record) is None
        for changed in (content + b"\0", content[:-1], b""):
            file.write_bytes(changed)
            assert short(path, record) is None
        file.write_bytes(content)
    assert short(path, record) is not None


MUTATIONS: dict[str, Callable[[ModelProto], object]] = {
    "a gamma of zero": lambda m: m.graph.node.append(helper.make_node("Identity", ["y"], ["z"])),
    "a renamed node": lambda m: setattr(m.graph.node[0], "name", "other"),
    "a dead weight": lambda m: m.graph.initializer.append(weight("decoy", 64, 64, seed=3)),
    "another bias": lambda m: m.graph.initializer[1].CopyFrom(weight("b0", 64, seed=77)),
    "a bias of nothing": lambda m: m.graph.initializer[1].CopyFrom(tensor("b0", np.zeros(64, np.float32))),
    "a weight that may be replaced": lambda m: m.graph.input.append(helper.make_tensor_value_info("w0", 1, [64, 64])),
    "an output cut off": lambda m: m.graph.output[0].CopyFrom(helper.make_tensor_value_info("h0", 1, None)),
    "metadata": lambda m: m.metadata_props.add(key="a", value="b"),
    "another opset": lambda m: setattr(m.opset_import[0], "version", 20),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_outside_the_slots_gets_the_thorough_verdict(name: str, tmp_path: Path) -> None:
    """The law: equal to the thorough path, or not taken."""
    model = dense(3, 64)
    fingerprint(save(model, tmp_path / "m.onnx"), tmp_path / "r.record", 400)
    record = load_record(tmp_path / "r.record")
    MUTATIONS[name](model)
    path = save(model, tmp_path / "changed.onnx")
    assert short(path, record) in (None, thorough(path, record))
    assert verify(path, [record])[0] == thorough(path, record)


def test_a_mutation_inside_the_slots_is_seen_or_was_not_looked_at(written: tuple[Path, Record]) -> None:
    """One changed element in a hundred of all slots: the thorough path says what happened."""
    path, record = written
    rng = np.random.default_rng(0)
    for number, (name, _) in enumerate(record.skeleton.files):
        file = path if not name else path.parent / name
        content = bytearray(file.read_bytes())
        for offset, length in record.skeleton.extents(number, record.slots):
            for at in rng.integers(offset, offset + length, max(4, length // 400)).tolist():
                content[at] ^= 1
        file.write_bytes(content)
    assert short(path, record) in (None, thorough(path, record))
    assert verify(path, [record])[0] == thorough(path, record)


def linked(nodes: list, initializers: list) -> ModelProto:
    """A small network."""
    return model_of(nodes, initializers)


UNKNOWN: dict[str, Callable[[], ModelProto]] = {
    "a weight stored twice": lambda: linked(
        [
            helper.make_node("MatMul", ["x", "a"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "b"], ["y"]),
        ],
        [weight("a", 64, 64), weight("b", 64, 64)],
    ),
    "a dead weight": lambda: linked(
        [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        [weight("a", 64, 64), weight("b", 64, 64, seed=1)],
    ),
    "eight bits": lambda: linked(
        [
            helper.make_node("DequantizeLinear", ["a", "s"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["y"]),
        ],
        [tensor("a", np.random.default_rng(0).integers(-99, 99, (64, 64)).astype(np.int8)), tensor("s", np.float32(0.1))],
    ),
    "a slice of a weight": lambda: linked(
        [
            helper.make_node("Slice", ["a", "from", "to"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["y"]),
        ],
        [weight("a", 64, 64), tensor("from", np.array([8])), tensor("to", np.array([64]))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_more_could_be_said_nothing_is_kept(name: str, tmp_path: Path) -> None:
    """Such a record has no skeleton, and its bytes are those of older versions."""
    path = save(UNKNOWN[name](), tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "r.record", 300)
    record = load_record(tmp_path / "r.record")
    assert record.skeleton is None
    assert "skeleton" not in json.loads((tmp_path / "r.record").read_bytes())["bound"]


def test_an_index_that_lies_is_refused_by_the_whole_look(tmp_path: Path) -> None:
    """Two weights exchanged: each would be read where the other one is."""
    path = save(dense(3, 64), tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "r.record", 400)
    record = load_record(tmp_path / "r.record")
    one, two, *others = record.skeleton.slots
    forged = replace(record, skeleton=replace(record.skeleton, slots=(two, one, *others)))
    assert short(path, forged) is None  # its anchors are not there
    with pytest.raises(UnreadableRecord, match="is not that of the network"):
        verify(path, [forged], full=True)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.update(version=2), "unknown version"),
        (lambda s: s["slots"].pop(), "does not fit"),
        (lambda s: s["slots"].__setitem__(0, s["slots"][1]), "overlap"),
        (lambda s: s["slots"][0].__setitem__(1, 2**40), "outside"),
        (lambda s: s["slots"][0].__setitem__(1, -4), "impossible place"),
        (lambda s: s["slots"][0].__setitem__(0, 9), "impossible place"),
        (lambda s: s["slots"][0].__setitem__(2, 0), "impossible place"),
        (lambda s: s["files"].append(["../m", 3]), None),
        (lambda s: s["files"][0].__setitem__(0, "x"), "impossible files"),
        (lambda s: s.update(more=1), "unknown version"),
    ],
)
def test_a_damaged_index_is_refused(change: Callable[[dict], object], match: str | None, tmp_path: Path) -> None:
    """When the record is read; a place outside the model's folder when it is looked for."""
    path = save(dense(3, 64), tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "r.record", 400)
    document = json.loads((tmp_path / "r.record").read_bytes())
    change(document["bound"]["skeleton"])
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    if match is not None:
        with pytest.raises(UnreadableRecord, match=match):
            Record.from_bytes(content)
        return
    assert short(path, Record.from_bytes(content)) is None


def test_links_and_devices_are_no_external_files(tmp_path: Path) -> None:
    """The same rules as for every external file."""
    folder = tmp_path / "model"
    folder.mkdir()
    path = externalise(dense(3, 64), folder, "m.onnx", lambda name: "m.data")
    fingerprint(path, tmp_path / "r.record", 400)
    record = load_record(tmp_path / "r.record")
    shutil.move(folder / "m.data", tmp_path / "m.data")
    (folder / "m.data").symlink_to(tmp_path / "m.data")
    assert short(path, record) is None
    with pytest.raises(CannotLook, match="outside the model's folder"):
        verify(path, [record])


def test_little_is_read_behind_an_address(tmp_path: Path) -> None:
    """The skeleton, the positions, and few anchors of each slot; what the weights hold otherwise stays there."""
    embed(save(dense(6, 700), tmp_path / "m.onnx"), tmp_path / "again.onnx", tmp_path / "again.record", 256)
    record = load_record(tmp_path / "again.record")
    with RangeServer(tmp_path) as server, limited(Budget()) as budget:
        found = short(f"{server.url}/again.onnx", record)
        here = thorough(tmp_path / "again.onnx", record)
        assert found is not None
        assert (found.decision, found.log10_p, found.findings) == (here.decision, here.log10_p, here.findings)
        assert found.explained < here.explained
        assert budget.received < 400_000
        assert budget.requests < 256 + 6 * 8 + 30


def test_controls_of_a_fingerprint_are_not_asked_for(tmp_path: Path) -> None:
    """Where equal values at all positions leave no doubt that the controls are equal; the answer is the same."""
    path = save(dense(6, 700), tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "f.record", 256)
    record = load_record(tmp_path / "f.record")
    with RangeServer(tmp_path) as server, limited(Budget()) as budget:
        found = short(f"{server.url}/m.onnx", record)
    here = short(path, record)
    assert found is not None
    assert here is not None
    assert (found.decision, found.findings, found.effect) == (here.decision, here.findings, here.effect)
    assert found.log10_p == pytest.approx(here.log10_p, abs=1e-9)
    assert budget.received < 400_000
    assert budget.requests < 256 + 6 * 8 + 30


def test_they_are_asked_for_where_weights_are_alike(tmp_path: Path) -> None:
    """Of a network that is nearly all zeros, equal values say little of what stands beside them."""
    model = dense(6, 700)
    for one in model.graph.initializer:
        values = np.frombuffer(one.raw_data, "<f4").copy()
        values[np.random.default_rng(1).random(values.size) < 0.97] = 0
        one.raw_data = values.tobytes()
    path = save(model, tmp_path / "m.onnx")
    fingerprint(path, tmp_path / "f.record", 512)
    record = load_record(tmp_path / "f.record")
    assert not needs_no_controls(record)
    with RangeServer(tmp_path) as server, limited(Budget()) as budget:
        found = short(f"{server.url}/m.onnx", record)
    here = short(path, record)
    assert (found is None) == (here is None)
    assert found is None or here is None or (found.decision, found.log10_p) == (here.decision, here.log10_p)
    assert budget.received > 1_000_000


BESIDE: dict[str, Callable[[str], str | None]] = {
    "one file": lambda name: "m.data",
    "two files": lambda name: {"w0": "a.data", "w1": "deep/b.data"}.get(name, "a.data"),
    "some": lambda name: "m.data" if name == "w1" else None,
}


@pytest.mark.parametrize("insertion", ["added", "replaced"])
@pytest.mark.parametrize("name", BESIDE)
def test_a_copy_marked_beside_external_data_has_one(name: str, insertion: str, tmp_path: Path) -> None:
    """It is told where everything will lie before the mark is drawn; here, and behind an address."""
    for place in ("model", "out"):
        (tmp_path / place).mkdir()
    path = externalise(dense(3, 65), tmp_path / "model", "m.onnx", BESIDE[name])
    marked = tmp_path / "out" / "marked.onnx"
    embed(path, marked, tmp_path / "w.record", 300, insertion=insertion)
    record = load_record(tmp_path / "w.record")
    assert record.skeleton is not None
    assert [location for location, _ in record.skeleton.files] == ["", "marked.onnx.data"]
    found = short(marked, record)
    assert found == thorough(marked, record)
    assert found.decision == "traced"
    assert verify(marked, [record], full=True)[0].decision == "identical"
    assert short(path, record) is None
    with RangeServer(tmp_path / "out") as server:
        remote = short(f"{server.url}/marked.onnx", record)
    assert remote is not None
    assert (remote.decision, remote.log10_p) == (found.decision, found.log10_p)


def test_every_byte_beside_its_slots_counts(tmp_path: Path) -> None:
    """What lies between the tensors of an external file that was put together, and the model that leads there."""
    for place in ("model", "out"):
        (tmp_path / place).mkdir()
    path = externalise(dense(3, 65), tmp_path / "model", "m.onnx", BESIDE["two files"])
    marked = tmp_path / "out" / "marked.onnx"
    embed(path, marked, tmp_path / "w.record", 300)
    record = load_record(tmp_path / "w.record")
    assert len(outside(record, 1)) > 1000  # between the files that became one
    rng = np.random.default_rng(0)
    for number, (name, _) in enumerate(record.skeleton.files):
        file = marked if not name else marked.parent / name
        content = file.read_bytes()
        for place in rng.permutation(outside(record, number))[:40]:
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(changed)
            assert short(marked, record) is None
        file.write_bytes(content)
    assert short(marked, record) is not None


def test_a_copy_that_is_written_again_takes_another_place(tmp_path: Path) -> None:
    """An older copy's data stays while it is needed: the record names the place that was taken."""
    for place in ("model", "out"):
        (tmp_path / place).mkdir()
    path = externalise(dense(3, 65), tmp_path / "model", "m.onnx", BESIDE["one file"])
    marked = tmp_path / "out" / "marked.onnx"
    embed(path, marked, tmp_path / "first.record", 300)
    embed(path, marked, tmp_path / "w.record", 300)
    record = load_record(tmp_path / "w.record")
    assert record.skeleton is not None
    assert record.skeleton.files[1][0] != "marked.onnx.data"
    found = short(marked, record)
    assert found == thorough(marked, record)
    assert verify(marked, [load_record(tmp_path / "first.record")])[0].decision == "not traced"
