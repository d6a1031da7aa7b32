"""Robustness of RTW and TBW as the standard has it: Tables 13 to 16 and 18 to 21, and overwriting [NNW-TEC 7.3.5, 7.4.5].

    python -m benchmarks marks --method rtw --data DIR --folder DIR2 [--output FILE]

The mark is inserted in a few epochs from the network that ships with the package (or from ``--start``), then every
modification is applied at every listed strength, and each file is verified and measured on all test images. Files that are
already in the folder are kept, so a stopped run goes on where it was.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import Report, progress
from onnxnnw.demo import shipped_network
from onnxnnw.methods.discovery import find_insertion
from onnxnnw.modifications.base import apply, find_modification
from onnxnnw.recipes import resumed
from onnxnnw.records.key import Key
from onnxnnw.standard.grids import MODIFICATIONS
from onnxnnw.standard.tables import find_robustness, printed_robustness
from onnxnnw.tasks.base import Samples, find_task
from onnxnnw.training.insertion import Training, train_marked
from onnxnnw.training.networks import find_network, measure
from onnxnnw.verification.named_records import named_record
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.verify import verify

ON_THE_GRAPH = ("gaussian-noise", "quantization", "magnitude-pruning")
FINE_TUNING = tuple(int(epochs) for epochs in MODIFICATIONS["fine-tuning"].values)
MARKS = (1, 2)
"""Further marks by overwriting; each costs as many epochs as the first."""

TITLES = {
    "gaussian-noise": "Gaussian noise, S",
    "quantization": "quantization, B",
    "magnitude-pruning": "magnitude pruning per layer, P",
    "fine-tuning": "fine-tuning, E",
    "overwriting-in-training": "watermark overwriting by training, W",
}


@dataclass(frozen=True)
class Row:
    """One modification at one strength."""

    modification: str
    value: float
    verdict: Verdict
    error: float


@dataclass(frozen=True)
class Subject:
    """The marked network, and how everything about it is asked for."""

    options: argparse.Namespace

    @property
    def folder(self) -> Path:
        """Where all files go."""
        folder: Path = self.options.folder
        return folder

    @property
    def marked(self) -> Path:
        """The marked network."""
        return self.folder / "marked.onnx"

    @cached_property
    def samples(self) -> Samples:
        """The test images, read once."""
        task = find_task("classification")
        return task.samples(self.options.data, task.testing_split)

    def error(self, path: Path) -> float:
        """Classification error on all test images, in percent."""
        metrics = find_task("classification").metrics
        return measure(path, self.samples, metrics, threads=self.options.threads).values["classification-error"]

    def row(self, modification: str, value: float, path: Path) -> Row:
        """Verify and measure one file."""
        (verdict,) = verify(path, [named_record(self.folder / "mark.record")])
        progress(f"marks: {modification} {value:g}: {verdict.decision}, {verdict.standard.values}")
        return Row(modification, value, verdict, self.error(path))


def insert(subject: Subject) -> None:
    """Mark the network, and keep a note of what it cost."""
    options = subject.options
    architecture = find_network(options.network)
    recipe = resumed(architecture.recipe(), options.epochs)
    insertion = find_insertion(options.method)()
    key = Key(f"marks, {options.method}".encode().ljust(32))
    with shipped_network() as shipped:
        training = Training(recipe, 0, options.start or shipped, options.threads)
        out, record = subject.marked, subject.folder / "mark.record"
        done = train_marked(architecture, options.data, out, record, insertion, training, key=key)
    inserted = (
        "not inserted" if done.inserted_after is None else f"inserted after {done.inserted_after} batch iterations"
    )
    return f"{inserted}, {1000 * done.trained.cost.seconds_per_batch:.0f} ms per batch"


def fine_tuned(subject: Subject) -> Iterator[tuple[int, Path]]:
    """The marked network after E further epochs, for all E along one training: as ``modify fine-tuning`` gives each."""
    from onnxnnw.exporters.base import write_weights
    from onnxnnw.network_file.file import open_network
    from onnxnnw.training.hooks import Hooks
    from onnxnnw.training.loop import Trainer

    paths = {epochs: subject.folder / f"fine-tuning-{epochs}.onnx" for epochs in FINE_TUNING}
    options = subject.options

    def keep(module: Any, epoch: int) -> None:
        if epoch in paths:
            with open_network(subject.marked, for_writing=True) as network:
                write_weights(module, network, paths[epoch])

    if not all(path.exists() for path in paths.values()):
        architecture = find_network(options.network)
        seed = int(np.random.default_rng(0).integers(2**31))
        recipe = resumed(architecture.recipe(), max(FINE_TUNING))
        checkpoint = subject.folder / "fine-tuning.pt"
        trainer = Trainer(recipe, architecture.loss, seed, Hooks(keep), checkpoint, threads=options.threads)
        trainer(architecture.load(subject.marked), architecture.task().training(options.data))
    yield from paths.items()


def overwritten(subject: Subject) -> Iterator[tuple[int, Path]]:
    """The marked network with W further marks of the same method."""
    options = subject.options
    for marks in MARKS:
        path = subject.folder / f"overwriting-{marks}.onnx"
        if not path.exists():
            kind: Any = find_modification("overwriting-in-training")
            source = subject.marked if marks == 1 else subject.folder / f"overwriting-{marks - 1}.onnx"
            one_more = kind(
                options.method, options.network, str(options.data), 1, options.epochs, threads=options.threads or 0
            )
            apply(one_more, source, path, seed=marks)
        yield marks, path


def rows(subject: Subject) -> Iterator[Row]:
    """Every grid point; the first row is the marked network itself."""
    yield subject.row("none", 0, subject.marked)
    for name in ON_THE_GRAPH:
        for value in MODIFICATIONS[name].values:
            path = subject.folder / "modified.onnx"
            settings: dict[str, Any] = {MODIFICATIONS[name].parameter: value}
            apply(find_modification(name)(**settings), subject.marked, path)
            yield subject.row(name, value, path)
    if not subject.options.graph_only:
        for value, path in fine_tuned(subject):
            yield subject.row("fine-tuning", value, path)
        for value, path in overwritten(subject):
            yield subject.row("overwriting-in-training", value, path)


def tell(report: Report, subject: Subject, found: list[Row], baseline: float) -> None:
    """The tables, published figures beside measured ones."""
    method, network = subject.options.method, subject.options.network
    unit = "BER" if method == "rtw" else "%"
    marked = found[0]
    change = abs(marked.error - baseline) / baseline * 100
    report.say(
        f"The unmarked network's classification error is {baseline:.2f} %, the marked one's {marked.error:.2f} % "
        f"(relative change {change:.1f} %); {marked.verdict.standard.sentence}; log10 p {marked.verdict.log10_p:.1f}, "
        f"{marked.verdict.decision}."
    )
    for name, title in TITLES.items():
        chosen = [row for row in found if row.modification == name]
        if not chosen:
            continue
        published = printed_robustness(method, network, name)
        table = find_robustness(method, network, name)
        lines = []
        for row in chosen:
            mark, error = published.get(row.value, ("", ""))
            relative = abs(row.error - marked.error) / marked.error * 100
            lines.append(
                (
                    f"{row.value:g}",
                    _mark(row.verdict),
                    "retrieved" if row.verdict.standard.retrieved else "not retrieved",
                    f"{row.verdict.log10_p:.1f}",
                    row.verdict.decision,
                    f"{relative:.1f}",
                    mark,
                    error,
                )
            )
        heads = [title, unit, "standard", "log10 p", "verdict", "error %", f"published {unit}", "published error %"]
        report.table(f"{network}, {method.upper()}" + (f", Table {table.number}" if table else ""), heads, lines)


def _mark(verdict: Verdict) -> str:
    ber = verdict.standard.values.get("ber")
    return f"{verdict.standard.values['percent']:.0f}" if ber is None else f"{ber:.3f}".rstrip("0").rstrip(".")


def main(arguments: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks marks", description=__doc__)
    parser.add_argument("--method", choices=("rtw", "tbw"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="directory with CIFAR-10")
    parser.add_argument("--folder", type=Path, required=True, help="where networks go; those that are there are kept")
    parser.add_argument("--network", choices=("resnet8", "vgg16"), default="resnet8")
    parser.add_argument(
        "--start", type=Path, help="an unmarked ONNX file of that network; the shipped ResNet8 by default"
    )
    parser.add_argument("--epochs", type=int, default=2, help="epochs in which a mark is inserted")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--graph-only", action="store_true", help="leave out what needs further training")
    parser.add_argument("--output", type=Path, help="a page whose section of this name is replaced")
    options = parser.parse_args(arguments)
    if options.network != "resnet8" and options.start is None:
        parser.error("--start is needed for a network that is not shipped")
    options.folder.mkdir(parents=True, exist_ok=True)
    subject = Subject(options)
    report = Report("marks", arguments, f"marks-{options.method}-{options.network}")
    if not subject.marked.exists():
        insert(subject)
    report.say((options.folder / "insertion.txt").read_text())
    with shipped_network() as shipped:
        baseline = subject.error(options.start or shipped)
    found = list(rows(subject))
    tell(report, subject, found, baseline)
    report.publish(options.output)
    missed = [row for row in found[:1] if not row.verdict.meets()]
    for row in missed:
        print(f"the mark itself is {row.verdict.decision}", file=sys.stderr)
    return 1 if missed else 0
