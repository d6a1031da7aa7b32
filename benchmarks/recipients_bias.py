"""Would signs with a bias serve recipients better? Tardos's code beside plain signs, where recipients compare their copies.

    python -m benchmarks recipients_bias [--trials 50]

Plain signs are fair coins. With a bias each position has a probability of its own, drawn from the arcsine law between .01 and .99
[Tardos, Optimal probabilistic fingerprint codes, JACM 2008], and a sign counts as (sign - mean) / deviation, more if rare. Its
p is Chernoff's bound, exact for these two-valued summands; plain signs have theirs. Weights, attacks and question as in
``recipients``: named is who has p times the number of recipients, both views paid for, of at most 1e-6.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.insertion import table
from benchmarks.machine import describe
from benchmarks.recipients import ATTACKS, COALITIONS, LOG10_RATE, SIZES, VIEWS, Host, host_of
from onnxnnw.statistics import associate_signs, log10_normal_tail
from onnxnnw.statistics.added import SIGNS

Floats = NDArray[np.float64]
COMPARED = ("average", "compare, zero", "compare, redraw", "compare, restore")
CUT = 0.01
TILTS = np.geomspace(1e-3, 3, 60)
"""Where Chernoff's bound is looked for; any of them is one."""


def plain(rng: np.random.Generator, copies: int, size: int) -> tuple[Floats, Floats]:
    """Signs, and the probability of +1 at each position."""
    return rng.choice([-1.0, 1.0], (copies, size)), np.full(size, 0.5)


def biased(rng: np.random.Generator, copies: int, size: int) -> tuple[Floats, Floats]:
    """The same after Tardos."""
    edges = np.arcsin(np.sqrt([CUT, 1 - CUT]))
    chances = np.sin(rng.uniform(*edges, size)) ** 2
    return np.where(rng.random((copies, size)) < chances, 1.0, -1.0), chances


def weighed(signs: Floats, chances: Floats) -> Floats:
    """Signs of mean 0 and variance 1, were they drawn by their chances."""
    out: Floats = (signs - (2 * chances - 1)) / (2 * np.sqrt(chances * (1 - chances)))
    return out


def log10_tails(scores: Floats, residuals: Floats, chances: Floats) -> Floats:
    """Bounds on log10 P(a score at least so large) of somebody whose signs had nothing to do with the residuals."""
    high, low = np.sqrt((1 - chances) / chances), -np.sqrt(chances / (1 - chances))
    best = np.zeros_like(scores)
    for tilt in TILTS / np.sqrt(residuals @ residuals):
        moments = chances * np.exp(tilt * residuals * high) + (1 - chances) * np.exp(tilt * residuals * low)
        best = np.minimum(best, (np.log(moments).sum() - tilt * scores) / np.log(10))
    return best


def named(host: Host, coalition: int, attack: str, with_bias: bool, trials: int) -> tuple[float, float, int]:
    """Percent of the trials in which somebody is named, alone in question and among 10^6; and innocents that were named."""
    rng = np.random.default_rng([host.values.size, coalition, [*ATTACKS].index(attack), with_bias])
    alone = many = wrong = 0
    for _ in range(trials):
        signs, chances = (biased if with_bias else plain)(rng, coalition + 20, host.values.size)
        copies = (host.values + host.added * signs[:coalition]).astype(np.float32).astype(np.float64)
        found = ATTACKS[attack](copies, host, rng)
        residuals = associate_signs(found, host.values, signs[0], host.groups, host.added).residuals
        scores = weighed(signs, chances) @ residuals
        if with_bias:
            tails = log10_tails(scores, residuals, chances) + np.log10(VIEWS)
        else:
            power = float(np.sqrt(residuals @ residuals))
            tails = np.array([log10_normal_tail(score / power) + np.log10(SIGNS * VIEWS) for score in scores])
        alone += bool((tails[:coalition] <= LOG10_RATE).any())
        many += bool((tails[:coalition] <= LOG10_RATE - 6).any())
        wrong += int((tails[coalition:] <= LOG10_RATE).sum())
    return 100 * alone / trials, 100 * many / trials, wrong


def main(arguments: Sequence[str]) -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks recipients_bias", description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    options = parser.parse_args(arguments)
    rows, wrong = [], 0
    for size in SIZES:
        host = host_of(size)
        for attack in COMPARED:
            for with_bias in (False, True):
                cells = [f"{size:,}", attack, "Tardos" if with_bias else "plain"]
                for coalition in COALITIONS:
                    one, among, innocents = named(host, coalition, attack, with_bias, options.trials)
                    cells.append(f"{one:.0f} / {among:.0f}")
                    wrong += innocents
                rows.append(cells)
    print("\n\n".join(describe()), "\n")
    print(table(["N", "attack", "signs", *(f"c = {coalition}" for coalition in COALITIONS)], rows))
    print(f"Innocents named: {wrong:,}.")
    return 0
