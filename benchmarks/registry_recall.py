"""Known copies against a registry of many records: each, modified in a way of the standard, has to find its own record first.

    python -m benchmarks registry --make FOLDER --records 20000
    python -m benchmarks registry_recall FOLDER --known 2000 [--minutes M] [--kept FILE] [--output FILE]

Candidates take the modifications by turns. ``--kept`` takes a line of JSON for each, and a later run goes on after the last one.
Of each that does not find its record first, the record is verified alone: where that
says traced, the scan lost it, and the table says what its effect was; where it does not, the mark is gone and nobody could find it.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.registry import z_of
from benchmarks.registry_made import Made, key_of, marked, opened
from benchmarks.tables import Report, progress
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.network_file.file import open_network
from onnxnnw.records.record import Record
from onnxnnw.registry.scan import PASSES
from onnxnnw.registry.scan_data import scanned
from onnxnnw.registry.search import search_registry
from onnxnnw.standard.grids import B, P, S
from onnxnnw.verification.verify import verify

__all__ = ["main"]

WAYS: tuple[tuple[str, str, Sequence[float]], ...] = (
    ("gaussian-noise", "ratio", S),
    ("magnitude-pruning", "percentage", P),
    ("random-pruning", "percentage", P),
    ("quantization", "bits", B),
    ("watermark-overwriting", "marks", (1, 4)),
    ("channel-rescaling", "deviation", (0.8,)),
)
"""The standard's modifications that need no training, at its strengths, and one that only a thorough reading undoes."""


@dataclass(frozen=True)
class Found:
    """One candidate.

    Attributes:
        first: Whether its own record came first, and was traced.
        alone: Whether that record, verified alone at the rate of the search, is traced.
        effect: Of that record.
    """

    way: str
    first: bool
    alone: bool
    effect: float


def ways() -> Iterator[tuple[str, Any]]:
    """Every modification at every strength: its name in the table, and it."""
    for name, parameter, levels in WAYS:
        for level in levels:
            yield f"{name} {level:g}", find_modification(name)(**{parameter: level})


def candidates(registry: Made, folder: Path, known: int, minutes: float, done: int) -> Iterator[Found]:
    """Candidates one after the other, those after so many, until there are enough or the time is over."""
    every, end = list(ways()), time.monotonic() + 60 * minutes
    rng = np.random.default_rng(0)
    numbers = rng.choice(registry.distinct, min(known, registry.distinct), replace=False)
    for count, number in list(enumerate(numbers.tolist()))[done:]:
        if time.monotonic() > end:
            return
        way, modification = every[count % len(every)]
        plain, out = marked(folder, number), folder / "modified.onnx"
        apply(modification, plain, out, count)
        plain.unlink()
        found = search_registry(out, registry)
        own = registry.template.with_key(key_of(number))
        best = found.search.best
        first = best.decision == "traced" and int(found.entries[0].commitment, 16) % registry.distinct == number
        if first:
            yield Found(way, True, True, best.effect)
            continue
        (alone,) = verify(out, [own], 1e-6 / found.tried)
        yield Found(way, False, alone.decision == "traced", alone.effect)
        if alone.decision == "traced":
            progress(f"lost: {way}, record {number}, effect {alone.effect:.3f}, z {_screen(out, own)}")


def _screen(path: Path, record: Record) -> str:
    """z of the first positions, and of more, read by name as the scan reads them."""
    from onnxnnw.registry.alignment import arrays_by_place, scores_table
    from onnxnnw.verification.looking import Looking

    data = scanned(record)
    with open_network(path) as network:
        arrays = arrays_by_place(Looking(network, [], 1e-6, False, 1), record.slots)
    if arrays is None:
        return "unknown"
    found = scores_table(arrays, record.slots)[data.positions].astype(float)
    return ", ".join(f"{z_of(found[:n], data.expected[:n].astype(float)):.2f}" for n, _ in PASSES)


def rows_of(found: Sequence[Found]) -> list[tuple[str, ...]]:
    """The table by modification, and by effect."""
    out = []
    groups: Mapping[str, list[Found]] = {
        **{way: [one for one in found if one.way == way] for way, _ in ways()},
        "effect ≥ 0.5": [one for one in found if one.effect >= 0.5],
        "effect 0.3 to 0.5": [one for one in found if 0.3 <= one.effect < 0.5],
        "effect < 0.3": [one for one in found if one.effect < 0.3],
        "all": list(found),
    }
    for name, group in groups.items():
        lost = [one for one in group if one.alone and not one.first]
        gone = sum(not one.alone for one in group)
        effects = f"{min(o.effect for o in group):.2f}–{max(o.effect for o in group):.2f}" if group else "–"
        upper = f"{_upper(len(lost), len(group) - gone):.1%}" if len(group) > gone else "–"
        row = (name, len(group), effects, sum(o.first for o in group), len(lost), upper, gone)
        out.append(tuple(str(one) for one in row))
    return out


def _kept(file: Path | None) -> list[Found]:
    """What an earlier run found."""
    lines = [] if file is None or not file.exists() else file.read_text().splitlines()
    return [Found(**json.loads(line)) for line in lines]


def _upper(lost: int, of: int) -> float:
    """Upper 95 % limit of a share (Clopper and Pearson)."""
    from scipy.stats import beta

    return 1.0 if lost == of else float(beta.ppf(0.95, lost + 1, of - lost))


def main(arguments: list[str]) -> int:
    """Measure, print the table; 1 where a record of effect 0.5 and more was lost more often than the screen explains."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks registry_recall", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--known", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so many, and say how many were done")
    parser.add_argument("--kept", type=Path, help="a file of what was found, to go on with")
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    options = parser.parse_args(arguments)
    registry = opened(options.folder)
    report = Report("registry_recall", arguments)
    found = _kept(options.kept)
    for one in candidates(registry, options.folder, options.known, options.minutes, len(found)):
        found.append(one)
        if options.kept is not None:
            with options.kept.open("a") as file:
                file.write(json.dumps(asdict(one)) + "\n")
        if len(found) % 20 == 0:
            progress(f"{len(found)} candidates, {sum(o.alone and not o.first for o in found)} lost")
    headers = [
        "modification",
        "candidates",
        "effect",
        "own record first",
        "lost by the scan",
        "at most (95 %)",
        "mark gone",
    ]
    report.table(f"{len(found):,} known candidates against {len(registry):,} records", headers, rows_of(found))
    report.publish(options.output)
    clear = [one for one in found if one.effect >= 0.5]
    lost = sum(one.alone and not one.first for one in clear)
    return int(lost > 3 + 0.01 * len(clear))
