"""``onnxnnw verify`` of this version beside another one that is installed in another environment.

    python -m benchmarks versions --other OTHER/bin/python [--sizes 100MB,1.9GB] [--nodes 1000]

Each version verifies the same network with a record that it made itself.
"""

import sys

from benchmarks import machine
from benchmarks.contenders import make, network
from benchmarks.machine import Contender, Failed
from benchmarks.tables import Report, listed, megabytes, options_of, parse_size, progress, seconds, size_text, workplace


def main(arguments: list[str]) -> int:
    """Measure and print the table."""
    options = options_of("versions", __doc__, arguments, sizes="100MB,1.9GB", nodes="1000", other="")
    if not options.other:
        raise Failed("--other is the Python of an environment in which the other version is installed")
    report = Report("versions", arguments, options.section)
    networks = [(size_text(size), ("--bytes", str(size)), size) for size in map(parse_size, listed(options.sizes))]
    networks += [(f"{int(count):,} nodes", ("--nodes", count), 10**8) for count in listed(options.nodes)]
    rows = []
    with workplace(options.folder) as work:
        for title, made, size in networks:
            progress(f"versions: {title}")
            with work.room("network", size) as room:
                if room is None:
                    rows.append((title, "skipped: the disk is too small", *[""] * 4))
                    continue
                model = str(network(room / "net.onnx", *made))
                contenders = []
                for name, python in (("the other", options.other), ("this", sys.executable)):
                    # -P: or the folder that this runs in would stand before what is installed
                    own, record = [python, "-P", "-m", "onnxnnw"], str(room / f"{name}.record")
                    make([*own, "fingerprint", model, "-o", record])
                    contenders.append(Contender(name, [*own, "verify", model, "--record", record, "--json"]))
                for name, one in machine.compare(contenders, options.repeats).items():
                    rows.append((title, name, seconds(one), f"{one.cpu_seconds:.3f}", megabytes(one)))
    report.table(
        "verify, fast path, two versions (file in the page cache)",
        ["network", "version", "verify, s", "CPU s", "peak MB"],
        rows,
    )
    report.publish(options.output)
    return 0
