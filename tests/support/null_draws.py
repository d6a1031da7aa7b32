"""Measure how often p-values are small under wrong keys: ``python -m tests.support.null_draws``."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from onnxnnw.methods import nct
from onnxnnw.records.record import Record
from onnxnnw.statistics import log10_of_either
from tests.support import calibration_networks as networks

LEVELS = (0.05, 0.01, 0.001)
CONFIDENCE = 0.999
JUDGE_EVERY = 25


@dataclass(frozen=True)
class Sample:
    """log10 p of every wrong key: in each view, and as printed.

    Attributes:
        candidate: Which network.
        raw, row_scaled: The single views.
        printed: min(1, 2 min(raw, row_scaled)), as the verdict has it.
        traced: How many wrong keys were called traced at 1e-6.
    """

    candidate: str
    raw: NDArray[np.float64]
    row_scaled: NDArray[np.float64]
    printed: NDArray[np.float64]
    traced: int


def share(log10_p: NDArray[np.float64], level: float) -> float:
    """Share of p-values at or below a level."""
    return float((log10_p <= math.log10(level)).mean())


def limits(count: int, level: float) -> tuple[float, float]:
    """Where the share of ``count`` uniform p-values at or below a level lies with probability .999."""
    low, high = stats.binom.interval(CONFIDENCE, count, level)
    return low / count, high / count


def ks_p(log10_p: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov p-value of the hypothesis that p is uniform."""
    return float(stats.kstest(10.0**log10_p, "uniform").pvalue)


def wrong_keys(
    record: Record, candidates: Mapping[str, networks.Weights], original: networks.Weights, keys: int
) -> list[Sample]:
    """Every candidate under ``keys`` wrong keys, through the code that verification runs."""
    loaded = {name: networks.in_memory(weights, record) for name, weights in candidates.items()}
    enrolled = networks.in_memory(original, record)
    columns = {name: np.zeros((keys, 3)) for name in loaded}
    traced = dict.fromkeys(loaded, 0)
    for number in range(keys):
        wrong = networks.under_key(record, 10_000 + number, enrolled)
        for name, weights in loaded.items():
            raw, row_scaled = (view.log10_p for view in nct.views(wrong, weights))
            printed = log10_of_either(min(raw, row_scaled), 2)
            columns[name][number] = raw, row_scaled, printed
            if number % JUDGE_EVERY == 0 or printed <= -4:
                judgement = nct.NCT().judge(wrong, weights.candidate(), -6)
                traced[name] += judgement.significant
                assert judgement.association.log10_p == printed
    return [Sample(name, *column.T, traced[name]) for name, column in columns.items()]


def subjects(folder: Path) -> dict[str, tuple[Record, dict[str, networks.Weights], networks.Weights]]:
    """A watermark and a fingerprint record of one network, each with what it is to be held against."""
    original = networks.trained_weights()
    path = networks.save(original, folder / "network.onnx")
    watermark, fingerprint = (networks.enrolled(path, kind) for kind in (True, False))
    marked = networks.apply_mark(original, watermark)
    against = dict(networks.candidates(original, marked))
    return {"watermark": (watermark, against, original), "fingerprint": (fingerprint, against, original)}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(keys: int) -> None:
    """Print the table of docs/reference/statistics.md."""
    say(f"{keys:,} wrong keys; 99.9 % limits of an exact test: {[limits(keys, a) for a in LEVELS]}")
    say("| test | candidate | view | " + " | ".join(f"p <= {a:g}" for a in LEVELS) + " | KS p | smallest p | traced |")
    say("|---|---|---|" + "---|" * (len(LEVELS) + 3))
    with TemporaryDirectory() as folder:
        for test, (record, against, original) in subjects(Path(folder)).items():
            for sample in wrong_keys(record, against, original, keys):
                for view in ("raw", "row_scaled", "printed"):
                    log10_p = getattr(sample, view)
                    shares = " | ".join(f"{share(log10_p, a):.3%}" for a in LEVELS)
                    tail = f"{ks_p(log10_p):.2g} | {10 ** log10_p.min():.1e} | {sample.traced}"
                    say(f"| {test} | {sample.candidate} | {view.replace('_', '-')} | {shares} | {tail} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000)
