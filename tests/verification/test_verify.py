"""The laws of a verdict: which relation is claimed when, and that the path to it does not matter."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.owner import Owner
from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record, save_record
from onnxnnw.statistics import required_reads
from onnxnnw.verification import looking
from onnxnnw.verification import verify as verification
from onnxnnw.verification.named_records import named_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import search, verify
from tests.support import calibration_networks as networks


@dataclass(frozen=True)
class Case:
    """A network with its marked copy and both records."""

    original: Path
    marked: Path
    watermark: Record
    fingerprint: Record


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Enrolled under fixed keys; the mark as strong as in a network with weights enough."""
    folder = tmp_path_factory.mktemp("verification")
    original = networks.save(networks.trained_weights(), folder / "network.onnx")
    mark = embed(original, folder / "marked.onnx", folder / "mark.json", key=networks.key(1), strength=0.4).record
    trace = fingerprint(original, folder / "trace.json", key=networks.key(2)).record
    return Case(original, folder / "marked.onnx", mark, trace)


def decide(path: Path, record: Record, **options: object) -> Verdict:
    """The verdict on one candidate."""
    (verdict,) = verify(path, [record], **options)  # type: ignore[arg-type]
    return verdict


def names(verdict: Verdict) -> set[str]:
    """Names of the findings."""
    return {finding.name for finding in verdict.findings}


def test_the_marked_network_is_traced_on_the_fast_path(case: Case) -> None:
    """Nothing happened: all N read, everything explained, p far below the rate."""
    verdict = decide(case.marked, case.watermark)
    assert (verdict.decision, verdict.path) == ("traced", "fast")
    assert (verdict.read, verdict.coverage, verdict.account.estimate) == (512, 1.0, 1.0)
    assert 0.99 < verdict.explained < 1.0  # a sample, with its limit
    assert verdict.account.unexplained == 0
    assert verdict.log10_p < -70
    assert verdict.effect > 0.9
    assert "unchanged" in names(verdict)


@pytest.mark.parametrize("kind", ["watermark", "fingerprint"])
def test_identical_is_said_only_when_the_digest_was_asked_for(case: Case, kind: str) -> None:
    """The digest alone may say identical; without it the same file is traced and unchanged at the key's positions."""
    record, path = getattr(case, kind), case.marked if kind == "watermark" else case.original
    assert decide(path, record).decision == "traced"
    assert decide(path, record, full=True).decision == "identical"


def test_identical_survives_new_names_and_falls_with_one_bit(case: Case, tmp_path: Path) -> None:
    """The digest sees through names and storage, and no further."""
    weights = networks.read(case.marked)
    renamed = networks.save(weights, tmp_path / "renamed.onnx", rename=lambda name: f"t/{name}")
    assert decide(renamed, case.watermark, full=True).decision == "identical"
    flat = weights["fc.weight"].reshape(-1)
    flat[5] = np.nextafter(flat[5], np.float32(9))
    assert decide(networks.save(weights, tmp_path / "bit.onnx"), case.watermark, full=True).decision == "traced"


def test_a_digest_written_into_a_record_does_not_make_networks_identical(case: Case, tmp_path: Path) -> None:
    """The digest is bound by nothing, so it is believed only where the weights at the positions say the same."""
    stranger = networks.save(networks.trained_weights(seed=5), tmp_path / "stranger.onnx")
    digest = fingerprint(stranger, tmp_path / "r.json").record.derived["digest"]
    for record in (case.watermark, case.fingerprint):
        assert decide(stranger, record.with_derived(digest=digest), full=True).decision == "not traced"


def test_the_same_network_without_the_mark_is_not_traced_and_named_as_such(case: Case) -> None:
    """The anchors agree, the mark is not there."""
    verdict = decide(case.original, case.watermark)
    assert verdict.decision == "not traced"
    assert "same network without this mark" in names(verdict)
    assert verdict.account.estimate == 1.0


