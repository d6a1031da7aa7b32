"""Measure fingerprints of unrelated networks: ``python -m tests.support.unrelated 1000``."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from onnxnnw.methods import nct
from tests.support import calibration_networks as networks
from tests.support import null_draws as measure


@dataclass(frozen=True)
class Pairs:
    """What fingerprints of one network said of another, over many pairs.

    Attributes:
        log10_p: As printed.
        effect: Its largest value over the views.
        traced: How many were called traced at 1e-6.
    """

    log10_p: NDArray[np.float64]
    effect: NDArray[np.float64]
    traced: int


def plain(seed: int) -> networks.Weights:
    """Networks that share their architecture and the shape of their distributions."""
    return networks.trained_weights(seed)


def common_columns(seed: int) -> networks.Weights:
    """Networks in which every column has the same offset everywhere, as inputs of unequal size leave."""
    rng = np.random.default_rng(0)
    out = {}
    for name, array in networks.trained_weights(seed).items():
        out[name] = (array + 1.5 * array.std() * rng.standard_normal(array.shape[1:])).astype(np.float32)
    return out


def smooth_kernels(seed: int) -> networks.Weights:
    """Networks whose kernels are one number and a little noise: nine taps count once."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, array in networks.trained_weights(seed).items():
        flat = rng.standard_normal((*array.shape[:2], *[1] * (array.ndim - 2)))
        out[name] = ((flat + 0.1 * array / array.std()) / 10).astype(np.float32)
    return out


def few_rows(seed: int) -> networks.Weights:
    """Networks in which a few rows are a hundred times larger than the others."""
    rng = np.random.default_rng(seed)
    return {
        name: (array * np.where(rng.random((len(array), *[1] * (array.ndim - 1))) < 0.05, 100, 1)).astype(np.float32)
        for name, array in networks.trained_weights(seed).items()
    }


KINDS: tuple[Callable[[int], networks.Weights], ...] = (plain, common_columns, smooth_kernels, few_rows)


def unrelated(kind: Callable[[int], networks.Weights], pairs: int, folder: Path) -> Pairs:
    """Fingerprint one network, read another, with new networks and a new key each time."""
    log10_p, effect, traced = np.zeros(pairs), np.zeros(pairs), 0
    for number in range(pairs):
        path = networks.save(kind(2 * number), folder / "network.onnx")
        record = networks.enrolled(path, watermark=False, secret=number)
        judgement = nct.NCT().judge(record, networks.in_memory(kind(2 * number + 1), record).candidate(), -6)
        log10_p[number], effect[number] = judgement.association.log10_p, judgement.association.effect
        traced += judgement.significant
    return Pairs(log10_p, effect, traced)


def main(pairs: int) -> None:
    """Print the table of docs/reference/statistics.md."""
    heads = " | ".join(f"p <= {level:g}" for level in measure.LEVELS)
    measure.say(f"| networks | {heads} | smallest p | largest effect | traced |")
    measure.say("|---|" + "---|" * (len(measure.LEVELS) + 3))
    with TemporaryDirectory() as folder:
        for kind in KINDS:
            found = unrelated(kind, pairs, Path(folder))
            shares = " | ".join(f"{measure.share(found.log10_p, level):.2%}" for level in measure.LEVELS)
            tail = f"{10 ** found.log10_p.min():.1e} | {found.effect.max():.3f} | {found.traced}"
            measure.say(f"| {kind.__name__.replace('_', ' ')} | {shares} | {tail} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
