"""What an answer means: exit codes where something could not be looked at, and words that say no more than is known."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnxnnw.cli.entry import main
from onnxnnw.enrolment import Owner, fingerprint
from onnxnnw.records import load_record
from onnxnnw.verification import verify
from tests.graph.networks import dense, save

NOBODY = 65534


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


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize("hidden", ["own.onnx", "own.record"])
def test_a_file_that_may_not_be_read_could_not_be_looked_at(place: Path, hidden: str) -> None:
    """Exit 3, as for every other reason; 2 would mean that the command was typed wrongly."""
    for folder in (place, *place.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    for path in place.iterdir():
        path.chmod(0o600 if path.name == hidden else 0o644)
    arguments = ["verify", str(place / "own.onnx"), "--record", str(place / "own.record")]
    script = "\n".join(
        [
            "import contextlib, os, onnxnnw.cli.entry as entry",
            "with contextlib.suppress(SystemExit):",  # once as root: the interpreter's own files may lie where nobody may look
            f"    entry.main({arguments!r})",
            f"os.setuid({NOBODY})",
            f"entry.main({arguments!r})",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "Permission denied" in done.stderr


def test_who_gave_it_to_whom_comes_out_of_a_verification(place: Path) -> None:
    """Clause 2, 1.b: the receiving Actor."""
    (verdict,) = verify(place / "own.onnx", [load_record(place / "own.record")])
    assert (verdict.source_id, verdict.destination_id) == ("source-1", "destination-2")
    document = verdict.to_json()
    assert (document["source_id"], document["destination_id"]) == ("source-1", "destination-2")
    assert {"onnx", "onnxruntime"} <= document["operator_tables"].keys()


def test_little_evidence_is_not_called_none(place: Path) -> None:
    """Eight positions that agree entirely are a small p-value, and no proof at 1e-6."""
    fingerprint(place / "own.onnx", place / "small.record", positions=20)
    (verdict,) = verify(place / "own.onnx", [load_record(place / "small.record")], rate=1e-9)
    assert verdict.decision == "inconclusive"
    assert verdict.log10_p < -2
    assert "no evidence" not in verdict.evidence.sentence