def test_another_network_of_the_same_shape_is_not_traced(case: Case, tmp_path: Path) -> None:
    """Names and shapes agree, nothing else: read, not explained, and not called the same network."""
    path = networks.save(networks.trained_weights(seed=5), tmp_path / "stranger.onnx")
    for record in (case.watermark, case.fingerprint):
        verdict = decide(path, record)
        assert (verdict.decision, verdict.read) == ("not traced", 512)
        assert verdict.explained < 0.25  # a slot agrees by chance two to four times in a thousand
        assert "same network without this mark" not in names(verdict)


def test_a_mark_whose_slots_do_not_exist_is_absent(case: Case, tmp_path: Path) -> None:
    """All weights were understood and none corresponds: that is an answer, not a failure to look."""
    shapes = {name: (shape[0] + 2, *shape[1:]) if name == "fc.weight" else shape for name, shape in SMALLER.items()}
    path = networks.save(networks.trained_weights(1, shapes), tmp_path / "other.onnx")
    verdict = decide(path, case.watermark)
    assert (verdict.decision, verdict.read, verdict.absent, verdict.unread) == ("not traced", 0, 512, 0)
    assert verdict.log10_p == 0


SMALLER = {
    name: tuple(8 * (n // 8) // 2 if n % 16 == 0 else n for n in shape) for name, shape in networks.SHAPES.items()
}


def with_foreign_operator(model: onnx.ModelProto) -> onnx.ModelProto:
    """The last layer is now done by an operator that nobody knows."""
    node = next(n for n in model.graph.node if n.op_type == "Gemm")
    node.op_type, node.domain = "MysteryGemm", "vendor"
    del node.attribute[:]
    model.opset_import.append(helper.make_opsetid("vendor", 1))
    return model


def test_what_could_not_be_read_is_not_called_absent(case: Case, tmp_path: Path) -> None:
    """What an operator that is not understood could hold is unread; what is too large for it is absent."""
    shapes = {**SMALLER, "fc.weight": (10, 32)}
    for extra, decision in ((0, "not traced"), (20_000, "inconclusive")):
        model = with_foreign_operator(networks.network_of(networks.trained_weights(1, shapes)))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(extra, np.float32), "opaque"))
        next(node for node in model.graph.node if node.op_type == "MysteryGemm").input.append("opaque")
        onnx.save(model, tmp_path / "foreign.onnx")
        verdict = decide(tmp_path / "foreign.onnx", case.watermark)
        assert (verdict.decision, verdict.read) == (decision, 0)
        assert verdict.absent + verdict.unread == 512
        assert verdict.unread == 512 if extra else verdict.absent >= 164
        assert verdict.not_understood


@pytest.mark.parametrize(("positions", "decision"), [(163, "inconclusive"), (164, "not traced")])
def test_absence_needs_as_many_reads_as_the_rate_demands(positions: int, decision: str, tmp_path: Path) -> None:
    """Below n_min nothing negative is said."""
    path = networks.save(networks.trained_weights(), tmp_path / "network.onnx")
    record = networks.enrolled(path, watermark=True, positions=positions)
    assert required_reads(1e-6) == 164
    assert decide(path, record).decision == decision
    assert decide(path, record, rate=0.01).decision == "not traced"


def test_a_part_of_the_network_is_traced_with_its_coverage(case: Case, tmp_path: Path) -> None:
    """What was cut away lowers the coverage and is reported; the rest carries the verdict."""
    model = onnx.load(case.marked)
    keep = next(n for n in model.graph.node if n.output[0] == "block3.conv1.weight.out").output[0]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(keep, onnx.TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "part.onnx")
    verdict = decide(tmp_path / "part.onnx", case.watermark)
    assert verdict.decision == "traced"
    assert 0.3 < verdict.coverage < 0.7
    assert verdict.absent == 512 - verdict.read
    assert verdict.account.estimate == 1.0
    assert "missing" in names(verdict)


