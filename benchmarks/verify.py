"""``onnxnnw verify``: the fast path at every size, graphs of many nodes, and the thorough path, beside other tools."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.contenders import (
    bare_imports,
    make,
    network,
    onnx_load,
    ours,
    read_json,
    sha256sum,
    sign,
    signature,
)
from benchmarks.machine import Failed, Measured, python
from benchmarks.tables import (
    Report,
    Workplace,
    listed,
    megabytes,
    options_of,
    parse_size,
    progress,
    seconds,
    size_text,
    within,
    workplace,
)

SIZES = "1MB,10MB,100MB,500MB,1.5GB,1.9GB,10GB"
NODES = "1000,10000,50000"
THOROUGH = "100MB,500MB"
FORMS = ("renamed", "folded", "int8")
EMBEDDED = 2 * 10**9
LARGE_LAYER = 64 * 2**20
"""Networks beyond 2 GB have larger layers, and one in ten of them holds values: the rest is a hole in a sparse file."""

FILLED = 0.1
RSS_BUDGET, IMPORTS_BUDGET = 80.0, 1.5


def main(arguments: list[str]) -> int:
    """Measure and print the tables."""
    options = options_of("verify", __doc__, arguments, sizes=SIZES, nodes=NODES, thorough=THOROUGH)
    report = Report("verify", arguments, options.section)
    with workplace(options.folder) as work:
        if options.sizes:
            _sizes(report, work, options)
        if options.nodes:
            _nodes(report, work, options)
        if options.thorough:
            _thorough(report, work, options)
    return 0


def _sizes(report: Report, work: Workplace, options: argparse.Namespace) -> None:
    warm_rows: list[tuple[str, ...]] = []
    cold_rows: list[tuple[str, ...]] = []
    for size in map(parse_size, listed(options.sizes)):
        progress(f"verify: {size_text(size)}")
        sparse = size > EMBEDDED
        with work.room("network", int(FILLED * size) + LARGE_LAYER if sparse else 2 * size) as room:
            if room is None:
                warm_rows.append((size_text(size), "skipped: the disk is too small", *[""] * 8))
            else:
                warm, cold = _one_size(room, size, sparse, options.repeats)
                where = "external, sparse" if sparse else "embedded"
                warm_rows.append((size_text(size), where, *_warm_cells(warm)))
                cold_rows.append((size_text(size), *_cold_cells(cold)))
        _publish_sizes(report, warm_rows, cold_rows, options.output)


def _publish_sizes(
    report: Report, warm_rows: list[tuple[str, ...]], cold_rows: list[tuple[str, ...]], output: Path | None
) -> None:
    """The report with what was measured so far: the largest sizes take long, and a run may be stopped."""
    report.table(
        "verify, fast path, N = 512 (file in the page cache), seconds",
        [
            "weights",
            "stored",
            "verify, watermark",
            "verify, fingerprint",
            "bare imports",
            "onnx.load",
            "sha256sum",
            "model_signing verify",
            "budget: ≤ 1.5 × bare imports",
            "budget: peak memory",
        ],
        warm_rows,
    )
    report.table(
        "The same, file not in the page cache, seconds",
        ["weights", "verify, watermark", "verify, fingerprint", "onnx.load", "sha256sum", "model_signing verify"],
        cold_rows,
    )
    report.publish(output)


def _one_size(room: Path, size: int, sparse: bool, repeats: int) -> tuple[dict[str, Measured], dict[str, Measured]]:
    folder = room / "network"
    folder.mkdir()
    marked, records = folder / "marked.onnx", {"verify, fingerprint": room / "fingerprint.record"}
    if sparse:
        network(marked, "--bytes", str(size), "--layer", str(LARGE_LAYER), "--external", "--filled", str(FILLED))
    else:
        original = network(room / "net.onnx", "--bytes", str(size))
        records = {"verify, watermark": room / "mark.record", **records}
        record = str(records["verify, watermark"])
        make(python("-m", "onnxnnw", "embed", str(original), "-o", str(marked), "--record", record))
        original.unlink()
    make(python("-m", "onnxnnw", "fingerprint", str(marked), "-o", str(records["verify, fingerprint"])))
    files = sorted(folder.iterdir())
    own = [ours(name, "verify", marked, "--record", record, "--json") for name, record in records.items()]
    others = [sha256sum(*files), signature(folder, room, sign(folder, room))]
    if not sparse:
        others.insert(0, onnx_load(marked))
    warm = machine.compare([*own, bare_imports(), *others], repeats)
    for name in records:
        _expect(warm[name], "fast")
    return warm, machine.compare([*own, *others], min(repeats, 3), files)


def _expect(measured: Measured, path: str) -> None:
    """Make sure that the path was measured that the table speaks of."""
    found = read_json(measured.output)
    if found["decision"] != "traced" or found["path"] != path:
        raise Failed(f"verify said {found['decision']!r} on the {found['path']} path, not 'traced' on the {path} path")


def _warm_cells(found: dict[str, Measured]) -> Iterator[str]:
    bare = next(one for name, one in found.items() if name.startswith("import "))
    own = [one for name, one in found.items() if name.startswith("verify")]
    yield seconds(found.get("verify, watermark"))
    yield seconds(found["verify, fingerprint"])
    yield seconds(bare)
    yield from _others(found)
    yield within(own[0].seconds, IMPORTS_BUDGET * bare.seconds, "s")
    yield within(max(one.peak_mb for one in own), RSS_BUDGET, "MB")


def _cold_cells(found: dict[str, Measured]) -> Iterator[str]:
    yield seconds(found.get("verify, watermark"))
    yield seconds(found["verify, fingerprint"])
    yield from _others(found)


def _others(found: dict[str, Measured]) -> Iterator[str]:
    loaded = found.get("onnx.load")
    yield f"{seconds(loaded)} ({loaded.peak_mb:,.0f} MB)" if loaded else "not run"
    for name in ("sha256sum", "model_signing verify"):
        yield seconds(found[name]) if name in found else "not installed"


def _nodes(report: Report, work: Workplace, options: argparse.Namespace) -> None:
    rows = []
    first: tuple[int, float] | None = None
    for count in map(int, listed(options.nodes)):
        progress(f"verify: {count} nodes")
        with work.room("nodes", 10**9) as room:
            if room is None:
                rows.append((f"{count:,}", "skipped: the disk is too small", *[""] * 4))
                continue
            model, record = network(room / "net.onnx", "--nodes", str(count)), room / "net.record"
            make(python("-m", "onnxnnw", "fingerprint", str(model), "-o", str(record)))
            found = machine.compare(
                [ours("verify", "verify", model, "--record", record, "--json"), bare_imports(), onnx_load(model)],
                options.repeats,
            )
            own = found["verify"]
            _expect(own, "fast")
            first = first or (count, own.seconds)
            more = ""
            if count > first[0]:
                more = within((own.seconds - first[1]) / (count - first[0]) * 1e6, 1.0, "ms per 1,000 nodes")
            size = size_text(model.stat().st_size)
            rows.append((f"{count:,}", size, seconds(own), megabytes(own), seconds(found["onnx.load"]), more))
    report.table(
        "verify, fast path, graphs of many nodes (one weight and three other initializers per 21 nodes)",
        ["nodes", "file", "verify, s", "peak MB", "onnx.load, s", "budget: + 1 ms per 1,000 nodes"],
        rows,
    )
    report.publish(options.output)


def _thorough(report: Report, work: Workplace, options: argparse.Namespace) -> None:
    rows: list[tuple[str, ...]] = []
    for size in map(parse_size, listed(options.thorough)):
        for layer in (4 * 2**20, size // 5):
            progress(f"verify, thorough path: {size_text(size)} in layers of {size_text(layer)}")
            with work.room("thorough", 3 * size) as room:
                if room is None:
                    rows.append((size_text(size), "", "skipped: the disk is too small", *[""] * 4))
                    continue
                rows += _thorough_rows(room, size, layer, options.repeats)
    report.table(
        "verify, thorough path (fingerprint of the plain network; float32 sizes whatever the form)",
        [
            "weights",
            "largest tensor",
            "candidate",
            "s",
            "peak MB",
            "budget: 1 s per 100 MB over the bare imports",
            "budget: memory ≤ 3 × the largest tensor over the fast path's",
        ],
        rows,
    )
    report.publish(options.output)


def _thorough_rows(room: Path, size: int, layer: int, repeats: int) -> Iterator[tuple[str, ...]]:
    shape = ("--bytes", str(size), "--layer", str(layer))
    record, plain = room / "net.record", network(room / "plain.onnx", *shape)
    make(python("-m", "onnxnnw", "fingerprint", str(plain), "-o", str(record)))
    commands = [ours("plain", "verify", plain, "--record", record, "--json")]
    for form in FORMS:
        candidate = network(room / f"{form}.onnx", *shape, "--form", form)
        commands.append(ours(form, "verify", candidate, "--record", record, "--json"))
    found = machine.compare([*commands, bare_imports()], repeats)
    bare = next(one for name, one in found.items() if name.startswith("import "))
    _expect(found["plain"], "fast")
    for form in FORMS:
        own = found[form]
        _expect(own, "thorough")
        largest = min(layer, size // 8)
        yield (
            size_text(size),
            size_text(largest),
            form,
            seconds(own),
            megabytes(own),
            within(own.seconds - bare.seconds, size / 1e8, "s"),
            within(max(0, own.peak_mb - found["plain"].peak_mb) * 2**20 / 1e6, 3 * largest / 1e6, "MB"),
        )
