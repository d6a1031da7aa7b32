"""Copies for recipients: made by patching, told apart by signs, resumed after a kill, and never an innocent named."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from scipy.stats import norm

from onnxnnw.enrolment.recipients.embedding import RecipientCopies, embed_for_recipients
from onnxnnw.enrolment.recipients.owner_secret import OWNER_FILE, alone_in, load_owner
from onnxnnw.enrolment.recipients.recipient_list import Recipient, read_recipients, recipients_of
from onnxnnw.errors import CapacityError, UnreadableData, UnreadableRecord, UsageError
from onnxnnw.methods import nct
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.network_file.file import open_network
from onnxnnw.records.key import Key
from onnxnnw.records.positions import places_of, plan_of
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record, save_record
from onnxnnw.statistics import associate_signs
from onnxnnw.statistics.added import SIGNS
from onnxnnw.verification.verify import verify
from tests.support.networks import externalise, model_of, save, weight

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
THREE = ["acme", "Globex Corp.", "Initech"]


def network(folder: Path, width: int = 96, storage: str = "embedded", dtype: str = "float32") -> Path:
    """Two layers of width x width weights."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["y"]),
    ]
    tensors = [weight(f"w{k}", width, width, seed=k, dtype=dtype) for k in range(2)]
    folder.mkdir(exist_ok=True)
    model = model_of(nodes, tensors)
    if storage == "embedded":
        return save(model, folder / "m.onnx")
    return externalise(model, folder, "m.onnx", lambda name: "w.bin" if name == "w0" else None)


def made(folder: Path, ids: list[str], **more: object) -> RecipientCopies:
    source = folder / "in" / "m.onnx"
    if not source.exists():
        network(folder / "in")
    return embed_for_recipients(source, recipients_of(ids), folder / "copies", folder / "records", **more)


def weights_of(path: Path) -> dict[str, NDArray[np.generic]]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


def test_each_copy_names_its_recipient(tmp_path: Path) -> None:
    """Identical to its own record, and "another copy of this network" to the others."""
    done = made(tmp_path, THREE)
    records = [load_record(each.record) for each in done.copies]
    assert [record.destination_id for record in records] == THREE
    for each in done.copies:
        first, *others = verify(each.copy, records, full=True)
        assert (first.decision, first.destination_id) == ("identical", each.destination_id)
        assert f"copy for {each.destination_id!r}" in first.evidence.sentence
        for other in others:
            assert other.decision == "not traced"
            names = [finding.name for finding in other.findings]
            assert "another copy of this network" in names
            assert not {"same network without this mark", "shared positions", "other values", "noise"} & {*names}
            assert not any(finding.accuses for finding in other.findings)
    for verdict in verify(tmp_path / "in" / "m.onnx", records):
        assert (verdict.decision, verdict.log10_p) == ("not traced", 0.0)


def test_copies_agree_where_their_signs_do(tmp_path: Path) -> None:
    """The same positions in all; two values at each, as far below the host as above it; everything else as it was."""
    done = made(tmp_path, THREE)
    records = [load_record(each.record) for each in done.copies]
    assert len({frozenset(places_of(record)) for record in records}) == 1
    before = weights_of(tmp_path / "in" / "m.onnx")
    after = [weights_of(each.copy) for each in done.copies]
    for name in before:
        stack = np.stack([each[name] for each in after])
        changed = (stack != before[name]).any(0)
        assert (stack[:, changed] != before[name][changed]).all()
        assert len({(stack == row).all(1).tobytes() for row in stack}) <= len(THREE)
        moves = stack[:, changed] - before[name][changed]
        assert np.abs(np.abs(moves) / before[name].std() - 0.4).max() < 0.01
        assert all(len(np.unique(column)) <= 2 for column in stack[:, changed].T)
    assert sum(int((after[0][name] != before[name]).sum()) for name in before) == done.positions


