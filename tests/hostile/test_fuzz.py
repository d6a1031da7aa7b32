"""Ten thousand damaged networks and records: an answer or a named error, never a crash, a hang or another reading."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def failures(kind: str, seed: int, cases: int, folder: Path, seconds: int) -> list[str]:
    """Run cases in a process with limits; every case is reproducible by its number."""
    command = [sys.executable, "-m", "tests.support.byte_fuzz", kind, str(seed), str(cases), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "cases"), [("networks", 360), ("records", 130), ("commands", 10)])
def test_some_damaged_files_are_answered_or_refused(tmp_path: Path, kind: str, cases: int) -> None:
    """Five hundred of them, against the library, onnx.load and the command line."""
    assert failures(kind, 0, cases, tmp_path, 120) == []


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "cases"), [("networks", 7800), ("records", 2000), ("commands", 200)])
def test_many_damaged_files_are_answered_or_refused(tmp_path: Path, kind: str, cases: int) -> None:
    """Ten thousand, other ones."""
    assert failures(kind, 100_000, cases, tmp_path, 300) == []
