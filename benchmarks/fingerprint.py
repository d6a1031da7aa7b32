"""``onnxnnw fingerprint`` beside ``sha256sum``: the network is read and hashed once."""

from benchmarks import machine
from benchmarks.contenders import network, ours, sha256sum
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
    options = options_of("fingerprint", __doc__, arguments, sizes=SIZES)
    report = Report("fingerprint", arguments, options.section)
    rows = []
    with workplace(options.folder) as work:
        for size in map(parse_size, options.sizes.split(",")):
            progress(f"fingerprint: {size_text(size)}")
            with work.room("network", size) as room:
                if room is None:
                    rows.append((size_text(size), *["skipped: the disk is too small"], *[""] * 4))
                    continue
                model, record = network(room / "net.onnx", "--bytes", str(size)), room / "net.record"
                command = ours(
                    "fingerprint", "fingerprint", model, "-o", record, before=lambda r=record: r.unlink(missing_ok=True)
                )
                warm = machine.compare([command, sha256sum(model)], options.repeats)
                own, hashed = warm["fingerprint"], warm.get("sha256sum")
                limit = 0.6 + 1.3 * hashed.seconds if hashed else float("nan")
                cells = [size_text(size), seconds(own), f"{own.cpu_seconds:.3f}", megabytes(own), seconds(hashed)]
                rows.append((*cells, within(own.seconds, limit, "s")))
    report.table(
        "fingerprint, N = 512 (file in the page cache)",
        ["weights", "fingerprint, s", "CPU s", "peak MB", "sha256sum, s", "budget: 0.6 s + 1.3 × sha256sum"],
        rows,
    )
    report.publish(options.output)
    return 0
