"""What starting costs: ``import onnxnnw`` beside ``import numpy``, and what each part of the command line imports."""

from benchmarks import machine
from benchmarks.contenders import BARE
from benchmarks.machine import Contender, python
from benchmarks.tables import Report, megabytes, options_of, seconds, within, workplace

STATEMENTS = (
    "pass",
    "import numpy",
    "import onnx",
    "import typer",
    BARE,
    "import onnxnnw",
    "import numpy, onnxnnw",
    "import onnxnnw.cli.entry; onnxnnw.cli.entry.build_app()",
    "import onnxnnw.graph.slots",
    "import onnxnnw.verification.verify",
    "import onnxnnw.cli.entry, onnxnnw.verification.verify; onnxnnw.cli.entry.build_app()",
)
BUDGET = 0.02


def main(arguments: list[str]) -> int:
    """Measure and print the table."""
    options = options_of("imports", __doc__, arguments)
    report = Report("imports", arguments, options.section)
    with workplace(options.folder):
        found = machine.compare([Contender(s, python("-c", s)) for s in STATEMENTS], options.repeats)
    rows = [(f"`{s}`", seconds(found[s]), f"{found[s].cpu_seconds:.3f}", megabytes(found[s])) for s in STATEMENTS]
    report.table("Python started with", ["statement", "s", "CPU s", "peak MB"], rows)
    over = found["import numpy, onnxnnw"].seconds - found["import numpy"].seconds
    report.say(f"`import onnxnnw` beside `import numpy`: {within(max(0, over) * 1e3, BUDGET * 1e3, 'ms')}.")
    report.publish(options.output)
    return 0
