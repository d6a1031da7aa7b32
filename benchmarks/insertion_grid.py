"""An added mark at every strength of the standard's modifications, and after trainings that go on from the marked network.

    python -m benchmarks insertion_grid --data DIR [--keys 10] [--images 1000]
    python -m benchmarks insertion_grid --data DIR --trained [--keys 2] [--transfer OTHER]

The shipped ResNet8 as ``embed`` marks it by default. A point where Top-1 is above chance by 10 points and the mark is not traced is
named. ``--trained`` fine-tunes the marked copy (1, 3, 10 epochs at .01 and .001), distils it into a fresh network of the same
architecture, and transfers it to the classes of ``--transfer`` (folders named after them, as ``modify transfer`` has it).
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.insertion import accuracy_of, marked_anew, table
from onnxnnw.demo import shipped_network
from onnxnnw.modifications.base import Modification, apply, find_modification
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.standard.grids import MODIFICATIONS
from onnxnnw.tasks.base import Samples, every_kth, find_task
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify

CHANCE, ABOVE = 10.0, 10.0
"""Top-1 of ten classes by chance, and by how many points a network that is still good for something lies above it."""

POINTS = tuple(
    (name, parameter, value)
    for name, parameter, values in (
        *((name, of.parameter, of.values) for name, of in MODIFICATIONS.items() if name != "fine-tuning"),
        ("global-magnitude-pruning", "percentage", MODIFICATIONS["magnitude-pruning"].values),
    )
    for value in values
)
"""Modification, what its strength is called, strength."""

RATES, EPOCHS = (0.01, 0.001), (1, 3, 10)
DISTILLED, TRANSFERRED = 10, 3
"""Epochs."""


class Point:
    """What was found after one modification, key by key."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.verdicts: list[Verdict] = []
        self.accuracies: list[float] = []

    def add(self, network: Path, record: Record, samples: Samples | None) -> None:
        """One more key; no samples where the network answers other classes."""
        self.verdicts.append(verify(network, [record])[0])
        if samples is not None:
            self.accuracies.append(accuracy_of(network, samples))

    @property
    def traced(self) -> int:
        return sum(verdict.decision == "traced" for verdict in self.verdicts)

    @property
    def missed(self) -> int:
        """Keys that were not traced in networks that are still good for something."""
        pairs = zip(self.verdicts, self.accuracies, strict=False)
        return sum(verdict.decision != "traced" and top > CHANCE + ABOVE for verdict, top in pairs)

    def cells(self) -> list[str]:
        """A row of the table."""
        p = [verdict.log10_p for verdict in self.verdicts]
        top = f"{mean(self.accuracies):.1f}" if self.accuracies else ""
        return [
            self.name,
            top,
            f"{self.traced} of {len(p)}",
            f"{mean(p):.0f}",
            f"{max(p):.1f}",
            str(self.missed) if self.accuracies else "",
        ]


HEADS = ("modification", "Top-1 %", "traced", "log10 p, mean", "worst key", "missed though Top-1 > 20 %")


def of_graphs(keys: int, samples: Samples, folder: Path) -> Iterator[Point]:
    """Every point of the grid, in the file."""
    changed = folder / "changed.onnx"
    points = [Point("unmodified"), *(Point(f"{name} {value:g}") for name, _, value in POINTS)]
    with shipped_network() as original:
        for number in range(keys):
            marked, kept = marked_anew(original, folder, number, "added")
            record = load_record(kept)
            points[0].add(marked, record, samples)
            for point, (name, parameter, value) in zip(points[1:], POINTS, strict=True):
                whole = parameter in ("bits", "marks")
                apply(find_modification(name)(**{parameter: int(value) if whole else value}), marked, changed)
                point.add(changed, record, samples)
            print(f"key {number + 1} of {keys}", file=sys.stderr)
    yield from points


def of_trainings(keys: int, data: Path, transfer: Path | None, samples: Samples, folder: Path) -> Iterator[Point]:
    """Trainings that start at the marked copy, or learn from it."""
    fine, distilled = find_modification("fine-tuning"), find_modification("distillation")
    trainings: list[tuple[str, Modification]] = [
        (f"fine-tuned, {epochs} epochs at {rate}", fine(network="resnet8", data=str(data), epochs=epochs, rate=rate))
        for rate in RATES
        for epochs in EPOCHS
    ]
    name = f"distilled into a fresh network, {DISTILLED} epochs"
    trainings.append((name, distilled(network="resnet8", data=str(data), epochs=DISTILLED)))
    if transfer is not None:
        moved = find_modification("transfer")(network="resnet8", data=str(transfer), epochs=TRANSFERRED)
        trainings.append((f"transferred to other classes, {TRANSFERRED} epochs", moved))
    with shipped_network() as original:
        for name, training in trainings:
            point = Point(name)
            for number in range(keys):
                marked, kept = marked_anew(original, folder, number, "added")
                changed = folder / "changed.onnx"
                apply(training, marked, changed)
                point.add(changed, load_record(kept), None if name.startswith("transferred") else samples)
            print(" | ".join(point.cells()), file=sys.stderr)
            yield point


def main(arguments: Sequence[str]) -> int:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks insertion_grid", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory with CIFAR-10")
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--images", type=int, default=1000, help="test images for Top-1")
    parser.add_argument("--trained", action="store_true", help="trainings, not modifications of the file")
    parser.add_argument("--transfer", type=Path, help="directory with train/<class> of other classes")
    options = parser.parse_args(arguments)
    task = find_task("classification")
    samples = every_kth(task.samples(options.data, task.testing_split), options.images)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.trained:
            points = list(of_trainings(options.keys, options.data, options.transfer, samples, folder))
        else:
            points = list(of_graphs(options.keys, samples, folder))
    print(table(HEADS, [point.cells() for point in points]))
    return 0
