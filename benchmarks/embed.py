"""``onnxnnw embed`` beside ``cp``, ``sync`` and ``sha256sum``: a marked copy on the disk, with two digests."""

from pathlib import Path

from benchmarks import machine
from benchmarks.contenders import copy_sync_hash, network, ours
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

SIZES = "1MB,10MB,100MB,500MB,1.9GB"


def main(arguments: list[str]) -> int:
    """Measure and print the table."""
    options = options_of("embed", __doc__, arguments, sizes=SIZES)
    report = Report("embed", arguments, options.section)
    rows = []
    with workplace(options.folder) as work:
        for size in map(parse_size, options.sizes.split(",")):
            progress(f"embed: {size_text(size)}")
            with work.room("network", 3 * size) as room:
                if room is None:
                    rows.append((size_text(size), *["skipped: the disk is too small"], *[""] * 4))
                    continue
                rows.append(_row(room, size, options.repeats))
    report.table(
        "embed, N = 512 (file in the page cache)",
        [
            "weights",
            "embed, s",
            "CPU s",
            "peak MB",
            "cp + sync + sha256sum, s",
            "budget: 0.6 s + 1.3 × (cp + sync + sha256sum)",
        ],
        rows,
    )
    report.publish(options.output)
    return 0


def _row(room: Path, size: int, repeats: int) -> tuple[str, ...]:
    model = network(room / "net.onnx", "--bytes", str(size))
    marked, record = room / "marked.onnx", room / "net.record"

    def clean() -> None:
        marked.unlink(missing_ok=True)
        record.unlink(missing_ok=True)

    found = machine.compare(
        [
            ours("embed", "embed", model, "-o", marked, "--record", record, before=clean),
            copy_sync_hash(model, room / "copy.onnx"),
        ],
        repeats,
    )
    own, copied = found["embed"], found.get("cp + sync + sha256sum")
    limit = 0.6 + 1.3 * copied.seconds if copied else float("nan")
    cells = [size_text(size), seconds(own), f"{own.cpu_seconds:.3f}", megabytes(own), seconds(copied)]
    return (*cells, within(own.seconds, limit, "s"))
