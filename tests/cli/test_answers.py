"""What an answer means: exit codes where something could not be looked at, and words that say no more than is known."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxnnw.cli.entry import main
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.enrolment.owner import Owner
from onnxnnw.records.key import Key
from onnxnnw.records.record_file import load_record
from onnxnnw.verification.evidence import not_proven
from onnxnnw.verification.verify import verify
from tests.support.networks import dense, save

DROP_CAPABILITIES = """
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None, use_errno=True).capset(header, data) == 0, os.strerror(ctypes.get_errno())
"""
"""Makes root a user like others, whom permissions bind, without taking the interpreter's own files away from it [capset(2)]."""


def code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A network with a record, a stranger, and a file that is no record."""
    save(dense(width=64), tmp_path / "own.onnx")
    save(dense(width=64, seed=9), tmp_path / "stranger.onnx")
    fingerprint(
        tmp_path / "own.onnx", tmp_path / "own.record", owner=Owner("A", "Tracker", "source-1", "destination-2")
    )
    (tmp_path / "broken.record").write_text("{}")
    return tmp_path


def test_a_record_that_cannot_be_read_makes_no_no(place: Path) -> None:
    """Nobody knows what it would have said; what the others say is still a yes."""
    records = ["--record", place / "own.record", "--record", place / "broken.record"]
    assert code("verify", place / "stranger.onnx", "--record", place / "own.record") == 1
    assert code("verify", place / "stranger.onnx", *records) == 3
    assert code("verify", place / "own.onnx", *records) == 0
    folder = place / "records"
    folder.mkdir()
    for name in ("own.record", "broken.record"):
        (place / name).rename(folder / name)
    assert code("verify", place / "stranger.onnx", "--records", folder) == 3
    assert code("verify", place / "own.onnx", "--records", folder) == 0


def test_a_record_that_could_not_be_read_might_have_met_the_gate(place: Path) -> None:
    """A changed network is traced, and not identical: no, unless somebody else's answer is missing."""
    changed = place / "changed.onnx"
    assert code("modify", place / "own.onnx", "gaussian-noise", "--ratio", 0.01, "-o", changed) == 0
    arguments = ["verify", changed, "--require", "identical", "--record", place / "own.record"]
    assert code(*arguments) == 1
    assert code(*arguments, "--record", place / "broken.record") == 3


def test_the_worst_of_several_verdicts_can_leave_the_answer_open(place: Path) -> None:
    """The best is a no to the gate – traced, and not identical –, and another has too few positions to say anything."""
    changed = place / "changed.onnx"
    assert code("modify", place / "own.onnx", "gaussian-noise", "--ratio", 0.01, "-o", changed) == 0
    assert code("fingerprint", place / "own.onnx", "-o", place / "small.record", "--positions", 8) == 0
    own, small = ["--record", place / "own.record"], ["--record", place / "small.record"]
    assert code("verify", changed, "--require", "identical", *own) == 1
    assert code("verify", changed, "--require", "identical", *own, *small) == 3
    assert code("verify", place / "stranger.onnx", *own, *small) == 3
    assert code("verify", changed, *small, *own) == 0


