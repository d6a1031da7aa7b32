"""A record is input, too: it may come from somebody else."""

import base64
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxnnw.errors import TraceabilityError, UnreadableRecord
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.verify import verify
from tests.hostile.conftest import Victim
from tests.support.bounded_run import bound, look

Document = dict[str, Any]


def changed(victim: Victim, change: Callable[[Document], object], path: Path, kind: int = 0) -> Path:
    """A record with something exchanged, written as canonical JSON."""
    document = json.loads(victim.records[kind].read_bytes())
    change(document)
    path.write_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return path


def bound_part(name: str, value: object) -> Callable[[Document], None]:
    return lambda document: document["bound"].update({name: value})


def slot(name: str, value: object) -> Callable[[Document], None]:
    return lambda document: document["bound"]["slots"][0].update({name: value})


def many_positions(document: Document) -> None:
    document["bound"]["parameters"]["positions"] = 2**24


def huge_slots(document: Document) -> None:
    document["bound"]["slots"] = [{**document["bound"]["slots"][0], "shape": [2**60, 2], "row_size": 2}] * 9


def spare_bits(document: Document) -> None:
    """Another last character that decodes to the same bytes."""
    data = base64.b64encode(bytes(8)).decode()
    document["bound"]["arrays"]["deviations"] = {"dtype": "<f8", "data": data[:-2] + "B="}


REFUSED = {
    "more positions than values": many_positions,
    "slots of 2**60 rows": huge_slots,
    "spare bits": spare_bits,
    "a role with control characters": bound_part("role", "\x1b[31mTracker"),
    "a role of its own": bound_part("role", "Owner"),
    "half a surrogate pair": bound_part("actor", "\ud800"),
    "an eligible slot of two": slot("eligible", 2),
    "a negative shape": slot("shape", [-64, -64]),
    "a shape of one dimension": slot("shape", [4096]),
    "rows that do not divide": slot("row_size", 63),
    "dead rows from nowhere": slot("dead_rows", [64]),
    "dead rows twice": slot("dead_rows", [3, 3]),
    "an unknown element type": lambda document: document["bound"]["arrays"]["anchors"].update(dtype="|O"),
    "an unknown format": lambda document: document.update(format="onnxnnw/record/99"),
    "a short secret": lambda document: document.update(secret="AAAA"),
    "a float": lambda document: document["bound"]["parameters"].update(positions=512.0),
    "a list": lambda document: document.update(bound=[1, 2]),
    "a large number": lambda document: document["bound"]["parameters"].update(anchors=10**30),
}


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.replace(" ", "-"))
def test_an_impossible_record_is_refused(victim: Victim, tmp_path: Path, case: str) -> None:
    """By name, on one line, without its secret."""
    path = changed(victim, REFUSED[case], tmp_path / "r")
    with pytest.raises(UnreadableRecord) as caught:
        load_record(path)
    assert str(caught.value).isprintable()
    assert json.loads(victim.watermark.read_bytes())["secret"] not in str(caught.value)


CONTRADICTORY = {
    "one large slot": slot("shape", [2**21, 64]),
    "one wide slot": lambda document: document["bound"]["slots"][0].update(shape=[2, 2**40], row_size=2**40),
    "an unknown method": bound_part("method", "rtw2"),
    "an unknown kind": bound_part("kind", "neither"),
    "no arrays": lambda document: document["bound"].update(
        arrays={k: {"dtype": "|u1", "data": "AAAA" * 200} for k in "ab"}
    ),
    "a strange strength": lambda document: document["bound"]["parameters"].update(strength="1e400"),
    "a strength in words": lambda document: document["bound"]["parameters"].update(strength="much"),
    "no number of positions": lambda document: document["bound"]["parameters"].pop("positions"),
    "no positions": lambda document: document["bound"]["parameters"].update(positions=0),
    "no slots": bound_part("slots", []),
    "another element type": slot("data_type", "string"),
}


@pytest.mark.parametrize("case", CONTRADICTORY, ids=lambda case: case.replace(" ", "-"))
@pytest.mark.parametrize("kind", [0, 1])
def test_a_contradictory_record_is_answered_or_refused(victim: Victim, tmp_path: Path, case: str, kind: int) -> None:
    """Never traced, and never an error that was not meant."""
    path = changed(victim, CONTRADICTORY[case], tmp_path / "r", kind)
    with contextlib.suppress(TraceabilityError):
        (verdict,) = verify(victim.path, [load_record(path)])
        strength = "strength" in case and kind == 1  # a fingerprint has none
        assert verdict.decision in ({"traced"} if strength else {"not traced", "inconclusive"})


def test_what_is_no_file_is_no_record(victim: Victim, tmp_path: Path) -> None:
    """Pipes, devices, folders: refused at once."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "missing"):
        with pytest.raises(UnreadableRecord):
            load_record(path)


NO_RECORDS = [
    b"",
    b"{",
    b"null",
    b"[" * 100_000,
    b"9" * 10_000,
    b'{"format":' * 5000,
    b"\xff\xfe",
    b'{"a":1,"a":2}',
    b"NaN",
]


@pytest.mark.parametrize("content", [*NO_RECORDS, b"\x80\x04."])
def test_what_is_no_record_is_refused(content: bytes) -> None:
    """Nothing, half of JSON, endless nesting, long numbers, other encodings, keys given twice, pickles."""
    with pytest.raises(UnreadableRecord):
        Record.from_bytes(content)


@pytest.mark.slow
def test_a_hostile_watermark_record_costs_bounded_memory(victim: Victim, tmp_path: Path) -> None:
    """Sixty-four kilobytes that announce a lot."""
    for change in (many_positions, huge_slots, slot("shape", [2**30, 64]), CONTRADICTORY["one wide slot"]):
        path = changed(victim, change, tmp_path / "r")
        found = look(victim.path, path)
        assert found.outcome in {"UnreadableRecord", "not traced", "inconclusive"}
        assert found.peak <= bound(path.stat().st_size)
