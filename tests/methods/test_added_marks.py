"""Marks that are added to weights: found with the host cancelled, felt by nobody, and never found where they are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxnnw.demo import shipped_network
from onnxnnw.enrolment.enrol import embed
from onnxnnw.enrolment.how_many import default_added_strength
from onnxnnw.errors import UsageError
from onnxnnw.methods import nct
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.records.key import Key
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record import FORMAT_WITH_HOST, Record
from onnxnnw.records.record_file import load_record
from onnxnnw.statistics import associate_added, required_reads
from onnxnnw.verification.verify import verify
from tests.support.networks import model_of, save, tensor

GOLDEN = Path(__file__).parents[1] / "golden"
N = onnx.helper.make_node


def marked(folder: Path, number: int = 0, **more: object) -> tuple[Path, Record]:
    """The shipped network with an added mark."""
    out, record = folder / f"marked-{number}.onnx", folder / f"{number}.record"
    with shipped_network() as original:
        embed(original, out, record, key=Key(f"added {number}".encode().ljust(32, b".")), **more)
    return out, load_record(record)


def matrices(folder: Path, first: NDArray[np.generic], second: NDArray[np.generic], name: str = "net") -> Path:
    nodes = [N("MatMul", ["x", "a"], ["h"]), N("Relu", ["h"], ["r"]), N("MatMul", ["r", "b"], ["y"])]
    return save(model_of(nodes, [tensor("a", first), tensor("b", second)]), folder / f"{name}.onnx")


def weights_of(path: Path) -> dict[str, NDArray[np.generic]]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


def values(seed: int, *shape: int) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_t(5, shape) * 0.05).astype("f4")


def test_only_the_mark_changes_and_by_little(tmp_path: Path) -> None:
    """N weights differ, each by a normal number of the mark's strength in its layer; the record is of format 2, with the host."""
    path, record = marked(tmp_path)
    with shipped_network() as original:
        before, after = weights_of(original), weights_of(path)
    changed = {name: np.flatnonzero(before[name].ravel() != after[name].ravel()) for name in before}
    assert sum(each.size for each in changed.values()) == record.number_of_positions == 512
    moves = np.concatenate([(after[n].ravel() - before[n].ravel())[at] / before[n].std() for n, at in changed.items()])
    strength = float(record.parameters["strength"])
    assert strength == default_added_strength(sum(w.size for w in before.values()), 512) < 0.4
    assert moves.std() == pytest.approx(strength, rel=0.1)
    assert record.format == FORMAT_WITH_HOST
    host = record.array("host")
    assert sorted(host.tolist()) == sorted(
        np.concatenate([before[n].ravel()[at] for n, at in changed.items()]).tolist()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modification", "parameters"),
    [
        ("gaussian-noise", {"ratio": 0.1}),
        ("gaussian-noise", {"ratio": 0.5}),
        ("magnitude-pruning", {"percentage": 50}),
        ("magnitude-pruning", {"percentage": 80}),
        ("quantization", {"bits": 8}),
        ("quantization", {"bits": 4}),
        ("watermark-overwriting", {"marks": 4}),
        ("runtime-optimization", {}),
        ("dynamic-quantization", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_mark_survives(tmp_path: Path, modification: str, parameters: dict[str, float]) -> None:
    """Traced at one in a million after what the standard and deployment do."""
    path, record = marked(tmp_path)
    apply(find_modification(modification)(**parameters), path, tmp_path / "changed.onnx")
    (verdict,) = verify(tmp_path / "changed.onnx", [record])
    assert verdict.decision == "traced"
    assert verdict.log10_p < (-20 if parameters != {"percentage": 80} else -6)  # which leaves no network of use
    assert verdict.standard.retrieved


def test_the_unmarked_original_is_told_from_the_copy(tmp_path: Path) -> None:
    """Not traced, and known as the network without this mark; nobody says that noise was added."""
    path, record = marked(tmp_path)
    with shipped_network() as original:
        (verdict,) = verify(original, [record], full=True)
    assert (verdict.decision, verdict.log10_p) == ("not traced", 0.0)
    said = [finding.name for finding in verdict.findings]
    assert "noise" not in said
    assert not any(finding.accuses for finding in verdict.findings)
    assert any("as they were before the mark" in finding.sentence for finding in verdict.findings)
    assert verify(path, [record], full=True)[0].decision == "identical"


def test_a_few_weights_as_they_were_say_nothing_of_the_rest(tmp_path: Path) -> None:
    """Of the unmarked original most positions cannot be read: that is no absence."""
    a, b = values(1, 200, 300), values(2, 300, 20)
    embed(matrices(tmp_path, a, b), tmp_path / "m.onnx", tmp_path / "r", 512)
    record = load_record(tmp_path / "r")
    hidden = a.copy()
    hidden[:] = np.nan
    (verdict,) = verify(matrices(tmp_path, hidden, b, "hidden"), [record])
    assert 25 < verdict.read < 164
    assert verdict.decision == "inconclusive"
    (verdict,) = verify(matrices(tmp_path, a, b, "whole"), [record])
    assert verdict.decision == "not traced"


def test_another_key_and_a_stranger_are_not_traced(tmp_path: Path) -> None:
    """Another copy of the same host, and a network of the same shapes."""
    path, _ = marked(tmp_path, 1)
    _, other = marked(tmp_path, 2)
    assert verify(path, [other])[0].decision != "traced"
    a, b = values(1, 64, 96), values(2, 96, 32)
    own, stranger = matrices(tmp_path, a, b), matrices(tmp_path, values(3, 64, 96), values(4, 96, 32), "stranger")
    embed(own, tmp_path / "m.onnx", tmp_path / "r")
    (verdict,) = verify(stranger, [load_record(tmp_path / "r")])
    assert verdict.decision == "not traced"


CANDIDATES = {
    "the original, with noise": lambda h, d, rng: h + 0.3 * d * rng.normal(size=h.size),
    "trained on": lambda h, d, rng: 0.9 * h + 0.3 * (np.abs(h) + 0.2 * d) * rng.standard_t(3, h.size),
    "pruned": lambda h, d, rng: np.where(np.abs(h) > d, h, 0),
    "in eight levels": lambda h, d, rng: np.round(h / d * 2) / 2 * d,
    "a stranger": lambda h, d, rng: rng.standard_t(3, h.size) * d,
    "another copy": lambda h, d, rng: h + 0.4 * d * rng.normal(size=h.size),
    "the mean of three copies": lambda h, d, rng: h + 0.4 * d * rng.normal(size=(3, h.size)).mean(0),
    "rescaled and folded": lambda h, d, rng: -3 * h + d * 0.01 * rng.normal(size=h.size),
}


@pytest.mark.slow
@pytest.mark.parametrize("candidate", CANDIDATES)
@pytest.mark.parametrize("slots", [8, 160], ids=["slots of many reads", "slots of three"])
def test_wrong_keys_find_the_mark_no_more_often_than_they_may(candidate: str, slots: int) -> None:
    """5,000 keys for one candidate: p is uniform within the binomial's limits at 5, 1 and .1 %."""
    rng = np.random.default_rng(5)
    groups = np.sort(rng.integers(0, slots, 512))
    deviation = np.exp(rng.normal(size=slots))[groups]
    host = rng.standard_t(4, 512) * deviation
    found = CANDIDATES[candidate](host, deviation, rng)
    logs = np.array(
        [
            associate_added(found, host, z, groups, 0.4 * deviation).association.log10_p
            for z in rng.normal(size=(5_000, 512))
        ]
    )
    for level in (0.05, 0.01, 0.001):
        spread = 4 * np.sqrt(level * (1 - level) / logs.size)
        assert abs(np.mean(logs <= np.log10(level)) - level) <= spread


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_units_do_not_matter(data: st.DataObject) -> None:
    """Multiplying a slot's values by any factor, its host by any other, leaves the score; numbers that are missing leave it too."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, 4, 64))
    host, z = rng.normal(size=64), rng.normal(size=64)
    found = host + 0.4 * z + 0.1 * rng.normal(size=64)
    base = associate_added(found, host, z, groups, np.full(64, 0.4)).association.log10_p
    factor = data.draw(st.sampled_from([1e-30, 1e-3, 7.0, 1e30]))
    again = associate_added(found * factor, host, z, groups, np.full(64, 0.4)).association.log10_p
    assert again == pytest.approx(base, rel=1e-6, abs=1e-9)
    more = np.append(found, [np.nan, np.inf]), np.append(host, [1, 2]), np.append(z, [9, 9]), np.append(groups, [0, 1])
    missing = associate_added(*more, np.full(66, 0.4)).association
    assert missing.log10_p == pytest.approx(base, rel=1e-9, abs=1e-12)


def test_a_forger_who_chooses_the_host_gains_nothing(tmp_path: Path) -> None:
    """Host values made after the fact to fit a suspect change the key's numbers: each choice is one trial."""
    _, record = marked(tmp_path)
    plan = plan_of(record)
    with shipped_network() as original:
        before = weights_of(original)
    names = [entry.name for entry in record.slots]
    rng = np.random.default_rng(1)
    logs = []
    suspect = np.empty(plan.positions.size)
    for slot in plan.numbers:
        entry = record.slots[slot]
        stored = before[names[slot]]
        canonical = stored.T if stored.shape != entry.shape else stored
        suspect[plan.slots == slot] = np.ascontiguousarray(canonical).ravel()[plan.of(slot)]
    deviations = record.array("deviations")[plan.slots] * 0.4
    for _ in range(300):
        z = record.key.stream("nct/values", record.values_context).normals(plan.positions.size)
        guess = (suspect - deviations * (z if rng.random() < 0.5 else rng.normal(size=z.size))).astype("<f4")
        record = replace(record, arrays={**record.arrays, "host": guess})
        fresh = record.key.stream("nct/values", record.values_context).normals(plan.positions.size)
        found = associate_added(suspect, guess.astype(float), fresh, plan.slots, deviations)
        logs.append(found.association.log10_p)
    assert min(logs) > -5
    assert np.mean(np.array(logs) <= np.log10(0.05)) < 0.1


def test_exact_zeros_carry_no_mark(tmp_path: Path) -> None:
    """Of a pruned network: a zero that is none any more would name its position."""
    a, b = values(1, 64, 96), values(2, 96, 32)
    a[np.random.default_rng(0).random(a.shape) < 0.7] = 0
    embed(matrices(tmp_path, a, b), tmp_path / "m.onnx", tmp_path / "r", 200)
    after = weights_of(tmp_path / "m.onnx")
    assert (after["a"][a == 0] == 0).all()
    assert (after["b"] != b).sum() + (after["a"] != a).sum() == 200
    assert verify(tmp_path / "m.onnx", [load_record(tmp_path / "r")])[0].decision == "traced"


@pytest.mark.parametrize("kind", ["once float16", "once bfloat16", "levels in each row"])
def test_mark_values_keep_the_grid(tmp_path: Path, kind: str) -> None:
    """Weights that were quantised and stored as floats again: no marked value stands beside their grid."""
    a, b = values(1, 96, 128), values(2, 128, 64)
    if kind == "once float16":
        a, b = (each.astype("f2").astype("f4") for each in (a, b))
    elif kind == "once bfloat16":
        a, b = ((each.view("u4") & 0xFFFF0000).astype("u4").view("f4") for each in (a, b))
    else:
        a, b = (np.round(each / (step := np.abs(each).max() / 127)) * step for each in (a, b))
        a, b = a.astype("f4"), b.astype("f4")
    embed(matrices(tmp_path, a, b), tmp_path / "m.onnx", tmp_path / "r", 300)
    after = weights_of(tmp_path / "m.onnx")
    for name, before in (("a", a), ("b", b)):
        if kind == "levels in each row":
            assert set(np.unique(after[name])) <= set(np.unique(before))
        else:
            mask = 0x1FFF if kind == "once float16" else 0xFFFF
            assert not (after[name].view("u4") & mask).any()
    (verdict,) = verify(tmp_path / "m.onnx", [load_record(tmp_path / "r")], full=True)
    assert verdict.decision == "identical"


def test_too_weak_a_mark_is_refused(tmp_path: Path) -> None:
    """Where the number format rounds it away."""
    a, b = values(1, 64, 96).astype("f2"), values(2, 96, 32).astype("f2")
    path = matrices(tmp_path, a, b)
    with pytest.raises(UsageError, match="rounded away"):
        embed(path, tmp_path / "m.onnx", tmp_path / "r", 200, strength=1e-5)
    with pytest.raises(UsageError, match="replaced, not added"):
        embed(path, tmp_path / "m.onnx", tmp_path / "r", 200, value_std=0.1, insertion="added")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("size", "expected"), [(40, 164), (160, 256), (400, 512)])
def test_the_default_number_of_positions_follows_from_the_network(tmp_path: Path, size: int, expected: int) -> None:
    """At most 1 % of the weights and at most 512, but never too few to be sure of an absence; then the share is said."""
    done = embed(matrices(tmp_path, values(1, size, size), values(2, size, 10)), tmp_path / "m.onnx", tmp_path / "r")
    capacity = size * size + size * 10
    assert done.record.number_of_positions == min(512, max(required_reads(1e-6), capacity // 100))
    assert (done.record.number_of_positions == expected) or size == 160
    assert any("eligible weights" in warning for warning in done.warnings) is (expected / capacity > 0.01)


def test_the_default_strength_follows_from_the_share_of_the_weights(tmp_path: Path) -> None:
    """0.4 where the mark takes at most 0.4 % of the weights; less above, since damage grows with N · strength²."""
    large, small = matrices(tmp_path, values(1, 400, 400), values(2, 400, 10)), tmp_path / "small"
    small.mkdir()
    done = embed(large, tmp_path / "m.onnx", tmp_path / "r")
    assert done.record.parameters["strength"] == "0.4"
    less = embed(large, tmp_path / "n.onnx", tmp_path / "s", positions=1024)
    assert less.record.parameters["strength"] == "0.32"
    few = embed(matrices(small, values(1, 64, 32), values(2, 32, 10)), tmp_path / "o.onnx", tmp_path / "t")
    assert (few.record.number_of_positions, few.record.parameters["strength"]) == (164, "0.3")
    said = embed(large, tmp_path / "p.onnx", tmp_path / "u", positions=1024, strength=0.4)
    assert said.record.parameters["strength"] == "0.4"


def test_a_golden_record_of_format_2_verifies_for_ever() -> None:
    """Positions, host and mark as they were on the day it was made."""
    record = load_record(GOLDEN / "mark-2.json")
    assert (record.format, nct.is_added(record)) == (FORMAT_WITH_HOST, True)
    (verdict,) = verify(GOLDEN / "marked-added.onnx", [record], full=True)
    assert verdict.decision == "identical"
    assert verdict.log10_p < -40
    assert verify(GOLDEN / "network.onnx", [record])[0].decision == "not traced"
