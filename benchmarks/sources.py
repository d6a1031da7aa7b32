"""``onnxnnw verify`` behind an address, beside download and verify; and of files on this disk, beside an older version.

    python -m benchmarks sources [--sizes 1.5GB] [--latency 30] [--before FOLDER] [--nodes 1000,50000]

The server is started here, in a process of its own: HTTP/1.1 on this machine, each answer late by the latency (milliseconds).
``--before`` names a folder with an older version's package, whose ``verify`` is measured in turn with this one's.
"""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.contenders import make, network, ours
from benchmarks.machine import Contender, Measured, python
from benchmarks.tables import (
    Report,
    Workplace,
    megabytes,
    options_of,
    parse_size,
    progress,
    seconds,
    size_text,
    workplace,
)

ROOT = Path(__file__).parent.parent
LAYER = 32 * 2**20
FILLED = 0.2
"""External networks are sparse files: one layer in five holds values."""


def main(arguments: list[str]) -> int:
    """Measure and print the tables."""
    options = options_of(
        "sources", __doc__, arguments, sizes="1.5GB", latency="30", before="", nodes="1000,50000", local="1MB,100MB"
    )
    report = Report("sources", arguments, options.section)
    rows: list[tuple[str, ...]] = []
    with workplace(options.folder) as work:
        for size in map(parse_size, filter(None, options.sizes.split(","))):
            for external in (False, True):
                rows += _remote(work, size, external, float(options.latency) / 1e3, options.repeats)
        report.table(
            f"verify of a network behind HTTP, {options.latency} ms a request, N = 512",
            [
                "weights",
                "stored",
                "record",
                "what",
                "seconds (fastest)",
                "CPU seconds",
                "bytes",
                "requests",
                "peak memory",
            ],
            rows,
        )
        report.publish(options.output)
        local = [
            _local(work, size_text(parse_size(size)), ["--bytes", str(parse_size(size))], options)
            for size in filter(None, options.local.split(","))
        ]
        local += [
            _local(work, f"{int(nodes):,} nodes", ["--nodes", nodes], options)
            for nodes in filter(None, options.nodes.split(","))
        ]
        report.table(
            "verify of a file on this disk, fingerprint, N = 512: CPU seconds, median (fastest wall seconds)",
            [
                "network",
                "known skeleton",
                "traced",
                "older version, traced",
                "traced : older version",
                "peak memory, known",
            ],
            local,
        )
        report.publish(options.output)
    return 0


@contextlib.contextmanager
def _served(folder: Path, latency: float) -> Iterator[str]:
    """The address of a server of a folder."""
    command = [sys.executable, "-m", "tests.support.range_server", str(folder), str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def _remote(work: Workplace, size: int, external: bool, latency: float, repeats: int) -> Iterator[tuple[str, ...]]:
    where = "external, sparse" if external else "embedded"
    progress(f"sources: {size_text(size)}, {where}")
    with work.room("remote", int(2.2 * size)) as room:
        if room is None:
            yield (size_text(size), where, "skipped: the disk is too small", *[""] * 6)
            return
        folder, copy = room / "served", room / "copy"
        folder.mkdir()
        copy.mkdir()
        path = folder / "net.onnx"
        shape = ["--bytes", str(size), "--layer", str(LAYER)]
        network(path, *shape, *(["--external", "--filled", str(FILLED)] if external else []))
        records = {"fingerprint": room / "f.record"}
        if not external:
            marked = folder / "marked.onnx"
            records["watermark"] = room / "w.record"
            make(python("-m", "onnxnnw", "embed", str(path), "-o", str(marked), "--record", str(records["watermark"])))
            path.unlink()
            path = marked
        make(python("-m", "onnxnnw", "fingerprint", str(path), "-o", str(records["fingerprint"])))
        with _served(folder, latency) as url:
            for kind, record in records.items():
                yield from _one_record(
                    f"{url}/{path.name}", record, copy, sorted(folder.iterdir()), repeats, size, where, kind
                )


def _one_record(
    address: str, record: Path, copy: Path, files: list[Path], repeats: int, size: int, where: str, kind: str
) -> Iterator[tuple[str, ...]]:
    base = address.rpartition("/")[0]
    names = [file.name for file in files if file.suffix != ".record"]
    fetch = (
        "import sys, urllib.request as u, shutil, subprocess\n"
        f"for n in {names!r}:\n with u.urlopen({base!r} + '/' + n) as r, open({str(copy)!r} + '/' + n, 'wb') as f:\n"
        "  shutil.copyfileobj(r, f, 2**20)\n"
        f"sys.exit(subprocess.run([sys.executable, '-m', 'onnxnnw', 'verify', {str(copy / Path(address).name)!r}, "
        f"'--record', {str(record)!r}]).returncode)"
    )
    contenders = [
        ours("known skeleton", "verify", address, "--record", record),
        ours("traced", "verify", address, "--record", record, "--min-explained", "0.01"),
        Contender("download and verify", python("-c", fetch)),
    ]
    found = machine.compare(contenders, repeats)
    for name, measured in found.items():
        said = re.search(r"read ([\d,]+) bytes in ([\d,]+) requests", measured.output)
        numbers = (said[1], said[2]) if said else (f"{sum(file.stat().st_size for file in files):,}", str(len(names)))
        yield (
            size_text(size),
            where,
            kind,
            name,
            f"{seconds(measured)} ({measured.fastest:.3f})",
            f"{measured.cpu_seconds:.2f}",
            *numbers,
            megabytes(measured),
        )


def _local(work: Workplace, name: str, shape: list[str], options: object) -> tuple[str, ...]:
    before, repeats = options.before, options.repeats  # type: ignore[attr-defined]
    progress(f"sources: {name}, on this disk")
    with work.room("local", 2**30) as room:
        if room is None:
            return (name, "skipped: the disk is too small", *[""] * 4)
        path, record, older = room / "net.onnx", room / "net.record", room / "older.record"
        network(path, *shape)
        make(python("-m", "onnxnnw", "fingerprint", str(path), "-o", str(record)))
        look = ("verify", str(path), "--record")
        contenders = [
            Contender("known", _version(ROOT, *look, str(record))),
            Contender("traced", _version(ROOT, *look, str(record), "--min-explained", "0.01")),
        ]
        if before:
            make(_version(Path(before), "fingerprint", str(path), "-o", str(older)))
            contenders = [contenders[0], Contender("traced", _version(ROOT, *look, str(older)))]
            contenders.append(Contender("older", _version(Path(before), *look, str(older))))
        found = machine.compare(contenders, repeats)
    older_time = found["older"] if before else None
    ratio = f"{found['traced'].cpu_seconds / older_time.cpu_seconds:.2f}" if older_time else ""
    return (name, _cell(found["known"]), _cell(found["traced"]), _cell(older_time), ratio, megabytes(found["known"]))


def _version(folder: Path, *arguments: str) -> list[str]:
    """``onnxnnw …`` of the package in a folder, wherever this process was started."""
    return ["env", f"PYTHONPATH={folder}", sys.executable, "-P", "-m", "onnxnnw", *arguments]


def _cell(measured: Measured | None) -> str:
    return "" if measured is None else f"{measured.cpu_seconds:.2f} ({measured.fastest:.2f})"
