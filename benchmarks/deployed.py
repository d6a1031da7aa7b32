"""Public networks, marked and fingerprinted, through onnxruntime's quantiser and optimiser: is each still traced?

    python -m tests.support.corpus CORPUS
    python -m benchmarks deployed --corpus CORPUS [--output FILE]

Each file is marked and fingerprinted with the defaults; both go through the dynamic 8-bit quantiser and the graph optimiser at its
highest level. A tool that refuses a network is named with the first words of what it said.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.pipeline_networks import quiet
from benchmarks.tables import Report, corpus_options, progress, workplace
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.enrolment.inspection import inspect
from onnxnnw.errors import TraceabilityError
from onnxnnw.records.key import Key
from onnxnnw.runtime import optimise, quantize_dynamically
from onnxnnw.verification.verify import verify

__all__ = ["main"]

TOOLS: tuple[tuple[str, Callable[[Path, Path], None]], ...] = (
    ("8 bits", quantize_dynamically),
    ("optimised", optimise),
)
MAX_BYTES = 10**8
KEY = Key(b"benchmark of deployed networks".ljust(32, b"."))


def _answer(candidate: Path, record: Path) -> str:
    (verdict,) = verify(candidate, record)
    return f"{verdict.decision} {verdict.log10_p:.0f}"


def _row(path: Path, place: Path) -> Iterator[str]:
    """Cells of one file: what is read, then the verdict on mark and fingerprint, as enrolled and after each tool."""
    marked, mark, finger = place / "marked.onnx", place / "mark.record", place / "finger.record"
    yield path.stem
    try:
        yield f"{inspect(path).account.weight:,}"
    except TraceabilityError as error:
        yield f"refused: {_short(error, path)}"
        return
    enrolments = (
        (marked, mark, lambda: embed(path, marked, mark, key=KEY)),
        (path, finger, lambda: fingerprint(path, finger, key=KEY)),
    )
    for subject, record, enrol in enrolments:
        try:
            enrol()
        except TraceabilityError as error:
            yield from [f"refused: {_short(error, path)}", *[""] * len(TOOLS)]
            continue
        yield _answer(subject, record)
        for name, tool in TOOLS:
            out = place / f"{name}.onnx"
            out.unlink(missing_ok=True)
            try:
                with quiet():
                    tool(subject, out)
            except Exception as error:  # a tool that fails on a network is a result, whatever it raises
                yield f"tool refuses: {_short(error, path)}"
                continue
            yield _answer(out, record)


def _short(error: Exception, path: Path) -> str:
    """The first words of a message, without places of this machine."""
    text = " ".join(str(error).replace(str(path), path.name).replace("|", "/").split())
    return text[:80]


def main(arguments: list[str]) -> int:
    """Run every file and print the table."""
    options: argparse.Namespace = corpus_options("deployed", __doc__, arguments)
    report = Report("deployed", arguments, command="python -m benchmarks deployed --corpus CORPUS")
    heads = [
        "file",
        "weights",
        *(f"{kind}, {name}" for kind in ("mark", "fingerprint") for name in ("as enrolled", *(n for n, _ in TOOLS))),
    ]
    rows: list[list[str]] = []
    start = time.monotonic()
    with workplace(None) as work:
        for number, path in enumerate(sorted(options.corpus.rglob("*.onnx"))):
            if path.stat().st_size > MAX_BYTES:
                rows.append([path.stem, "larger than 100 MB: left out", *[""] * (len(heads) - 2)])
                continue
            progress(f"deployed: {path.stem}")
            with work.room(f"file {number}", 5 * 10**8) as place:
                assert place is not None
                cells = list(_row(path, place))
            rows.append(cells + [""] * (len(heads) - len(cells)))
    answers = [cell for row in rows for cell in row[2:] if cell and not cell.startswith(("refused", "tool"))]
    traced = sum(cell.startswith(("traced", "identical")) for cell in answers)
    report.say(f"{traced} of {len(answers)} verdicts are `traced` ({time.monotonic() - start:,.0f} s).")
    report.table("Decision and log10 p", heads, rows)
    report.publish(options.output)
    return 0
