"""Computational cost of the three methods as the standard asks for it [NNW-NNT; NNW-TEC 7.2.7, 7.3.6, 7.4.6].

    python -m benchmarks cost [--network resnet8] [--rtw FOLDER] [--tbw FOLDER]

Injection: time per batch iteration beside the same loop without a mark, all loops in one process taking turns; peak memory, each
loop in a process of its own. Detection: ``onnxnnw verify`` as a whole process, for marked networks in the folders that
``python -m benchmarks marks`` leaves.
"""

import argparse
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import machine
from benchmarks.contenders import make, ours
from benchmarks.tables import Report, megabytes, progress, seconds

LOOPS = ("no mark", "nct", "rtw", "tbw", "larger batch")


@dataclass(frozen=True)
class Loop:
    """One way to train: a name and a round of batches, in seconds per batch."""

    name: str
    run: Callable[[], float]


def loops(network: str, size: str, batches: int, threads: int, wanted: tuple[str, ...] = LOOPS) -> list[Loop]:
    """The same network on the same batches: without a mark, with each method, and with as many more images as TBW joins."""
    import numpy as np
    import torch

    from onnxnnw.enrolment.owner import Owner
    from onnxnnw.exporters.base import export
    from onnxnnw.graph.slots import find_slots
    from onnxnnw.methods.base import Subject
    from onnxnnw.methods.discovery import find_insertion
    from onnxnnw.network_file.file import open_network
    from onnxnnw.recipes import resumed
    from onnxnnw.records.key import Key
    from onnxnnw.tasks.classification import Images
    from onnxnnw.training.hooks import Hooks
    from onnxnnw.training.insertion import draft_record
    from onnxnnw.training.loop import Trainer
    from onnxnnw.training.networks import find_network

    architecture = find_network(network, size)
    recipe = resumed(architecture.recipe(), 1)
    rng = np.random.default_rng(0)
    module = architecture.build()
    torch.set_num_threads(threads)

    def samples(batch: int) -> Images:
        count = batches * batch
        return Images(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count))

    def loop(name: str, hooks: Hooks, batch: int) -> Loop:
        images = samples(batch)
        trainer = Trainer(replace(recipe, batch=batch), architecture.loss, hooks=hooks, threads=threads)
        return Loop(name, lambda: trainer(module, images).history[0].seconds / batches)

    found = []
    with tempfile.TemporaryDirectory() as folder:
        export(architecture, module, Path(folder) / "template.onnx")
        with open_network(Path(folder) / "template.onnx") as opened:
            task = architecture.task()
            subject = Subject(find_slots(opened), (3, 32, 32), (), 10, task.mean, task.deviation)
            for name in wanted:
                hooks, batch = Hooks(), recipe.batch
                if name in ("rtw", "tbw"):
                    insertion = find_insertion(name)()
                    record, _ = draft_record(opened, subject, insertion, Owner(), Key(b"cost".ljust(32)))
                    hooks = insertion.hooks(record, subject)
                if name == "larger batch":
                    batch += find_insertion("tbw")().per_batch  # type: ignore[attr-defined]
                found.append(loop(name, hooks, batch))
    return found


def _injection(report: Report, options: argparse.Namespace) -> None:
    peaks = {
        name: _peak(options, name) for name in LOOPS
    }  # before torch makes this process, and so its children, large
    found = loops(options.network, options.size, options.batches, options.threads)
    times: dict[str, list[float]] = {one.name: [] for one in found}
    for number in range(options.rounds + 1):
        order = found if number % 2 else found[::-1]  # none is always first
        for one in order:
            taken = one.run()
            if number:  # the first round warms up
                times[one.name].append(taken)
        progress(f"cost: round {number} of {options.rounds}")
    bare = times["no mark"]
    rows = []
    for name, values in times.items():
        ratio = statistics.median(b / a - 1 for a, b in zip(bare, values, strict=True))
        limit = 1.96 * statistics.stdev(values) / len(values) ** 0.5
        rows.append(
            (
                _LABELS[name],
                f"{1000 * statistics.median(values):.2f}",
                f"{1000 * statistics.mean(values):.2f} ± {1000 * limit:.2f}",
                f"{100 * ratio:+.1f} %",
                f"{peaks[name]:.0f}",
            )
        )
    report.table(
        f"Injection into {options.network} ({options.size}), {options.threads} thread(s), batches of 128, "
        f"{options.rounds} interleaved rounds of {options.batches} batches",
        ["loop", "ms per batch (median)", "mean, 95 % limits", "beside no mark (median)", "peak MB"],
        rows,
    )


_LABELS = {
    "no mark": "no mark",
    "nct": "NCT (written once; between batches nothing happens)",
    "rtw": "RTW, T = 64, λ = 0.01",
    "tbw": "TBW, ρ = 10",
    "larger batch": "no mark, 10 more images per batch",
}


def _peak(options: argparse.Namespace, name: str) -> float:
    """Peak memory of one loop in a process of its own, in MB."""
    arguments = ["cost", "--peak", name, "--network", options.network, "--size", options.size]
    done = machine.run(machine.python("-m", "benchmarks", *arguments, "--threads", str(options.threads)))
    if done.code:
        raise machine.Failed(done.output[-2000:])
    return float(done.output.split()[-1])


def _detection(report: Report, options: argparse.Namespace) -> None:
    folders: dict[str, Path] = {m: f for m in ("rtw", "tbw") if (f := getattr(options, m)) is not None}
    if not folders:
        return
    with tempfile.TemporaryDirectory() as place:
        marked, record = Path(place) / "marked.onnx", Path(place) / "mark.record"
        original = str(Path(__file__).parent.parent / "models" / "resnet8.onnx")
        make(machine.python("-m", "onnxnnw", "embed", original, "-o", str(marked), "--record", str(record)))
        files: dict[str, tuple[Path, Path]] = {"nct": (marked, record)}
        files |= {m: (folder / "marked.onnx", folder / "mark.record") for m, folder in folders.items()}
        contenders = [ours(m, "verify", model, "--record", kept, "--json") for m, (model, kept) in files.items()]
        found = machine.compare(contenders, options.rounds)
    rows = [(m.upper(), seconds(one), f"{one.cpu_seconds:.2f}", megabytes(one)) for m, one in found.items()]
    report.table("Detection: onnxnnw verify of a marked ResNet8", ["method", "s", "CPU s", "peak MB"], rows)


def main(arguments: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cost", description=__doc__)
    parser.add_argument("--network", choices=("resnet8", "vgg16"), default="resnet8")
    parser.add_argument("--size", default="reference")
    parser.add_argument("--batches", type=int, default=10, help="batches per round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rtw", type=Path, help="folder with a network marked by RTW")
    parser.add_argument("--tbw", type=Path, help="folder with a network marked by TBW")
    parser.add_argument("--peak", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="a page whose section of this name is replaced")
    options = parser.parse_args(arguments)
    if options.peak:
        (one,) = loops(options.network, options.size, 2, options.threads, (options.peak,))
        one.run()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    report = Report("cost", arguments, f"cost-{options.network}")
    _detection(report, options)  # first, for the same reason
    _injection(report, options)
    report.publish(options.output)
    sys.stdout.flush()
    return 0