def test_weights_that_the_record_does_not_explain_are_reported(case: Case, tmp_path: Path) -> None:
    """A stranger's layers beside the marked ones: traced, but explained only in part, and the gate can refuse it."""
    model = onnx.load(case.marked)
    other = np.random.default_rng(1).standard_normal((64, 2_000)).astype(np.float32)
    back = np.random.default_rng(2).standard_normal((2_000, 10)).astype(np.float32)
    model.graph.initializer.extend([numpy_helper.from_array(other, "wide"), numpy_helper.from_array(back, "back")])
    model.graph.node.extend(
        [
            helper.make_node("MatMul", ["flat", "wide"], ["w1"]),
            helper.make_node("MatMul", ["w1", "back"], ["w2"]),
            helper.make_node("Add", ["w2", "scores"], ["both"]),
        ]
    )
    model.graph.output[0].name = "both"
    onnx.save(model, tmp_path / "grafted.onnx")
    verdict = decide(tmp_path / "grafted.onnx", case.watermark)
    assert verdict.decision == "traced"
    assert 0.2 < verdict.explained < 0.5
    assert "added" in names(verdict)
    assert verdict.meets("traced")
    assert not verdict.meets("traced", min_explained=0.95)


def test_names_and_shapes_alone_explain_nothing(case: Case, tmp_path: Path) -> None:
    """Slots whose anchors do not agree are not explained, whatever they are called."""
    weights = networks.read(case.marked)
    weights["block3.conv2.weight"] = networks.trained_weights(seed=8)["block3.conv2.weight"]
    verdict = decide(networks.save(weights, tmp_path / "mixed.onnx"), case.watermark)
    assert verdict.decision == "traced"
    assert verdict.account.estimate == pytest.approx(1 - 36_864 / sum(w.size for w in weights.values()), abs=1e-3)


def test_every_record_that_is_tried_multiplies_the_p_value(case: Case, tmp_path: Path) -> None:
    """R records, R times the p-value, and R times more evidence wanted for traced."""
    alone = decide(case.marked, case.watermark)
    others = [replace(case.watermark, key=networks.key(100 + n)) for n in range(9)]
    best, *rest = verify(case.marked, [*others, case.watermark])
    assert best.decision == "traced"
    assert best.log10_p == pytest.approx(alone.log10_p + 1)
    assert not any(verdict.decision in ("traced", "identical") for verdict in rest)
    rate = 10 ** (alone.log10_p + 0.5)
    assert decide(case.marked, case.watermark, rate=rate).decision == "traced"
    assert all(v.decision != "traced" for v in verify(case.marked, [*others, case.watermark], rate=rate))


def test_a_folder_of_records_gives_the_best_match(case: Case, tmp_path: Path) -> None:
    """The right record comes first, and what is no record is named."""
    for number in range(3):
        save_record(replace(case.watermark, key=networks.key(50 + number)), tmp_path / f"{number}.json")
    save_record(case.watermark, tmp_path / "right.json")
    (tmp_path / "notes.txt").write_text("no record")
    found = search(case.marked, tmp_path)
    assert found.best.record == "right.json"
    assert [verdict.decision == "traced" for verdict in found.verdicts] == [True, False, False, False]
    assert "notes.txt" in found.unreadable[0]
    assert found.seconds_per_record > 0


def test_a_record_that_lacks_what_its_method_needs_stops_no_search(case: Case, tmp_path: Path) -> None:
    """It is named beside the answer; alone it is an error that names the file."""
    arrays = {name: array for name, array in case.fingerprint.arrays.items() if name != "values"}
    folder = tmp_path / "records"
    folder.mkdir()
    save_record(case.watermark, folder / "good.json")
    save_record(replace(case.fingerprint, arrays=arrays), folder / "lacking.json")
    save_record(replace(case.fingerprint, method="nct2"), folder / "newer.json")
    found = search(case.marked, folder)
    assert [(v.decision, v.record) for v in found.verdicts] == [("traced", "good.json")]
    assert sorted(reason.partition(":")[0] for reason in found.unreadable) == ["lacking.json", "newer.json"]
    with pytest.raises(UnreadableRecord, match=r"lacking\.json: .*values"):
        verify(case.marked, [named_record(folder / "lacking.json")])
    (folder / "good.json").unlink()
    with pytest.raises(UnreadableRecord, match="no record that can be examined"):
        search(case.marked, folder)