def test_several_records_are_examined_without_those_that_cannot_be(place: Path, capsys) -> None:
    """They are named as in a folder, and no p-value pays for them; one alone, or all of them, is an error."""
    own, broken, missing = place / "own.record", place / "broken.record", place / "missing.record"
    alone = verify(place / "own.onnx", [load_record(own)])[0]
    assert code("verify", place / "own.onnx", "--record", broken, "--record", own, "--record", missing, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["decision"] == "traced"
    assert document["log10_p"] == pytest.approx(alone.log10_p, abs=1e-3)
    assert [str(broken) in said or str(missing) in said for said in document["unreadable_records"]] == [True, True]
    assert code("verify", place / "own.onnx", "--record", broken, "--record", own) == 0
    assert f"warning: not searched: {broken}" in capsys.readouterr().err
    for records in (["--record", broken], ["--record", broken, "--record", missing]):
        assert code("verify", place / "own.onnx", *records) == 3
        shown = capsys.readouterr()
        assert (shown.out, str(broken) in shown.err) == ("", True)


def test_a_link_to_nowhere_is_a_record_that_cannot_be_read(place: Path) -> None:
    """A record whose disk is not there is still one of the folder."""
    folder = place / "records"
    (folder / "old").mkdir(parents=True)
    (place / "own.record").rename(folder / "own.record")
    assert code("verify", place / "stranger.onnx", "--records", folder) == 1
    (folder / "other.record").symlink_to(place / "nowhere")
    assert code("verify", place / "stranger.onnx", "--records", folder) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs permissions of files, and their capabilities")
@pytest.mark.parametrize(
    ("given", "hidden", "candidate", "expected"),
    [
        ("--record own.record", "own.onnx", "own.onnx", 3),
        ("--record own.record", "own.record", "own.onnx", 3),
        ("--record own.record --record records/other.record", "own.record", "own.onnx", 0),
        ("--record own.record --record records/other.record", "own.record", "stranger.onnx", 3),
        ("--records records", "records/own.record", "own.onnx", 0),
        ("--records records", "records/own.record", "stranger.onnx", 3),
        ("--records records", "records", "own.onnx", 3),
    ],
)
def test_a_file_that_may_not_be_read_could_not_be_looked_at(
    place: Path, given: str, hidden: str, candidate: str, expected: int
) -> None:
    """Exit 3, as for every other reason; 2 would mean that the command was typed wrongly."""
    (place / "records").mkdir()
    for name in ("own.record", "other.record"):
        (place / "records" / name).write_bytes((place / "own.record").read_bytes())
    root = os.geteuid() == 0
    for path in place.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    arguments = ["verify", candidate, *given.split()]
    script = "\n".join(
        [
            "import ctypes, os, onnxnnw.cli.entry as entry",
            f"os.chmod({hidden!r}, 0)",
            DROP_CAPABILITIES if root else "",
            f"entry.main({arguments!r})",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=place)
    (place / hidden).chmod(0o700)
    assert done.returncode == expected, done.stderr
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "inspect broken.record",
        "digest broken.record",
        "fingerprint broken.record -o new.record",
        "embed broken.record -o new.onnx --record new.record",
        "embed own.onnx -o new.onnx --record new.record --keep broken.record",
        "modify broken.record gaussian-noise --ratio 0.1 -o new.onnx",
        "measure broken.record --own broken.record --metric top1",
        "report broken.record -o report.html",
        "verify own.onnx --records broken.record",
    ],
)
def test_no_command_calls_an_unreadable_file_wrong_usage(line: str, place: Path, monkeypatch, capsys) -> None:
    """Whether it can be read is found by reading it, not by asking before."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert code(*line.split()) == 3, capsys.readouterr().err


def test_who_gave_it_to_whom_comes_out_of_a_verification(place: Path) -> None:
    """Clause 2, 1.b: the receiving Actor."""
    (verdict,) = verify(place / "own.onnx", [load_record(place / "own.record")])
    assert (verdict.source_id, verdict.destination_id) == ("source-1", "destination-2")
    document = verdict.to_json()
    assert (document["source_id"], document["destination_id"]) == ("source-1", "destination-2")
    assert {"onnx", "onnxruntime"} <= document["operator_tables"].keys()


def test_a_fingerprint_keeps_who_gave_it_to_whom(place: Path, capsys) -> None:
    """As a watermark does, by the same options; and people read it too."""
    record = place / "given.record"
    ids = ["--source-id", "ACME-7", "--destination-id", "Customer-8"]
    assert code("fingerprint", place / "own.onnx", "-o", record, *ids) == 0
    capsys.readouterr()
    assert code("verify", place / "own.onnx", "--record", record, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["source_id"], document["destination_id"]) == ("ACME-7", "Customer-8")
    assert code("verify", place / "own.onnx", "--record", record) == 0
    assert "from ACME-7 to Customer-8" in capsys.readouterr().out


def test_little_evidence_is_not_called_none(place: Path) -> None:
    """Twenty positions that agree entirely are a small p-value, and no proof at 1e-9."""
    fingerprint(place / "own.onnx", place / "small.record", positions=20, key=Key(b"s" * 32))
    (verdict,) = verify(place / "own.onnx", [load_record(place / "small.record")], rate=1e-9)
    assert verdict.decision == "inconclusive"
    assert verdict.log10_p < -2
    assert verdict.evidence.sentence.startswith("weak evidence: log10 p -")
    assert "does not reach the rate 1e-09" in verdict.evidence.sentence


@pytest.mark.parametrize("decision", ["not traced", "inconclusive"])
def test_the_evidence_says_what_holds(decision: str) -> None:
    """Over p-values and rates: never that there is none where there is some, nor that it misses a rate which it reaches."""
    for rate in (0.05, 1e-3, 1e-6, 1e-12):
        for log10_p in (*np.arange(0, -15, -0.01), -np.inf):
            said = not_proven(decision, float(log10_p), rate)
            assert ("weak evidence" in said) == (log10_p < -2)
            neither = log10_p < -2 and log10_p <= np.log10(rate)  # far beyond chance, and still no answer
            assert ("too little could be read" in said) == (decision == "inconclusive" and not neither)
            assert ("excludes none" in said) == (decision == "inconclusive" and neither)
            assert ("no evidence" in said) == (log10_p >= -2 and decision == "not traced")
            if "does not reach" in said:
                assert log10_p > np.log10(rate)
                assert float(said.split("log10 p ")[1].split()[0]) > np.log10(rate)
            if "reaches" in said:
                assert log10_p <= np.log10(rate)
