"""A reference network: what hides a mark in the order of channels is undone, and nothing else is said for it."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from onnxnnw.cli import main
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record, save_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import search, verify
from tests.support import calibration_networks as networks
from tests.support import disguises

SHAPES = {
    "stem.weight": (16, 3, 3, 3),
    "block1.conv1.weight": (16, 16, 3, 3),
    "block1.conv2.weight": (16, 16, 3, 3),
    "block2.shortcut.weight": (24, 16, 1, 1),
    "block2.conv1.weight": (24, 16, 3, 3),
    "block2.conv2.weight": (24, 24, 3, 3),
    "block3.shortcut.weight": (32, 24, 1, 1),
    "block3.conv1.weight": (32, 24, 3, 3),
    "block3.conv2.weight": (32, 32, 3, 3),
    "fc.weight": (10, 32),
}
COMPOSED = "dummies, permuted and rescaled"


def weights_of(seed: int) -> networks.Weights:
    """A small network of one architecture."""
    return networks.trained_weights(seed, SHAPES)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A network, its marked copies and their records, and each disguise of the copy."""
    folder = tmp_path_factory.mktemp("reference")
    original = networks.save(weights_of(4), folder / "original.onnx")
    paths = SimpleNamespace(folder=folder, original=original, known={})
    for way in ("added", "replaced"):
        embed(original, folder / f"{way}.onnx", folder / f"{way}.record", insertion=way, key=Key(b"k" * 32))
    fingerprint(folder / "added.onnx", folder / "print.record", key=Key(b"f" * 32))
    for name, change in disguises.DISGUISES.items():
        for way in ("added", "replaced"):
            weights = change(networks.read(folder / f"{way}.onnx"), np.random.default_rng(1))
            networks.save(weights, folder / f"{way}, {name}.onnx")
    networks.save(weights_of(5), folder / "stranger.onnx")
    return paths


def judged(subject: SimpleNamespace, candidate: str, record: str, reference: str | None) -> Verdict:
    """The one verdict; reached once."""
    own = None if reference is None else subject.folder / f"{reference}.onnx"
    asked = candidate, record, reference
    if asked not in subject.known:
        records = [load_record(subject.folder / f"{record}.record")]
        (subject.known[asked],) = verify(subject.folder / f"{candidate}.onnx", records, reference=own)
    verdict: Verdict = subject.known[asked]
    return verdict


@pytest.mark.parametrize(
    ("name", "reference"), [*((name, "original") for name in disguises.DISGUISES), (COMPOSED, "added")]
)
def test_a_disguised_copy_is_traced_with_a_reference(subject, name, reference):
    """The original and the marked copy undo every disguise, and both are bound by the record."""
    verdict = judged(subject, f"added, {name}", "added", reference)
    assert verdict.decision == "traced"
    assert verdict.reference is not None
    assert verdict.reference.used
    assert verdict.reference.basis == "bound"
    assert verdict.evidence.after_the_fact_trials_log10 == pytest.approx(-verdict.log10_p)
    assert verdict.explained > 0.8
    assert verdict.coverage == 1


def test_a_permuted_copy_is_not_traced_without_one(subject):
    """That is why there are references; without one nothing is said of them."""
    verdict = judged(subject, "added, permuted", "added", None)
    assert verdict.decision != "traced"
    assert verdict.reference is None
    assert verdict.to_json()["reference"] is None


@pytest.mark.parametrize(("reference", "basis"), [("original", "bound"), ("replaced", "unbound")])
def test_a_replaced_mark_is_bound_to_its_original_alone(subject, reference, basis):
    """What stood where values were replaced is not known, so a marked copy could have been made for the purpose."""
    verdict = judged(subject, "replaced, permuted", "replaced", reference)
    assert verdict.decision == "traced"
    assert verdict.reference is not None
    assert verdict.reference.basis == basis
    assert (verdict.evidence.after_the_fact_trials_log10 is None) is (basis == "unbound")


@pytest.mark.parametrize("name", ["permuted", COMPOSED])
def test_a_fingerprint_is_read_in_the_order_of_a_reference(subject, name):
    """By its effect; no p-value is claimed."""
    verdict = judged(subject, f"added, {name}", "print", "added")
    assert verdict.decision == "traced"
    assert verdict.effect > 0.9
    assert verdict.log10_p == 0
    assert verdict.evidence.after_the_fact_trials_log10 is None
    assert "no p-value" in verdict.evidence.sentence


def test_a_fingerprint_of_which_a_part_is_left_has_neither_answer(subject):
    """More than strangers have is no "no"; less than is asked for is no "yes"."""
    weights = disguises.permuted(networks.read(subject.folder / "added.onnx"), np.random.default_rng(1))
    decisions = []
    for number, noise in enumerate((0.5, 1.2, 12.0)):
        networks.save(networks.noisy(weights, noise), subject.folder / f"left {number}.onnx")
        verdict = judged(subject, f"left {number}", "print", "added")
        decisions.append(verdict.decision)
        if decisions[-1] == "inconclusive":
            assert 0.25 <= verdict.effect < 0.55
            assert "none is excluded" in verdict.evidence.sentence
            assert "more than strangers have" in " ".join(finding.sentence for finding in verdict.findings)
    assert decisions == ["traced", "inconclusive", "not traced"]


