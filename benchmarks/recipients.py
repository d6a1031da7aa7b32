"""Copies for recipients who join against their owner: how often one of them is named, and whether an innocent ever is.

    python -m benchmarks recipients [--trials 50] [--innocents 20] [--output FILE]

Weights of the shipped ResNet8 at the positions of a recipients' record. Each trial draws the signs of c recipients, makes their
copies, joins them by an attack, treats the result, and asks the strict test of each colluder and of recipients who had nothing to
do with it. Named: p, both views paid for, times the number of recipients, is at most 1e-6. Attackers know all copies that they hold
and the layers' deviations, not the original.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.insertion import table
from benchmarks.machine import describe
from onnxnnw.demo import shipped_network
from onnxnnw.enrolment.recipient_list import recipients_of
from onnxnnw.enrolment.recipients import embed_for_recipients
from onnxnnw.records.positions import plan_of
from onnxnnw.records.record_file import load_record
from onnxnnw.statistics import associate_signs, log10_normal_tail
from onnxnnw.statistics.added import SIGNS

Floats = NDArray[np.float64]
SIZES = (512, 2048, 8192)
COALITIONS = (2, 3, 4, 5, 10)
LOG10_RATE = -6.0
VIEWS = 2


@dataclass(frozen=True)
class Host:
    """What the test knows: the weights before any mark, their slots, and how far a sign moves each."""

    values: Floats
    groups: NDArray[np.int64]
    added: Floats


def host_of(positions: int) -> Host:
    """The shipped network at the positions of a recipients' record."""
    with tempfile.TemporaryDirectory() as folder, shipped_network() as network:
        places = Path(folder, "copies"), Path(folder, "records")
        done = embed_for_recipients(network, recipients_of(["one"]), *places, positions=positions)
        record = load_record(done.copies[0].record)
    plan = plan_of(record)
    deviations = record.array("deviations")[plan.slots].astype(np.float64)
    strength = float(record.parameters["strength"])
    return Host(record.array("host").astype(np.float64), plan.slots, strength * deviations)


def _differing(copies: Floats, instead: Floats) -> Floats:
    return np.where((copies == copies[0]).all(0), copies[0], instead)


ATTACKS: dict[str, Callable[[Floats, Host, np.random.Generator], Floats]] = {
    "average": lambda c, host, rng: c.mean(0),
    "median": lambda c, host, rng: np.median(c, axis=0),
    "minimum": lambda c, host, rng: c.min(0),
    "maximum": lambda c, host, rng: c.max(0),
    "random choice": lambda c, host, rng: c[rng.integers(0, len(c), c.shape[1]), np.arange(c.shape[1])],
    "compare, zero": lambda c, host, rng: _differing(c, np.zeros(c.shape[1])),
    "compare, redraw": lambda c, host, rng: _differing(c, rng.normal(size=c.shape[1]) * host.added / 0.4),
    "compare, restore": lambda c, host, rng: _differing(c, (c.min(0) + c.max(0)) / 2),
}


def _in_8_bits(values: Floats, host: Host, rng: np.random.Generator) -> Floats:
    step = np.zeros(host.groups.max() + 1)
    np.maximum.at(step, host.groups, np.abs(host.values) / 127)
    return np.round(values / step[host.groups]) * step[host.groups]


TREATMENTS: dict[str, Callable[[Floats, Host, np.random.Generator], Floats]] = {
    "plain": lambda values, host, rng: values,
    "noise of .3 sd": lambda values, host, rng: values + 0.3 / 0.4 * host.added * rng.normal(size=values.size),
    "8 bits": _in_8_bits,
}


@dataclass(frozen=True)
class Outcome:
    """Of many trials of one attack.

    Attributes:
        named: Trials in which at least one colluder is named: alone in question, and among 10^6 recipients.
        share: Mean share of the colluders that are named when each is asked about alone.
        innocents: Innocents that were named, each asked about alone; and how many were asked about.
    """

    named: tuple[int, int]
    share: float
    innocents: tuple[int, int]


def outcome(host: Host, coalition: int, attack: str, treatment: str, trials: int, innocents: int) -> Outcome:
    """Trials with signs of their own each."""
    seed = [host.values.size, coalition, [*ATTACKS].index(attack), [*TREATMENTS].index(treatment)]
    rng = np.random.default_rng(seed)
    named, share, wrong = [0, 0], 0.0, 0
    for _ in range(trials):
        signs = rng.choice([-1.0, 1.0], (coalition + innocents, host.values.size))
        copies = (host.values + host.added * signs[:coalition]).astype(np.float32).astype(np.float64)
        found = TREATMENTS[treatment](ATTACKS[attack](copies, host, rng), host, rng)
        score = associate_signs(found, host.values, signs[0], host.groups, host.added).residuals
        power = float(np.sqrt(score @ score))
        scores = signs @ score / power if power else np.zeros(len(signs))
        p = np.array([log10_normal_tail(t) + np.log10(SIGNS * VIEWS) for t in scores])
        guilty = p[:coalition]
        named[0] += int((guilty <= LOG10_RATE).any())
        named[1] += int((guilty <= LOG10_RATE - 6).any())
        share += float((guilty <= LOG10_RATE).mean()) / trials
        wrong += int((p[coalition:] <= LOG10_RATE).sum())
    return Outcome((named[0], named[1]), share, (wrong, trials * innocents))


def main(arguments: Sequence[str]) -> int:
    """Print a table for each number of positions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks recipients", description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--innocents", type=int, default=20)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    parts, wrong, asked = [], 0, 0
    for size in SIZES:
        host = host_of(size)
        rows = []
        for attack in ATTACKS:
            for treatment in TREATMENTS:
                cells = [attack, treatment]
                for coalition in COALITIONS:
                    found = outcome(host, coalition, attack, treatment, options.trials, options.innocents)
                    one, many = (100 * count / options.trials for count in found.named)
                    cells.append(f"{one:.0f} / {many:.0f} ({100 * found.share:.0f})")
                    wrong, asked = wrong + found.innocents[0], asked + found.innocents[1]
                rows.append(cells)
                print(size, *cells, file=sys.stderr)
        heads = ["attack", "then", *(f"c = {coalition}" for coalition in COALITIONS)]
        parts.append(f"**N = {size:,}**\n\n{table(heads, rows)}")
    parts.append(f"Innocents named: {wrong:,} of {asked:,} asked about.\n")
    text = "\n".join(["\n\n".join(describe()), "", *parts])
    print(text)
    if options.output:
        options.output.write_text(text)
    return 0
