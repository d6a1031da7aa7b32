"""Verify one candidate in a process of its own, and report outcome, time and peak memory as JSON.

Run as ``python -m tests.support.bounded_run CANDIDATE RECORD``; ``look`` does so from a test.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate: a decision or the name of an error, its text, seconds, and peak memory in bytes."""

    outcome: str
    text: str
    seconds: float
    peak: int
    stderr: str


def look(candidate: Path, record: Path) -> Outcome:
    """Verify in a fresh process; its standard error stays empty and its memory within DESIGN's bound."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    command = [sys.executable, "-W", "error", "-m", "tests.support.bounded_run", str(candidate), str(record)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MAX_SECONDS, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    return Outcome(**json.loads(done.stdout), stderr=done.stderr)


def bound(outside: int) -> int:
    """200 MB + 40 bytes for each byte outside large tensors."""
    return 200 * 10**6 + 40 * outside


def main() -> None:
    from onnxnnw.errors import TraceabilityError
    from onnxnnw.verification.named_records import named_record
    from onnxnnw.verification.verify import verify

    candidate, record = sys.argv[1:]
    start = time.perf_counter()
    try:
        (verdict,) = verify(candidate, [named_record(record)], full=True)
        outcome, text = verdict.decision, json.dumps(verdict.to_json())
    except TraceabilityError as error:
        outcome, text = type(error).__name__, str(error)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    report = {"outcome": outcome, "text": text, "seconds": seconds, "peak": peak * 1024}
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