def test_among_records_that_are_traced_the_likest_is_the_best(case: Case, tmp_path: Path) -> None:
    """More positions make a smaller p, not a closer relative; and a gate opens for any record that is good enough."""
    weights = networks.trained_weights()
    rng = np.random.default_rng(5)
    predecessor = {name: w + rng.normal(0, 2 * w.std(), w.shape).astype(w.dtype) for name, w in weights.items()}
    folder = tmp_path / "records"
    folder.mkdir()
    path = networks.save(predecessor, tmp_path / "predecessor.onnx")
    fingerprint(path, folder / "a.json", positions=8000, key=networks.key(7))
    fingerprint(case.original, folder / "b.json", positions=150, key=networks.key(8))
    found = search(case.original, folder)
    assert [v.decision for v in found.verdicts] == ["traced", "traced"]
    assert found.best.record == "b.json"
    assert found.verdicts[1].log10_p < found.best.log10_p
    assert found.meets("traced", 0.95)


def test_a_layer_of_one_value_is_explained(tmp_path: Path) -> None:
    """Its anchors cannot correlate, but they are the very same numbers; and one ulp more is JSON all the same."""
    weights = networks.trained_weights()
    name = next(iter(weights))
    weights[name] = np.full_like(weights[name], 0.5)
    path = networks.save(weights, tmp_path / "network.onnx")
    record = fingerprint(path, tmp_path / "f.json", key=networks.key(9)).record
    for full in (False, True):
        verdict = decide(path, record, full=full)
        assert verdict.account.estimate == 1.0
        assert "missing" not in names(verdict)
    weights[name] = np.nextafter(weights[name], np.float32(1))
    moved = decide(networks.save(weights, tmp_path / "moved.onnx"), record)
    json.dumps(moved.to_json(), allow_nan=False)


def test_a_commitment_refuses_any_other_record(case: Case, tmp_path: Path) -> None:
    """Only the file whose SHA-256 was published is accepted, and the verdict repeats it."""
    commitment = save_record(case.watermark, tmp_path / "right.json")
    save_record(case.fingerprint, tmp_path / "wrong.json")
    named = named_record(tmp_path / "right.json", commitment)
    (verdict,) = verify(case.marked, [named])
    assert verdict.evidence.commitment == commitment
    with pytest.raises(UnreadableRecord, match="committed"):
        named_record(tmp_path / "wrong.json", commitment)


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_wrong_usage(case: Case, rate: float) -> None:
    """Refused before anything is read."""
    with pytest.raises(UsageError):
        decide(case.marked, case.watermark, rate=rate)


Change = Callable[[networks.Weights], networks.Weights]


def half(weights: networks.Weights) -> networks.Weights:
    """Stored as float16."""
    return {name: array.astype(np.float16) for name, array in weights.items()}


def rescaled(weights: networks.Weights) -> networks.Weights:
    """Every out-row multiplied by its own factor, as folding a normalisation does."""
    rng = np.random.default_rng(4)
    return {
        n: (a * np.exp(1.5 * rng.standard_normal((len(a), *[1] * (a.ndim - 1))))).astype(np.float32)
        for n, a in weights.items()
    }


CHANGES: dict[str, Change] = {
    "nothing": lambda weights: weights,
    "noise 0.1": lambda weights: networks.noisy(weights, 0.1),
    "noise 1": lambda weights: networks.noisy(weights, 1),
    "noise 4": lambda weights: networks.noisy(weights, 4),
    "noise 12": lambda weights: networks.noisy(weights, 12),
    "pruned 50 %": lambda weights: networks.pruned(weights, 0.5),
    "pruned 95 %": lambda weights: networks.pruned(weights, 0.95),
    "8 bits": lambda weights: networks.quantised(weights, 8),
    "4 bits": lambda weights: networks.quantised(weights, 4),
    "2 bits": lambda weights: networks.quantised(weights, 2),
    "float16": half,
    "rescaled rows": rescaled,
    "constant": networks.constant,
    "heavy-tailed": networks.heavy_tailed,
    "not a number": lambda weights: {n: np.where(a > 0, a, np.float32("nan")) for n, a in weights.items()},
    "another network": lambda weights: networks.trained_weights(seed=31),
}


