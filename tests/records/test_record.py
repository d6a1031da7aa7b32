"""Records on disk: canonical, private, never overwritten, read for ever, and refused when they are damaged."""

import base64
import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxnnw.errors import CannotLook, UnreadableRecord, UsageError
from onnxnnw.methods import nct
from onnxnnw.records import positions as placement
from onnxnnw.records.key import Key
from onnxnnw.records.record import ROLES, Record, commitment_of
from onnxnnw.records.record_file import load_record, save_record
from onnxnnw.records.slot_table import SlotEntry
from onnxnnw.verification.verify import verify

GOLDEN = Path(__file__).parents[1] / "golden"
FIRST_POSITIONS = [2159, 4998, 885, 389, 562, 4125]
VALUES = "5e6fb0a67e24c492ea082f1e2efdb7b566a6bf9397574c21dad6d45f05bd87aa"
COMMITMENT = "935b0fbbf99b9dbf8663a62589f01a7e54eaec52363f02a4cfff58d23d77f715"
MARK_P, TRACE_P = -58.1062143, -13.4853030

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sizes = st.integers(1, 99)
entries = st.builds(
    lambda name, rows, size, kernel, dead, eligible: SlotEntry(
        name, "Conv.1", (rows, size, kernel), "float", name[::-1], "conv", size * kernel,
        tuple(d for d in sorted(dead) if d < rows), eligible,
    ),
    texts, sizes, sizes, st.integers(1, 9), st.sets(st.integers(0, 98), max_size=5), st.booleans(),
)  # fmt: skip
arrays = st.one_of(
    st.lists(st.floats(width=16), max_size=9).map(lambda values: np.array(values, "<f2")),
    st.lists(st.floats(width=32), max_size=9).map(lambda values: np.array(values, "<f4")),
    st.lists(st.floats(), max_size=9).map(lambda values: np.array(values, "<f8")),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9).map(lambda values: np.array(values, "<i8")),
    st.binary(max_size=9).map(lambda values: np.frombuffer(values, "|u1")),
)
records = st.builds(
    lambda secret, slots, parameters, values, actor, role, digest: Record(
        "nct", "watermark", Key(secret), tuple(slots), parameters, values, actor, role,
        digest, actor[::-1], digest, {"digest": digest}, {actor: role},
    ),
    st.binary(min_size=32, max_size=32), st.lists(entries, max_size=4),
    st.dictionaries(texts.filter(lambda name: name != "positions"), texts | st.integers(-(2**62), 2**62), max_size=4),
    st.dictionaries(texts, arrays, max_size=4),
    texts, st.sampled_from(("", *ROLES)), texts,
)  # fmt: skip


@given(records)
def test_a_record_read_back_is_the_same_record(record: Record) -> None:
    """Bytes, contexts and every array survive the round trip, NaN and all."""
    content = record.to_bytes()
    again = Record.from_bytes(content)
    assert again.to_bytes() == content
    assert (again.positions_context, again.values_context) == (record.positions_context, record.values_context)
    assert again.key == record.key
    assert again.slots == record.slots
    for name, array in record.arrays.items():
        assert again.arrays[name].tobytes() == array.tobytes()
        assert again.arrays[name].dtype == array.dtype


@given(records)
def test_the_bytes_are_canonical_json_without_floats(record: Record) -> None:
    """Sorted keys, no spaces, ASCII, integers and strings only, one line."""
    content = record.to_bytes()
    document = json.loads(content)
    assert content == json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    def check(node: Any) -> None:
        assert isinstance(node, dict | list | str | int)
        assert not isinstance(node, bool)
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            check(part)

    check(document)


@pytest.fixture
def golden() -> Record:
    """A record of format 1."""
    return load_record(GOLDEN / "mark-1.json")