@pytest.mark.parametrize("storage", ["embedded", "external"])
def test_a_copy_is_a_patch_and_a_second_run_makes_what_is_missing(tmp_path: Path, storage: str) -> None:
    """Nothing is written twice; a copy that went missing comes back bit for bit; a longer list adds to the folder."""
    network(tmp_path / "in", storage=storage)
    done = made(tmp_path, THREE)
    files = {path: path.read_bytes() for path in [*(tmp_path / "copies").iterdir(), *(tmp_path / "records").iterdir()]}
    assert made(tmp_path, THREE).made == 0
    done.copies[1].copy.unlink()
    again = made(tmp_path, [*THREE, "late"])
    assert [each.made for each in again.copies] == [False, True, False, True]
    assert {path: path.read_bytes() for path in files} == files
    assert places_of(load_record(again.copies[3].record)) == places_of(load_record(again.copies[0].record))
    assert len(list((tmp_path / "copies").iterdir())) == (4 if storage == "embedded" else 8)


def test_a_record_binds_whose_positions_they_are(tmp_path: Path) -> None:
    """The key of the positions goes into the numbers: another one, or none, is another mark; an edited file is refused."""
    record = load_record(made(tmp_path, THREE).copies[0].record)
    plan = plan_of(record)
    numbers = nct.expected_numbers(record, plan)
    assert set(numbers.tolist()) == {-1.0, 1.0}
    other = replace(record, positions_key=Key(b"x" * 32))
    agree = float((nct.expected_numbers(other, plan) == numbers).mean())
    assert abs(agree - 0.5) < 5 / (2 * np.sqrt(numbers.size))
    assert places_of(other) != places_of(record)
    content = record.to_bytes()
    assert Record.from_bytes(content).to_bytes() == content
    document = json.loads(content)
    for edit in ("secret", "digest", "version", "nothing"):
        broken = json.loads(content)
        if edit == "secret":
            broken["positions_secret"] = document["secret"]
        elif edit == "digest":
            broken["bound"]["recipient"]["positions"] = "0" * 64
        elif edit == "version":
            broken["bound"]["recipient"]["version"] = 2
        else:
            del broken["bound"]["recipient"]
        packed = json.dumps(broken, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        with pytest.raises(UnreadableRecord, match="later version" if edit == "version" else "canonical"):
            Record.from_bytes(packed)


@pytest.mark.parametrize("dtype", ["float16", "levels"])
def test_values_keep_the_grid_and_copies_still_agree(tmp_path: Path, dtype: str) -> None:
    """Where a slot has few values, up and down are rounded alike in every copy, and the record knows what was written."""
    if dtype == "float16":
        network(tmp_path / "in", dtype="float16")
    else:
        path = network(tmp_path / "in")
        model = onnx.load(path)
        for one in model.graph.initializer:
            array = numpy_helper.to_array(one)
            step = np.float32(np.abs(array).max() / 127)
            one.CopyFrom(numpy_helper.from_array(np.round(array / step) * step, one.name))
        save(model, path)
    before = weights_of(tmp_path / "in" / "m.onnx")
    done = made(tmp_path, THREE)
    after = [weights_of(each.copy) for each in done.copies]
    for name in before:
        stack = np.stack([each[name] for each in after])
        assert all(len(np.unique(column)) <= 2 for column in stack[:, (stack != before[name]).any(0)].T)
        if dtype == "levels":
            assert set(np.unique(stack)) <= set(np.unique(before[name]))
    for each in done.copies:
        record = load_record(each.record)
        assert ("written" in record.unbound) == (dtype == "levels")
        assert verify(each.copy, [record], full=True)[0].decision == "identical"


@pytest.mark.parametrize(
    ("modification", "parameters"),
    [
        ("gaussian-noise", {"ratio": 0.3}),
        ("magnitude-pruning", {"percentage": 50}),
        ("quantization", {"bits": 8}),
        ("dynamic-quantization", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_recipient_is_known_after_modifications(tmp_path: Path, modification: str, parameters: dict) -> None:
    """Named first and alone."""
    done = made(tmp_path, THREE)
    records = [load_record(each.record) for each in done.copies]
    apply(find_modification(modification)(**parameters), done.copies[1].copy, tmp_path / "changed.onnx")
    first, *others = verify(tmp_path / "changed.onnx", records)
    assert (first.decision, first.destination_id) == ("traced", "Globex Corp.")
    assert all(other.decision != "traced" for other in others)


CANDIDATES = {
    "another copy": lambda h, a, signs, rng: h + a * signs[0],
    "the mean of two": lambda h, a, signs, rng: h + a * signs[:2].mean(0),
    "the mean of three": lambda h, a, signs, rng: h + a * signs[:3].mean(0),
    "the mean of four": lambda h, a, signs, rng: h + a * signs.mean(0),
    "where four agree": lambda h, a, signs, rng: h + a * np.where(np.abs(signs.sum(0)) == 4, signs[0], 0),
    "the unmarked original": lambda h, a, signs, rng: h,
    "with noise": lambda h, a, signs, rng: h + a * signs[0] + 0.3 * a / 0.4 * rng.normal(size=h.size),
    "pruned": lambda h, a, signs, rng: np.where(np.abs(h) > a / 0.4, h + a * signs[0], 0),
    "in eight levels": lambda h, a, signs, rng: np.round((h + a * signs[0]) / a * 0.8) / 0.8 * a,
    "one residual": lambda h, a, signs, rng: h + np.where(np.arange(h.size) == 9, a, 0),
    "a stranger": lambda h, a, signs, rng: rng.standard_t(3, h.size) * a / 0.4,
}


@pytest.mark.slow
@pytest.mark.parametrize("candidate", CANDIDATES)
@pytest.mark.parametrize("slots", [8, 160], ids=["slots of many reads", "slots of three"])
def test_innocent_recipients_are_named_no_more_often_than_they_may_be(candidate: str, slots: int) -> None:
    """20,000 recipients who had nothing to do with it: P(p <= a) is at most a, at 5, 1, .1 and .01 %."""
    rng = np.random.default_rng(7)
    groups = np.sort(rng.integers(0, slots, 512))
    added = 0.4 * np.exp(rng.normal(size=slots))[groups]
    host = rng.standard_t(4, 512) * added / 0.4
    found = CANDIDATES[candidate](host, added, rng.choice([-1.0, 1.0], (4, 512)), rng)
    innocents = rng.choice([-1.0, 1.0], (20_000, 512))
    score = associate_signs(found, host, innocents[0], groups, added).residuals  # a function of candidate and host
    deviation = np.sqrt(score @ score)
    sums = innocents @ score / deviation if deviation else np.full(len(innocents), -np.inf)
    logs = np.minimum(0, norm.logsf(sums) / np.log(10) + np.log10(SIGNS))
    some = [associate_signs(found, host, z, groups, added).association.log10_p for z in innocents[:20]]
    assert some == pytest.approx(logs[:20], abs=1e-9)
    for level in (0.05, 0.01, 0.001, 0.0001):
        assert np.mean(logs <= np.log10(level)) <= level + 3 * np.sqrt(level * (1 - level) / logs.size)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=12))
def test_the_bound_holds_for_signs_of_any_numbers(scores: list[float]) -> None:
    """All signs of up to twelve numbers: P(T >= t) <= 3.18 Q(t) at every t that occurs."""
    all_signs = np.array(list(itertools.product([-1.0, 1.0], repeat=len(scores))))
    sums = np.sort(all_signs @ np.array(scores) / np.linalg.norm(scores))
    exact = 1 - np.searchsorted(sums, sums - 1e-12) / sums.size
    assert (exact <= np.minimum(1, SIGNS * norm.sf(sums)) + 1e-9).all()


def test_all_of_a_coalition_that_averages_are_named(tmp_path: Path) -> None:
    """Two, three and four copies, averaged, and put to zero wherever they differ: every colluder, and nobody else.

    Of four who put to zero an eighth of the positions is left: now and then too few, so only that nobody else is named.
    """
    ids = [f"r{k}" for k in range(8)]
    network(tmp_path / "in", width=256)
    done = made(tmp_path, ids)
    assert done.positions == 2048
    records = [load_record(each.record) for each in done.copies]
    after = [weights_of(each.copy) for each in done.copies]
    model = onnx.load(tmp_path / "in" / "m.onnx")
    for count in (2, 3, 4):
        for attack in ("mean", "zero"):
            for one in model.graph.initializer:
                stack = np.stack([each[one.name] for each in after[:count]])
                same = (stack == stack[0]).all(0)
                array = stack.mean(0) if attack == "mean" else np.where(same, stack[0], 0)
                one.CopyFrom(numpy_helper.from_array(array.astype("f4"), one.name))
            path = save(model, tmp_path / "forged.onnx")
            named = {v.destination_id for v in verify(path, records) if v.decision == "traced"}
            assert named <= {*ids[:count]}, (count, attack)
            assert named == {*ids[:count]} or (count, attack) == (4, "zero"), (count, attack)


def test_lists_are_read_as_people_write_them(tmp_path: Path) -> None:
    """With a heading or without, quoted, with a byte order mark; empty lines are no recipients."""
    path = tmp_path / "list.csv"
    for text in ("a,1\nb,2\n", "\ufeffdestination_id,n\na,1\n\nb,2\n", 'n,destination_id\r\n1,a\r\n2,"b"', " a \nb"):
        path.write_bytes(text.encode())
        assert read_recipients(path) == [Recipient("a"), Recipient("b")]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", UsageError, "names no recipient"),
        (b"destination_id\n", UsageError, "names no recipient"),
        (b"a\nb\na\n", UsageError, "named twice"),
        (b"a\n,x\n", UsageError, "0 characters"),
        (b"n,destination_id\n1\n", UsageError, "line 1 of the recipients has no destination_id"),
        (b"x" * 501, UsageError, "501 characters"),
        (b'"a\nb', UnreadableData, "no list of recipients"),
        (b"\xff\xfe", UnreadableData, "no list of recipients"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path: Path, content: bytes, error: type[Exception], words: str) -> None:
    """Before anything is written."""
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(error, match=words):
        read_recipients(tmp_path / "list.csv")


def test_ids_become_names_of_files_that_cannot_leave_the_folder() -> None:
    """And different ones never the same name, not even where upper and lower case are one."""
    ids = [
        "a",
        "A",
        "../a",
        "a/b",
        "a.b",
        "a b",
        "",
        ".",
        "..",
        "con",
        "é",
        "a\x00b",
        "x" * 300,
        "X" * 300,
        "a" * 60,
        "a" * 61,
    ]
    names = [Recipient(each).name for each in ids if each]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert Path(name).name == name
        assert not name.startswith(".")
        assert len(name) < 70


def test_folders_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    """Another network, other settings, foreign copies and records, one folder for both, a file, a second run at a time."""
    done = made(tmp_path, THREE)
    other = network(tmp_path / "other", width=100)
    with pytest.raises(UsageError, match="another network"):
        embed_for_recipients(other, recipients_of(THREE), tmp_path / "copies", tmp_path / "records")
    with pytest.raises(UsageError, match="give all positions away"):
        made(tmp_path, THREE, positions=300)
    with pytest.raises(UsageError, match="give all positions away"):
        made(tmp_path, THREE, strength=0.5)
    assert made(tmp_path, THREE, strength=0.4, positions=done.positions).made == 0
    with pytest.raises(UsageError, match="give a folder for each"):
        embed_for_recipients(other, recipients_of(THREE), tmp_path / "copies", tmp_path / "copies")
    with pytest.raises(UsageError, match="is a file"):
        embed_for_recipients(other, recipients_of(THREE), other, tmp_path / "copies")
    with alone_in(tmp_path / "records"), pytest.raises(UsageError, match="another run"):
        made(tmp_path, THREE)
    one, two, _ = done.copies
    content = one.copy.read_bytes()
    one.copy.write_bytes(two.copy.read_bytes())
    with pytest.raises(UsageError, match="is not the copy"):
        made(tmp_path, THREE)
    one.copy.write_bytes(content)
    two.record.unlink()
    with pytest.raises(UsageError, match="no record of it"):
        made(tmp_path, THREE)
    two.copy.unlink()
    save_record(load_record(one.record), two.record)
    with pytest.raises(UsageError, match="is not the record of"):
        made(tmp_path, THREE)
    (tmp_path / "records" / OWNER_FILE).write_text("{}")
    with pytest.raises(UnreadableRecord, match="no owner's secret"):
        made(tmp_path, THREE)


def test_a_network_without_room_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    """Of its positions, of its values; the owner's secret is not written either."""
    network(tmp_path / "in", width=12)
    with pytest.raises(CapacityError):
        made(tmp_path, THREE, positions=1000)
    with pytest.raises(UsageError, match="rounded away"):
        embed_for_recipients(
            network(tmp_path / "half", dtype="float16"),
            recipients_of(THREE),
            tmp_path / "c",
            tmp_path / "records",
            strength=1e-5,
        )
    assert [*(tmp_path / "copies").iterdir(), *(tmp_path / "records").iterdir()] == []


def test_a_golden_record_of_a_recipient_verifies_for_ever() -> None:
    """Positions, signs and the sentence as they were on the day it was made."""
    record = load_record(GOLDEN / "recipient-1.json")
    assert record.is_for_recipient
    assert record.commitment == "6635fe8aff35d0f734b74a47f5ce3b1ba5f9fee17a51edd7a2a98615767d8b0a"
    assert plan_of(record).positions[:6].tolist() == [8289, 43, 4042, 643, 1203, 7933]
    assert nct.expected_numbers(record, plan_of(record))[:8].tolist() == [-1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0, 1.0]
    (verdict,) = verify(GOLDEN / "marked-recipient-1.onnx", [record], full=True)
    assert (verdict.decision, verdict.destination_id) == ("identical", "recipient 1")
    (verdict,) = verify(GOLDEN / "marked-recipient-2.onnx", [record], full=True)
    assert verdict.decision == "not traced"
    assert "another copy of this network" in [finding.name for finding in verdict.findings]


def command(folder: Path) -> list[str]:
    start = [
        sys.executable,
        "-m",
        "onnxnnw",
        "embed",
        str(folder / "in" / "m.onnx"),
        "--recipients",
        str(folder / "list.csv"),
    ]
    return [*start, "-o", str(folder / "copies"), "--record", str(folder / "records"), "--unchecked"]


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["embedded", "external"])
def test_a_kill_at_any_moment_leaves_nothing_that_the_next_run_does_not_finish(tmp_path: Path, storage: str) -> None:
    """Twenty-five kills in a row: each finished copy stays as it is, none is half there, and the last run makes the rest.

    A copy has its record always; in the end every copy and record equals what one undisturbed run makes from the same secret.
    """
    network(tmp_path / "in", width=700, storage=storage)
    ids = [f"r{k}" for k in range(60)]
    (tmp_path / "list.csv").write_text("\n".join(ids))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    (tmp_path / "short.csv").write_text("r0")
    first = [part.replace("list.csv", "short.csv") for part in command(tmp_path)]
    subprocess.run(first, cwd=ROOT, check=True, capture_output=True, env=environment)
    whole = time.perf_counter() - begun
    rng = random.Random(storage)
    before: dict[Path, bytes] = {}
    for _ in range(25):
        with subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=-3, stderr=-3, env=environment) as process:
            time.sleep(rng.uniform(0.5, 1.6) * whole)
            process.send_signal(signal.SIGKILL)
        copies = sorted((tmp_path / "copies").glob("r*.onnx"))
        for path in copies:
            assert (tmp_path / "records" / f"{path.stem}.record").exists()
            with open_network(path) as opened:
                opened.check_unchanged()
        found = {path: path.read_bytes() for path in [*copies, *(tmp_path / "records").glob("r*.record")]}
        assert all(found[path] == content for path, content in before.items())
        before = found
    subprocess.run(command(tmp_path), cwd=ROOT, check=True, capture_output=True, env=environment)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "records").mkdir()
    (kept / "records" / OWNER_FILE).write_bytes((tmp_path / "records" / OWNER_FILE).read_bytes())
    assert load_owner(kept / "records") == load_owner(tmp_path / "records")
    embed_for_recipients(tmp_path / "in" / "m.onnx", recipients_of(ids), kept / "copies", kept / "records")
    for folder in ("copies", "records"):
        ours, theirs = ({p.name: p.read_bytes() for p in (place / folder).iterdir()} for place in (tmp_path, kept))
        if storage == "embedded" or folder == "records":
            assert ours == theirs
        assert not [name for name in ours if name.endswith(".partial")]
        assert len(ours) == len(theirs)
    assert len({load_record(path).commitment for path in (tmp_path / "records").glob("r*.record")}) == len(ids)
