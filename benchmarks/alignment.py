"""Alignment with a reference network: is it calibrated, does it see through disguises, and what does it cost?

    python -m benchmarks alignment calibration [--keys 2000] [--workers 2] [--output FILE]

``calibration`` draws wrong keys, brings candidates into the reference's order, and counts how often the strict test is small.
Candidates are related (made from the unmarked original or from another key's copy) and unrelated. Its last rows leave the wrong
key's mark in the reference, which is what must not be done.
"""

import argparse
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.tables import Report, progress
from tests.support.alignment_draws import CANDIDATES, WAYS, Draws, wrong_keys
from tests.support.null_draws import LEVELS, limits, share

__all__ = ["main"]

_CHUNK, _VALUES = 10, 50
"""Keys that draw positions in one task, and keys that draw values for each of them."""


def main(arguments: Sequence[str]) -> int:
    """Measure one of the parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks alignment", description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    calibration = parts.add_parser("calibration", help="wrong keys after alignment")
    calibration.add_argument("--keys", type=int, default=2000)
    calibration.add_argument("--control", type=int, default=200, help="wrong keys whose mark is left in the reference")
    calibration.add_argument("--workers", type=int, default=2)
    for part in (calibration,):
        part.add_argument("--output", type=Path, help="a page that gets the report")
    options = parser.parse_args(arguments)
    report = Report("alignment", list(arguments), section=f"alignment {options.part}")
    _calibration(report, options)
    report.publish(options.output)
    return 0


# --- wrong keys -------------------------------------------------------------------------------------------------------


def _calibration(report: Report, options: argparse.Namespace) -> None:
    counts = {
        (way, name): (options.keys // _VALUES if way != WAYS[2] else options.control)
        for way in WAYS
        for name in CANDIDATES
        if way != WAYS[2] or "stranger" in name
    }
    tasks = [
        (way, name, first, min(_CHUNK, count - first), _VALUES if way != WAYS[2] else 1)
        for (way, name), count in counts.items()
        for first in range(0, count, _CHUNK)
    ]
    found: dict[tuple[str, str], list[Draws]] = {}
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for (way, name, *_), draws in zip(tasks, pool.map(_some, tasks), strict=True):
            found.setdefault((way, name), []).append(draws)
            progress(f"{way}, {name}: {sum(d.log10_p.size for d in found[way, name])} keys")
    bounds = [limits(options.keys, level) for level in LEVELS]
    within = (f"{low:.2%} … {high:.2%} (p ≤ {a:g})" for a, (low, high) in zip(LEVELS, bounds, strict=True))
    report.say(
        f"{options.keys:,} wrong keys each: {_VALUES} that draw values for each of {options.keys // _VALUES} that draw "
        f"positions, and for each of these the candidate is aligned anew; {options.control} in the last rows. An exact test "
        f"stays within {', '.join(within)} with probability .999. *Raw* is the test of values alone; *printed* pays for both views "
        "and is what a verdict has before it is multiplied by two readings and the number of records. A candidate that differs "
        "from the host by rounding alone has p = 1."
    )
    rows = []
    for (way, name), several in found.items():
        for view, values in (
            ("raw", np.concatenate([d.raw for d in several])),
            ("printed", np.concatenate([d.log10_p for d in several])),
        ):
            shares = [f"{share(values, level):.2%}" for level in LEVELS]
            rows.append([way, name, view, *shares, f"{values.min():.1f}", str(sum(d.traced for d in several))])
    headers = [
        "mark",
        "candidate",
        "view",
        *(f"p ≤ {level:g}" for level in LEVELS),
        "smallest log10 p",
        "traced at 1e-6",
    ]
    report.table("Wrong keys after alignment", headers, rows)


def _some(task: tuple[str, str, int, int, int]) -> Draws:
    way, name, first, keys, values = task
    with tempfile.TemporaryDirectory() as folder:
        (draws,) = wrong_keys(Path(folder), way, [name], keys, values, 10_000 + first)
    return draws