def test_the_contexts_are_hashes_of_what_the_page_says(golden: Record) -> None:
    """c1 of format, method and slots; c2 of the whole bound part."""
    bound = json.loads((GOLDEN / "mark-1.json").read_bytes())["bound"]

    def digest(part: Any) -> bytes:
        return hashlib.sha256(json.dumps(part, sort_keys=True, separators=(",", ":")).encode()).digest()

    assert golden.positions_context == digest({name: bound[name] for name in ("format", "method", "slots")})
    assert golden.values_context == digest(bound)


def test_the_golden_record_verifies_for_ever() -> None:
    """Records of format 1 keep their positions, their values and their verdict in every later version."""
    mark, trace = load_record(GOLDEN / "mark-1.json"), load_record(GOLDEN / "trace-1.json")
    plan = placement.plan_of(mark)
    assert plan.positions[:6].tolist() == FIRST_POSITIONS
    assert hashlib.sha256(nct.mark_values(mark, plan).tobytes()).hexdigest() == VALUES
    assert commitment_of((GOLDEN / "mark-1.json").read_bytes()) == COMMITMENT
    for record, network, log10_p in ((mark, "marked.onnx", MARK_P), (trace, "network.onnx", TRACE_P)):
        (verdict,) = verify(GOLDEN / network, [record], full=True)
        assert verdict.decision == "traced"  # a digest of the first kind does not vouch for a network
        assert verdict.log10_p == pytest.approx(log10_p, abs=1e-6)
        assert (verdict.actor, verdict.role) == ("Golden Tracker", "Tracker")
    (absent,) = verify(GOLDEN / "network.onnx", [mark])
    assert absent.decision == "not traced"
    (drifted,) = verify(GOLDEN / "marked.onnx", [trace])
    assert drifted.decision == "traced"