@pytest.mark.parametrize("kind", ["watermark", "fingerprint"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_path_never_decides_the_relation(
    case: Case, kind: str, change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With or without the fast path the relation is the same, and the fast path says nothing but traced."""
    record, source = getattr(case, kind), case.marked if kind == "watermark" else case.original
    path = networks.save(change(networks.read(source)), tmp_path / "candidate.onnx")
    either = decide(path, record)
    assert either.path == "thorough" or either.decision == "traced"
    monkeypatch.setattr(verification, "short_cut", lambda *_: None)
    monkeypatch.setattr(looking, "slots_as_enrolled", lambda *_: None)
    thorough = decide(path, record)
    assert thorough.path == "thorough"
    assert thorough.decision == either.decision


@pytest.mark.parametrize(
    ("change", "decision"),
    [
        ("noise 1", "traced"), ("pruned 50 %", "traced"), ("8 bits", "traced"), ("4 bits", "traced"),
        ("float16", "traced"), ("rescaled rows", "traced"), ("constant", "not traced"),
        ("heavy-tailed", "not traced"), ("another network", "not traced"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["watermark", "fingerprint"])
def test_the_decision_on_known_modifications(case: Case, kind: str, change: str, decision: str, tmp_path: Path) -> None:
    """What deployment does leaves the origin traceable; what is another network is not traced."""
    record, source = getattr(case, kind), case.marked if kind == "watermark" else case.original
    path = networks.save(CHANGES[change](networks.read(source)), tmp_path / "candidate.onnx")
    assert decide(path, record).decision == decision


def test_renamed_and_transposed_weights_are_found_by_content(case: Case, tmp_path: Path) -> None:
    """New names and a Gemm that became a MatMul change nothing but the findings."""
    weights = networks.read(case.marked)
    rng = np.random.default_rng(0)
    other = {name: f"onnx::Conv_{n}" for name, n in zip(weights, rng.permutation(len(weights)), strict=True)}
    model = networks.network_of(weights, rename=other.__getitem__)
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    tensor = next(t for t in model.graph.initializer if t.name == gemm.input[1])
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights["fc.weight"].T), tensor.name))
    gemm.op_type = "MatMul"
    del gemm.attribute[:]
    onnx.save(model, tmp_path / "renamed.onnx")
    verdict = decide(tmp_path / "renamed.onnx", case.watermark)
    assert (verdict.decision, verdict.path, verdict.coverage) == ("traced", "thorough", 1.0)
    assert verdict.log10_p < -70
    assert {"renamed", "operator"} <= names(verdict)


def test_names_that_were_rotated_do_not_mislead(case: Case, tmp_path: Path) -> None:
    """A name whose anchors disagree while another slot's agree is refused."""
    weights = networks.read(case.marked)
    a, b = "block1.conv1.weight", "block1.conv2.weight"
    other = {**{name: name for name in weights}, a: b, b: a}
    path = networks.save(weights, tmp_path / "rotated.onnx", rename=other.__getitem__)
    verdict = decide(path, case.watermark)
    assert (verdict.path, verdict.effect) == ("thorough", pytest.approx(decide(case.marked, case.watermark).effect))


def test_marks_that_keep_clear_of_each_other_share_no_position(tmp_path: Path) -> None:
    """Three owners in turn: each avoids the others' positions, and every mark is read back bit for bit."""
    path = networks.save(networks.trained_weights(), tmp_path / "0.onnx")
    records: list[Record] = []
    for number, name in enumerate(("Architect", "Trainer", "Distributor"), start=1):
        out = tmp_path / f"{number}.onnx"
        made = embed(
            path, out, tmp_path / f"{number}.json", positions=2_000, owner=Owner(name, name), keep=records,
            key=networks.key(number),
        )  # fmt: skip
        assert made.shared_positions == 0
        records.append(load_record(tmp_path / f"{number}.json"))
        path = out
    for verdict in verify(path, records):
        assert verdict.decision == "traced"
        assert "unchanged" in names(verdict)
        assert "shared positions" not in names(verdict)
        assert verdict.role == verdict.actor


def test_marks_that_ignore_each_other_are_all_detected_and_shared_positions_counted(tmp_path: Path) -> None:
    """Without the others' records some positions are overwritten; that costs little and is reported."""
    path = networks.save(networks.trained_weights(), tmp_path / "0.onnx")
    records = []
    for number in (1, 2, 3):
        out = tmp_path / f"{number}.onnx"
        record = embed(path, out, tmp_path / f"{number}.json", positions=4_000, key=networks.key(number)).record
        records.append(record)
        path = out
    first = next(v for v in verify(path, records) if v.record == "record" and "other values" in names(v))
    assert {"other values", "shared positions"} <= names(first)
    assert all(verdict.decision == "traced" for verdict in verify(path, records))
    again = embed(tmp_path / "1.onnx", tmp_path / "again.onnx", tmp_path / "again.json", 4_000, keep=records[:1])
    assert again.shared_positions == 0


def test_a_weak_correlation_is_no_common_origin_however_significant(tmp_path: Path) -> None:
    """A fingerprint needs an effect of 0.25 beside its p-value."""
    path = networks.save(networks.trained_weights(), tmp_path / "network.onnx")
    record = networks.enrolled(path, watermark=False, positions=8_000)
    verdict = decide(networks.save(networks.noisy(networks.read(path), 5), tmp_path / "noisy.onnx"), record)
    assert verdict.log10_p < -20
    assert 0.05 < verdict.effect < 0.25
    assert verdict.decision == "not traced"


@pytest.mark.parametrize(
    "shared", [("block3.conv2.weight",), ("block3.conv1.weight", "block2.conv2.weight", "stem.weight")]
)
def test_a_few_identical_slots_do_not_carry_the_verdict_alone(
    case: Case, shared: tuple[str, ...], tmp_path: Path
) -> None:
    """Another network that shares some fixed constants is not related: the finding says how many slots are the same."""
    ours, theirs = networks.read(case.original), networks.trained_weights(seed=77)
    path = networks.save({**theirs, **{name: ours[name] for name in shared}}, tmp_path / "shares.onnx")
    record = networks.enrolled(case.original, watermark=False, positions=4_000)
    verdict = decide(path, record)
    assert verdict.decision == "not traced"
    assert any(f"shares {len(shared)} identical slots" in f.sentence for f in verdict.findings)


def test_a_frozen_trunk_is_a_common_origin(case: Case, tmp_path: Path) -> None:
    """Where the identical slots hold most of the weights, they do carry the verdict."""
    ours, theirs = networks.read(case.original), networks.trained_weights(seed=77)
    path = networks.save(
        {**ours, "fc.weight": theirs["fc.weight"], "stem.weight": theirs["stem.weight"]}, tmp_path / "t.onnx"
    )
    assert decide(path, case.fingerprint).decision == "traced"


def test_weights_that_are_not_numbers_are_left_out(case: Case, tmp_path: Path) -> None:
    """NaN and infinity are unreadable positions, never evidence."""
    weights = networks.read(case.marked)
    for array in weights.values():
        array[np.random.default_rng(1).random(array.shape) < 0.3] = np.nan
        array[np.random.default_rng(2).random(array.shape) < 0.1] = np.inf
    verdict = decide(networks.save(weights, tmp_path / "nan.onnx"), case.watermark)
    assert verdict.decision == "traced"
    assert 0.5 < verdict.coverage < 0.75
    everywhere = {name: np.full_like(array, np.nan) for name, array in weights.items()}
    verdict = decide(networks.save(everywhere, tmp_path / "all.onnx"), case.watermark)
    assert (verdict.decision, verdict.read, verdict.log10_p) == ("inconclusive", 0, 0)


def test_the_verdict_in_json_is_plain_and_secret_free(case: Case) -> None:
    """Documented keys, finite numbers, and nothing of the secret."""
    import json

    document = decide(case.marked, case.watermark).to_json()
    text = json.dumps(document, allow_nan=False)
    assert document["format"] == "onnxnnw/verdict/1"
    assert case.watermark.key.secret.hex() not in text
    assert repr(case.watermark).count("secret") == 0
