"""Wrong keys after alignment: is the strict test exact?"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.tables import Report, progress
from tests.support.alignment_draws import CANDIDATES, WAYS, Draws, wrong_keys
from tests.support.null_draws import LEVELS, limits, share

__all__ = ["measure_calibration"]

_CHUNK, _VALUES = 10, 50
"""Keys that draw positions in one task, and keys that draw values for each of them."""


def measure_calibration(report: Report, options: argparse.Namespace) -> None:
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
            all_p = np.concatenate([d.raw for d in found[way, name]])
            progress(f"{way}, {name}: {all_p.size} keys, {[round(share(all_p, level), 4) for level in LEVELS]}")
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
