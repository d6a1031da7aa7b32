"""A log of verifications: one line each, appended whole, each with the hash of the line before it."""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnreadableData, UsageError
from onnxnnw.evidence.answer import WORDS, Answer
from onnxnnw.evidence.statements import now
from onnxnnw.flow.runtime_operators import VERSIONS

__all__ = ["FORMAT", "append", "tool_hash"]

FORMAT = "onnxnnw/log/1"
MAX_LINE = 2**20
_START = "0" * 64


def append(path: Path, answers: Sequence[Answer], version: str, policy: tuple[Path, str] | None) -> None:
    """Append one line for each answer; what stands in the file is never touched.

    Args:
        policy: File and SHA-256 of the policy that was applied.

    Raises:
        UsageError: The file is something else than a log, or ends in the middle of a line.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UsageError(f"{path}: a log is a regular file")
        _lock(file.fileno())
        previous = _last_hash(file, path)
        lines = b""
        for answer in answers:
            line = json.dumps(_entry(answer, version, policy, previous), sort_keys=True, ensure_ascii=True).encode()
            previous = hashlib.sha256(line).hexdigest()
            lines += line + b"\n"
        written = file.write(lines)
        if written != len(lines):
            raise UnreadableData(
                f"{path}: only {written:,} of {len(lines):,} bytes could be written; its last line is cut"
            )
        os.fsync(file.fileno())


def _entry(answer: Answer, version: str, policy: tuple[Path, str] | None, previous: str) -> dict[str, Any]:
    files = answer.subject.files if answer.subject is not None else ()
    search = answer.search
    return {
        "format": FORMAT,
        "time": now(),
        "file": answer.name,
        "sha256": {file.name: file.sha256 for file in files},
        "tool": {"version": version, "sha256": tool_hash()},
        "tables": {"versions": dict(VERSIONS), "sha256": _tables_hash()},
        "policy": policy[1] if policy is not None else None,
        "wanted": answer.asked,
        "answer": WORDS[answer.code],
        "problems": [f"{problem.rule.id} {problem.sentence}" for problem in answer.problems][:50],
        "records": {v.evidence.commitment: v.decision for v in (search.verdicts if search is not None else ())[:200]},
        "previous": previous,
    }


@cache
def tool_hash() -> str:
    """SHA-256 over all Python files of the package, by name: which code answered."""
    root = Path(__file__).parent.parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@cache
def _tables_hash() -> str:
    """SHA-256 of the list of operators by which local functions are read or not."""
    from onnxnnw.flow.runtime_operators import runtime_operators

    names = {domain: sorted(names) for domain, names in sorted(runtime_operators().items())}
    return hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()


def _last_hash(file: Any, path: Path) -> str:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return _START
    start = max(0, size - MAX_LINE)
    file.seek(start)
    tail = file.read(MAX_LINE)
    if not tail.endswith(b"\n"):
        raise UsageError(f"{path}: ends in the middle of a line; look at it, then give another file")
    line = tail[:-1].rpartition(b"\n")[2]
    if not line.startswith(b"{") or b'"format": "onnxnnw/log/' not in line:
        raise UsageError(f"{path}: is no log of verifications; give another file")
    return hashlib.sha256(line).hexdigest()


def _lock(descriptor: int) -> None:
    """Keep other writers out until the file is closed, where the system can."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
