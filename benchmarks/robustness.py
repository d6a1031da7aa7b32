"""Robustness of NCT as the standard has it: every graph modification of Tables 4 to 11 at every listed strength.

    python -m benchmarks robustness [--data DIR] [--output FILE]

N = 512 on the ResNet8 that ships with the package, marked after training (which the standard's alpha = 90 comes closest to).
With ``--data``, a directory with CIFAR-10, the classification error is measured too.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from onnxnnw.demo import shipped_network
from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.records.key import Key
from onnxnnw.standard.grids import MODIFICATIONS, Strength
from onnxnnw.standard.tables import printed_robustness
from onnxnnw.tasks.base import Samples, find_task
from onnxnnw.training.networks import measure
from onnxnnw.verification.named_records import NamedRecord, named_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify

# (heading, modification, whose strengths of the standard's), and random pruning, for which the standard prints none
SECTIONS = (
    ("Table 5, Gaussian noise", "gaussian-noise", "gaussian-noise"),
    ("Table 9, quantization", "quantization", "quantization"),
    ("Table 11, magnitude pruning per layer", "magnitude-pruning", "magnitude-pruning"),
    ("Table 11 read globally", "global-magnitude-pruning", "magnitude-pruning"),
    ("random pruning [M]", "random-pruning", ""),
    ("7.2.6, watermark overwriting", "watermark-overwriting", "watermark-overwriting"),
)
RANDOM = Strength("R", "percentage", (1, 5, 10))


@dataclass(frozen=True)
class Row:
    """One modification at one strength."""

    section: str
    value: str
    watermark: Verdict
    fingerprint: Verdict
    error: float | None
    published: tuple[str, str]


def rows(folder: Path, strength: float, data: Path | None) -> Iterator[Row]:
    """Mark, modify and verify at every grid point."""
    with shipped_network() as original:
        marked = folder / "marked.onnx"
        key = Key(b"robustness, watermark".ljust(32))
        embed(original, marked, folder / "mark.record", strength=strength, key=key, insertion="replaced")
        fingerprint(original, folder / "fingerprint.record", key=Key(b"robustness, fingerprint".ljust(32)))
        records = [named_record(folder / f"{name}.record") for name in ("mark", "fingerprint")]
        baseline = error_of(original, data)
        yield row("unmodified", "", marked, records, data, error_of(marked, data), ("", ""), baseline)
        unmodified = error_of(marked, data)
    for section, name, strengths in SECTIONS:
        grid = MODIFICATIONS.get(strengths, RANDOM)
        for value in grid.values:
            out = folder / "out.onnx"
            settings: dict[str, Any] = {
                grid.parameter: value,
                **({"strength": strength} if name.startswith("water") else {}),
            }
            apply(find_modification(name)(**settings), marked, out)
            published = printed_robustness("nct", "resnet8", name).get(value, ("", ""))
            yield row(section, f"{value:g}", out, records, data, error_of(out, data), published, unmodified)


def row(
    section: str,
    value: str,
    path: Path,
    records: list[NamedRecord],
    data: Path | None,
    error: float | None,
    published: tuple[str, str],
    reference: float | None,
) -> Row:
    """Verify one file with both records; ``error`` becomes relative to ``reference``, in percent [Eq. 2]."""
    watermark, own = (verify(path, [record])[0] for record in records)
    relative = None if error is None or not reference else abs(error - reference) / reference * 100
    return Row(section, value, watermark, own, relative, published)


@cache
def cifar10_test(data: Path) -> Samples:
    """The test images, read once."""
    task = find_task("classification")
    return task.samples(data, task.testing_split)


def error_of(path: Path, data: Path | None) -> float | None:
    """Classification error on all test images, in percent; None without data."""
    if data is None:
        return None
    return measure(path, cifar10_test(data), find_task("classification").metrics).values["classification-error"]


def table(found: list[Row]) -> Iterator[str]:
    """Markdown, one table per section."""
    section = ""
    for one in found:
        if one.section != section:
            section = one.section
            yield f"\n### {section}\n"
            yield (
                "| | corr (Spearman) | standard | log10 p | effect | verdict "
                "| fingerprint corr | log10 p | verdict | error % | published corr | error % |"
            )
            yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
        mark, own = one.watermark, one.fingerprint
        error = "" if one.error is None else f"{one.error:.1f}"
        standard = "retrieved" if mark.standard.retrieved else "not retrieved"
        yield (
            f"| {one.value} | {mark.standard.values['spearman']:.3f} | {standard} | {mark.log10_p:.1f} | {mark.effect:.3f} "
            f"| {mark.decision} | {own.standard.values['spearman']:.3f} | {own.log10_p:.1f} | {own.decision} | {error} "
            f"| {one.published[0]} | {one.published[1]} |"
        )


def main(arguments: list[str]) -> int:
    """Print the table; 0 when every grid point was traced by the watermark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks robustness", description=__doc__)
    parser.add_argument("--data", type=Path, help="directory with CIFAR-10, to measure the classification error")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for one in rows(Path(folder), options.strength, options.data):
            found.append(one)
            print(f"{one.section} {one.value}: {one.watermark.decision}", file=sys.stderr)
    text = "\n".join(table(found)) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text)
    return 0 if all(one.watermark.meets() for one in found) else 1