def test_a_record_is_private_and_never_overwritten(golden: Record, tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, and an existing file stays as it is."""
    old = os.umask(0)
    try:
        commitment = save_record(golden, tmp_path / "a.json")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o600
    assert commitment == hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()
    (tmp_path / "b.json").write_text("precious")
    with pytest.raises(UsageError, match="never overwritten"):
        save_record(golden, tmp_path / "b.json")
    assert (tmp_path / "b.json").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_a_secret_is_never_printed(golden: Record) -> None:
    """Neither by repr nor in an error."""
    secret = base64.b64encode(golden.key.secret).decode()
    assert secret not in repr(golden)
    assert str(golden.key.secret) not in repr(golden)
    broken = golden.to_bytes().replace(b'"secret":"', b'"secret":"!')
    with pytest.raises(UnreadableRecord) as caught:
        Record.from_bytes(broken)
    assert secret not in str(caught.value)


def test_only_the_committed_file_is_accepted(golden: Record, tmp_path: Path) -> None:
    """In either case of letters, with blanks around; anything else is refused."""
    commitment = save_record(golden, tmp_path / "a.json")
    assert load_record(tmp_path / "a.json", f" {commitment.upper()}\n").key == golden.key
    with pytest.raises(UnreadableRecord, match="committed"):
        load_record(tmp_path / "a.json", commitment[:-1] + ("0" if commitment[-1] != "0" else "1"))


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The golden record's file with its document changed."""
    document = json.loads((GOLDEN / "mark-1.json").read_bytes())
    change(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def text(change: Callable[[bytes], bytes]) -> bytes:
    """The golden record's file with its bytes changed."""
    return change((GOLDEN / "mark-1.json").read_bytes())


NOT_RECORDS = {
    "empty": b"",
    "no JSON": b"\x00\x01",
    "an ONNX file": b"\x08\x0a\x12\x00",
    "another JSON": b'{"format":"onnxnnw/verdict/1"}',
    "a list": b"[]",
    "a later format": edited(lambda d: d.update(format="onnxnnw/record/2")),
    "a later format inside": edited(lambda d: d["bound"].update(format="onnxnnw/record/2")),
    "a float": text(lambda b: b.replace(b'"positions":256', b'"positions":256.0')),
    "not a number": text(lambda b: b.replace(b'"positions":256', b'"positions":NaN')),
    "a key twice": text(lambda b: b.replace(b'"positions":256', b'"positions":256,"positions":257')),
    "blanks": text(lambda b: b.replace(b'"positions":256', b'"positions": 256')),
    "no end of line": text(lambda b: b.rstrip(b"\n")),
    "more after it": text(lambda b: b + b"{}"),
    "an unknown field": edited(lambda d: d.update(note="x")),
    "an unknown bound field": edited(lambda d: d["bound"].update(note="x")),
    "a true for a one": text(lambda b: b.replace(b'"eligible":1', b'"eligible":true', 1)),
    "a two for a one": text(lambda b: b.replace(b'"eligible":1', b'"eligible":2', 1)),
    "a short secret": edited(lambda d: d.update(secret="AAAA")),
    "a secret in other letters": edited(lambda d: d.update(secret="*" * 44)),
    "no secret": edited(lambda d: d.pop("secret")),
    "no slots": edited(lambda d: d["bound"].pop("slots")),
    "huge shape": edited(lambda d: d["bound"]["slots"][0].update(shape=[2**40, 2**40])),
    "negative shape": edited(lambda d: d["bound"]["slots"][0].update(shape=[-8, -27])),
    "impossible rows": edited(lambda d: d["bound"]["slots"][0].update(row_size=7)),
    "dead rows out of range": edited(lambda d: d["bound"]["slots"][0].update(dead_rows=[8])),
    "dead rows twice": edited(lambda d: d["bound"]["slots"][0].update(dead_rows=[1, 1])),
    "an unknown array type": edited(lambda d: d["bound"]["arrays"]["anchors"].update(dtype="<O8")),
    "half a number": edited(lambda d: d["bound"]["arrays"]["anchors"].update(data="AAAA")),
    "positions beyond all bounds": edited(lambda d: d["bound"]["parameters"].update(positions=2**60)),
    "negative positions": edited(lambda d: d["bound"]["parameters"].update(positions=-1)),
    "nested without end": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("content", NOT_RECORDS.values(), ids=NOT_RECORDS)
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    """One kind of error, naming the file, never a traceback of another kind."""
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(UnreadableRecord, match=r"r\.json"):
        load_record(tmp_path / "r.json")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    """What cannot be read is no record."""
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(UnreadableRecord):
            load_record(path)


@given(st.binary(max_size=99) | st.text(max_size=50).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_garbage_is_refused(content: bytes) -> None:
    """Whatever the bytes are."""
    with pytest.raises(UnreadableRecord):
        Record.from_bytes(content)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300)
@given(st.data())
def test_a_record_with_anything_in_the_wrong_place_is_refused_or_judged(data: st.DataObject) -> None:
    """Any value of the file replaced by anything: unreadable, or an honest judgement; never another error."""
    document = json.loads((GOLDEN / "mark-1.json").read_bytes())
    node, path = document, []
    while isinstance(node, dict | list) and node and (not path or data.draw(st.booleans())):
        step = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        path.append((node, step))
        node = node[step]
    parent, step = path[-1]
    parent[step] = data.draw(json_values)
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    try:
        record = Record.from_bytes(content)
        verify(GOLDEN / "network.onnx", [record])
    except CannotLook:
        return


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_another_record(place: int, flip: int) -> None:
    """No damage goes unnoticed: either the file is unreadable or its commitment and record are others."""
    content = bytearray((GOLDEN / "mark-1.json").read_bytes())
    content[place % len(content)] ^= flip
    try:
        record = Record.from_bytes(bytes(content))
    except UnreadableRecord:
        return
    assert record.to_bytes() == bytes(content)


def test_unbound_notes_change_the_file_but_not_the_mark(golden: Record) -> None:
    """What was measured later is kept beside the record and binds nothing."""
    more = replace(golden, unbound={"anchors after training": "x"})
    assert more.to_bytes() != golden.to_bytes()
    assert more.values_context == golden.values_context
