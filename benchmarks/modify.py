"""``onnxnnw modify`` of all weights: time per 100 MB, and memory beside the largest tensor."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.contenders import network, ours
from benchmarks.machine import Contender
from benchmarks.tables import (
    Report,
    megabytes,
    options_of,
    parse_size,
    progress,
    seconds,
    size_text,
    within,
    workplace,
)

SIZES = "1MB,100MB,500MB"
LAYERS = "4MB,100MB"
MODIFICATIONS = {
    "gaussian-noise": ("--ratio", "0.1"),
    "magnitude-pruning": ("--percentage", "50"),
    "global-magnitude-pruning": ("--percentage", "50"),
    "random-pruning": ("--percentage", "10"),
    "quantization": ("--bits", "8"),
}


def main(arguments: list[str]) -> int:
    """Measure and print the table."""
    options = options_of("modify", __doc__, arguments, sizes=SIZES, layers=LAYERS, names=",".join(MODIFICATIONS))
    report = Report("modify", arguments, options.section)
    rows: list[tuple[str, ...]] = []
    base = float("nan")
    with workplace(options.folder) as work:
        for size in map(parse_size, options.sizes.split(",")):
            for layer in map(parse_size, options.layers.split(",")):
                if rows and layer * 2 > size:
                    continue
                progress(f"modify: {size_text(size)} in layers of {size_text(layer)}")
                with work.room("network", 2 * size) as room:
                    if room is None:
                        rows.append((size_text(size), "skipped: the disk is too small", *[""] * 6))
                        continue
                    found = _measured(room, size, layer, options)
                    if base != base:
                        base = min(one.peak_mb for one in found.values())
                    rows += _rows(found, size, min(layer, size // 8), base)
    report.say(f"Memory is counted over the {base:.0f} MB that the smallest network takes.")
    report.table(
        "modify (file in the page cache)",
        [
            "weights",
            "largest tensor",
            "modification",
            "s",
            "CPU s",
            "peak MB",
            "budget: 0.6 s + 1 s per 100 MB",
            "budget: memory ≤ 4 × the largest tensor",
        ],
        rows,
    )
    report.publish(options.output)
    return 0


def _measured(room: Path, size: int, layer: int, options: object) -> dict[str, machine.Measured]:
    model = network(room / "net.onnx", "--bytes", str(size), "--layer", str(layer))
    out = room / "out.onnx"
    names: list[str] = options.names.split(",")  # type: ignore[attr-defined]
    commands: list[Contender] = [
        ours(name, "modify", model, name, *MODIFICATIONS[name], "-o", out, before=lambda: out.unlink(missing_ok=True))
        for name in names
    ]
    return machine.compare(commands, options.repeats)  # type: ignore[attr-defined]


def _rows(found: dict[str, machine.Measured], size: int, layer: int, base: float) -> Iterator[tuple[str, ...]]:
    for name, own in found.items():
        cells = [size_text(size), size_text(layer), name, seconds(own), f"{own.cpu_seconds:.3f}", megabytes(own)]
        time = within(own.seconds, 0.6 + size / 1e8, "s")
        yield (*cells, time, within(max(0, own.peak_mb - base) * 2**20 / 1e6, 4 * layer / 1e6, "MB"))
