"""Alignment with a reference network: is it calibrated, does it see through disguises, and what does it cost?

    python -m benchmarks alignment calibration [--keys 2000] [--workers 2] [--output FILE]
    python -m benchmarks alignment disguises [NETWORK…] [--public FILE…] [--data DIRECTORY] [--output FILE]
    python -m benchmarks alignment by-weight NETWORK… [--output FILE]
    python -m benchmarks alignment strangers --data DIRECTORY [--networks 21] [--minutes 60] [--figure FILE] [--output FILE]
    python -m benchmarks alignment cost [--output FILE]

``calibration`` draws wrong keys, brings candidates into the reference's order, and counts how often the strict test is small.
Candidates are related (made from the unmarked original or from another key's copy) and unrelated. Its last rows leave the wrong
key's mark in the reference, which is what must not be done. ``disguises`` marks networks, disguises the copies as somebody would
who wants to keep their function, and verifies them with and without the original; ``by-weight`` gives every weight an order of its
own, which is harder. ``strangers`` trains networks of one architecture on the same images from other initial values, and holds
each pair together. ``cost`` aligns weights of ResNet-50's shapes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.alignment_calibration import measure_calibration
from benchmarks.alignment_cost import KINDS, measure_cost
from benchmarks.alignment_decisions import measure_by_weight, measure_disguises
from benchmarks.alignment_strangers import measure_strangers
from benchmarks.tables import Report

__all__ = ["main"]

_PARTS = {
    "calibration": measure_calibration,
    "disguises": measure_disguises,
    "by-weight": measure_by_weight,
    "strangers": measure_strangers,
    "cost": measure_cost,
}


def main(arguments: Sequence[str]) -> int:
    """Measure one of the parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks alignment", description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    calibration = parts.add_parser("calibration", help="wrong keys after alignment")
    calibration.add_argument("--keys", type=int, default=2000)
    calibration.add_argument("--control", type=int, default=200, help="wrong keys whose mark is left in the reference")
    calibration.add_argument("--workers", type=int, default=2)
    disguises = parts.add_parser("disguises", help="decisions on copies that compute the same, or nearly")
    disguises.add_argument("networks", nargs="*", help="of alignment_networks.py; all where none is named")
    disguises.add_argument("--public", type=Path, nargs="*", default=[], help="files to be disguised besides")
    disguises.add_argument("--data", type=Path, help="a directory of CIFAR-10 with train/CLASS/*.jpg, to fine-tune on")
    disguises.add_argument("--kinds", nargs="*", help="of these disguises alone")
    by_weight = parts.add_parser("by-weight", help="decisions where every weight has an order of its own")
    by_weight.add_argument("networks", nargs="*", help="of alignment_networks.py")
    by_weight.add_argument("--public", type=Path, nargs="*", default=[], help="files to be disguised besides")
    by_weight.add_argument("--kinds", nargs="*", help="of these disguises alone")
    strangers = parts.add_parser("strangers", help="pairs of networks of one architecture and one data set")
    strangers.add_argument("--data", type=Path, required=True, help="a directory of CIFAR-10 with train/CLASS/*.jpg")
    strangers.add_argument("--networks", type=int, default=21)
    strangers.add_argument("--epochs", type=int, default=6)
    strangers.add_argument("--folder", type=Path, help="where trained networks are kept for another run")
    strangers.add_argument("--minutes", type=float, default=60, help="for the pairs: those of the drawn order that fit")
    strangers.add_argument("--figure", type=Path, help="where the quantile plots go")
    cost = parts.add_parser("cost", help="seconds and bytes for the weights of a ResNet-50")
    cost.add_argument("--kinds", nargs="*", choices=KINDS, help="of these disguises alone")
    for part in parts.choices.values():
        part.add_argument("--output", type=Path, help="a page that gets the report")
    options = parser.parse_args(arguments)
    report = Report("alignment", list(arguments), section=f"alignment {options.part}")
    _PARTS[options.part](report, options)
    report.publish(options.output)
    return 0