@pytest.mark.parametrize("record", ["added", "replaced", "print"])
def test_a_stranger_stays_a_stranger(subject, record):
    """Some order fits a stranger best; nothing follows from it."""
    verdict = judged(subject, "stranger", record, "original")
    assert verdict.decision == "not traced"
    assert verdict.reference is not None
    assert not verdict.reference.used


def test_the_unmarked_original_in_disguise_is_not_traced(subject):
    """It is recognised, and the mark is not there."""
    weights = disguises.permuted(weights_of(4), np.random.default_rng(2))
    networks.save(weights, subject.folder / "unmarked.onnx")
    verdict = judged(subject, "unmarked", "added", "original")
    assert verdict.decision == "not traced"
    assert {"channels-in-another-order", "same-network-without-this-mark"} <= {f.id for f in verdict.findings}


def test_a_reference_that_was_trained_after_marking_claims_nothing(subject):
    """Its other weights may have learned the mark: what would be read is nominal, and said to be."""
    rng = np.random.default_rng(3)
    moved = {
        n: (a + 0.05 * a.std() * rng.standard_normal(a.shape)).astype(np.float32)
        for n, a in networks.read(subject.folder / "added.onnx").items()
    }
    networks.save(moved, subject.folder / "trained.onnx")
    verdict = judged(subject, "added, permuted", "added", "trained")
    assert verdict.decision == "inconclusive"
    assert verdict.log10_p == 0
    assert verdict.reference is not None
    assert verdict.reference.basis == "nominal"
    assert any("nominal" in finding.sentence for finding in verdict.findings)


def test_a_reference_of_another_network_is_named_as_one(subject):
    """It does not help, and nothing that holds without it is lost."""
    verdict = judged(subject, "added", "added", "stranger")
    assert verdict.decision == "traced"
    hidden = judged(subject, "added, permuted", "added", "stranger")
    assert hidden.decision != "traced"
    assert hidden.reference is not None
    assert "not the network that the record was made of" in hidden.reference.sentence


def test_two_readings_are_paid_for(subject):
    """With a reference each record is read twice, so p doubles, whichever reading it was."""
    plain, with_reference = (judged(subject, "added", "added", reference) for reference in (None, "original"))
    assert with_reference.log10_p == pytest.approx(plain.log10_p + np.log10(2))


def test_findings_say_what_was_done_to_the_channels(subject):
    """Order, scales and additions are told apart."""
    ids = {
        name: {f.id for f in judged(subject, f"added, {name}", "added", "original").findings}
        for name in disguises.DISGUISES
    }
    everything = {"channels-in-another-order", "channels-rescaled", "channels-added"}
    assert ids["permuted"] & everything == {"channels-in-another-order"}
    assert everything <= ids[COMPOSED]
    assert "unchanged" in ids["permuted"]


def test_a_folder_of_records_is_searched_with_a_reference(subject, tmp_path):
    """The record that the reference belongs to is found; others are judged as they would be without it."""
    for name in ("added", "print"):
        save_record(load_record(subject.folder / f"{name}.record"), tmp_path / f"{name}.record")
    other = networks.save(weights_of(9), tmp_path / "other.onnx")
    (tmp_path / "records").mkdir()
    fingerprint(other, tmp_path / "records" / "other.record", key=Key(b"o" * 32))
    save_record(load_record(subject.folder / "added.record"), tmp_path / "records" / "added.record")
    found = search(
        subject.folder / "added, permuted.onnx", tmp_path / "records", reference=subject.folder / "original.onnx"
    )
    assert found.best.record == "added.record"
    assert found.best.decision == "traced"
    assert [verdict.decision for verdict in found.verdicts[1:]] == ["not traced"]


def test_a_record_that_binds_another_network_is_not_bound(subject):
    """A record whose digest is another's says so."""
    record = replace(load_record(subject.folder / "added.record"), enrolled_digest="0" * 64)
    (verdict,) = verify(subject.folder / "added, permuted.onnx", [record], reference=subject.folder / "original.onnx")
    assert verdict.reference is not None
    assert verdict.reference.basis == "unbound"


def test_the_command_line_takes_a_reference(subject, capsys):
    """Exit 0, and the reference with its digest in JSON and in words."""
    line = [
        "verify",
        str(subject.folder / "added, permuted.onnx"),
        *("--record", str(subject.folder / "added.record")),
        *("--reference", str(subject.folder / "original.onnx")),
    ]
    with pytest.raises(SystemExit) as ended:
        main([*line, "--json"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)["reference"]
    assert printed["bound"] is True
    assert printed["used"] is True
    assert len(printed["digest"]) == 64
    with pytest.raises(SystemExit):
        main(line)
    assert "in the order of the reference, which the record binds" in capsys.readouterr().out


def test_a_reference_that_cannot_be_read_is_an_error(subject, tmp_path: Path, capsys):
    """Exit 3, and a sentence that names the file."""
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "verify",
                str(subject.folder / "added.onnx"),
                *("--record", str(subject.folder / "added.record")),
                *("--reference", str(tmp_path / "broken.onnx")),
            ]
        )
    assert ended.value.code == 3
    assert "broken.onnx" in capsys.readouterr().err
