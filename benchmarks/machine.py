"""The machine, and commands on it as child processes: wall time, CPU time and peak memory, side by side.

This process stays small and imports no NumPy: on Linux a child's peak memory is at least what its parent had when it
was started.
"""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Contender", "Failed", "Measured", "Run", "bytecode_in", "compare", "describe", "evict", "python", "run"]

PACKAGES = ("onnxnnw", "numpy", "onnx", "protobuf", "typer", "pydantic", "model-signing")

_environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Failed(Exception):
    """A command that had to work did not."""


@dataclass(frozen=True)
class Run:
    """One run of a command."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    code: int
    output: str


@dataclass(frozen=True)
class Contender:
    """One of the commands that are held side by side.

    Attributes:
        name: What the table calls it.
        command: None where it is not installed.
        before: What is done, untimed, before each run.
        accepted: Exit codes that count as having worked.
    """

    name: str
    command: Sequence[str] | None
    before: Callable[[], object] = lambda: None
    accepted: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Measured:
    """Medians of several runs, and what the last one printed."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    fastest: float
    output: str


def bytecode_in(folder: Path) -> None:
    """Let children keep compiled modules in ``folder``, as an installation does: nobody measures the compiler."""
    _environment["PYTHONPYCACHEPREFIX"] = str(folder)


def python(*arguments: str) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, *arguments]


def run(command: Sequence[str]) -> Run:
    """Run a command to its end."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=_environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak, process.returncode, text)


def compare(contenders: Sequence[Contender], repeats: int, evicted: Sequence[Path] = ()) -> dict[str, Measured]:
    """Run commands in turn, A B C A B C …, after one round that is not counted.

    Args:
        contenders: Those without a command are left out.
        repeats: Counted rounds.
        evicted: Files that are put out of the page cache before each run: the data is cold, the programs are not.

    Raises:
        Failed: A command ended with an exit code that it does not accept.
    """
    present = [contender for contender in contenders if contender.command is not None]
    runs: dict[str, list[Run]] = {contender.name: [] for contender in present}
    for number in range(repeats + 1):
        for contender in present:
            contender.before()
            evict(evicted)
            assert contender.command is not None
            done = run(contender.command)
            if done.code not in contender.accepted:
                raise Failed(f"{' '.join(contender.command)} ended with {done.code}:\n{done.output[-2000:]}")
            if number or repeats == 0:
                runs[contender.name].append(done)
    return {name: _median(several) for name, several in runs.items()}


def _median(runs: Sequence[Run]) -> Measured:
    return Measured(
        seconds=statistics.median(one.seconds for one in runs),
        cpu_seconds=statistics.median(one.cpu_seconds for one in runs),
        peak_mb=statistics.median(one.peak_mb for one in runs),
        fastest=min(one.seconds for one in runs),
        output=runs[-1].output,
    )


def evict(files: Sequence[Path]) -> None:
    """Put files out of the page cache (Linux only; elsewhere nothing happens)."""
    for path in files:
        with contextlib.suppress(AttributeError, OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def describe() -> list[str]:
    """Machine, system, versions, date and load, as lines of Markdown."""
    versions = []
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    cores = os.cpu_count() or 1
    lines = [
        f"Machine: {_cpu()}, {cores} cores, {_memory()}, {platform.system()} {platform.release().split('-')[0]} "
        f"({platform.machine()}), Python {platform.python_version()}, {', '.join(versions)}.",
        f"Date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC.",
    ]
    if hasattr(os, "getloadavg"):
        lines.append(f"Other work on the machine: load average {os.getloadavg()[0]:.1f} on {cores} cores at the start.")
    return lines


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown CPU"


def _memory() -> str:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return "unknown memory"
