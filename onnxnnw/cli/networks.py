"""The commands export, train and measure."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from onnxnnw.tasks.base import Measurement
    from onnxnnw.training import Epoch

__all__ = ["register"]

MEASUREMENT_FORMAT = "onnxnnw/measurement/1"

Name = Annotated[str, typer.Argument(help="deeplabv3, pix2pix, rdn, resnet8 or vgg16")]
Size = Annotated[str, typer.Option("--size", help="reference or small")]
Out = Annotated[Path, typer.Option("-o", "--out", help="The ONNX file to write.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides initial weights, order and augmentation.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads to compute with; torch's own choice.")]


def export(
    network: Name,
    out: Out,
    size: Size = "reference",
    seed: Seed = 0,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Take the weights of this checkpoint of a training.")
    ] = None,
) -> None:
    """Write a reference network as ONNX, freshly initialised or as a training left it.

    Example: onnxnnw export resnet8 -o resnet8.onnx
    """
    from onnxnnw.networks import export_network, find_network

    export_network(find_network(network, size), out, seed, checkpoint)
    print(out)


def train(
    network: Name,
    data: Annotated[Path, typer.Option("--data", help="Directory of the task's data.")],
    out: Out,
    size: Size = "reference",
    epochs: Annotated[int | None, typer.Option("--epochs", min=0, help="Epochs; the network's own number.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Peak learning rate; the network's own.")] = None,
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="constant, one-cycle or decay; the network's own.")
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Resume from this file; it is written after every epoch.")
    ] = None,
    until: Annotated[
        int | None, typer.Option("--until", min=0, help="Stop when so many epochs are done, to be resumed later.")
    ] = None,
    mark_at: Annotated[
        int | None, typer.Option("--mark-at", min=0, help="Insert an NCT watermark when so many epochs are done.")
    ] = None,
    record: Annotated[Path | None, typer.Option("--record", help="Where the watermark's record goes.")] = None,
    positions: Annotated[int, typer.Option("--positions", help="Positions of the watermark.")] = 512,
    strength: Annotated[float, typer.Option("--strength", help="Strength of the watermark.")] = 1.0,
) -> None:
    """Train a reference network and write it as ONNX; interrupted, it resumes from its checkpoint.

    Example: onnxnnw train resnet8 --data DIR --checkpoint resnet8.pt -o resnet8.onnx
    """
    from onnxnnw.errors import UsageError
    from onnxnnw.networks import MarkInTraining, find_network, train_network
    from onnxnnw.recipes import adjusted
    from onnxnnw.training import Hooks

    architecture = find_network(network, size)
    if (mark_at is None) != (record is None):
        raise UsageError("--mark-at and --record go together")
    mark = None
    if mark_at is not None and record is not None:
        mark = MarkInTraining(architecture, mark_at, record, positions, strength)
    recipe = adjusted(architecture.recipe(), epochs, rate, schedule)
    show = Show(architecture.task().metrics[0].name)
    trained = train_network(
        architecture,
        data,
        out,
        recipe=recipe,
        seed=seed,
        threads=threads,
        checkpoint=checkpoint,
        until=until,
        hooks=Hooks(mark),
        progress=show,
    )
    cost = trained.cost
    print(f"{out}  {cost.iterations} batches, {1000 * cost.seconds_per_batch:.1f} ms each")


def measure(
    model: Annotated[Path, typer.Argument(help="Any ONNX file.")],
    task: Annotated[
        str | None, typer.Option("--task", help="classification, super-resolution, image-translation or segmentation")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Directory of the task's data.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Another split than the usual, e.g. Set5.")] = None,
    own: Annotated[
        Path | None, typer.Option("--own", help="Your own samples: an .npz, or a folder with inputs/ and targets/.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="The metric for your own samples.")] = None,
    low: Annotated[float, typer.Option("--low", help="Value of black in your own images.")] = 0.0,
    high: Annotated[float, typer.Option("--high", help="Value of white in your own images.")] = 1.0,
    count: Annotated[int | None, typer.Option("--count", min=1, help="At most so many, evenly spread.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the quality of an ONNX file on a task of the standard, or on your own samples.

    Example: onnxnnw measure resnet8.onnx --task classification --data DIR
    """
    from onnxnnw import networks
    from onnxnnw.errors import UsageError
    from onnxnnw.tasks.base import find_task

    if own is not None and metric is not None:
        found = networks.measure_own(model, own, metric, low, high, count)
    elif task is not None and data is not None:
        kind = find_task(task)
        samples = kind.samples(data, split or kind.testing_split)
        found = networks.measure(model, samples, kind.metrics, count=count)
    else:
        raise UsageError("give --task and --data, or --own and --metric")
    print(_json(model, found) if as_json else _text(found))


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (export, train, measure):
        app.command()(command)


def _text(found: "Measurement") -> str:
    lines = [f"{name:22} {value:10.4f}" for name, value in found.values.items()]
    return "\n".join([*lines, f"{'samples':22} {found.samples:10}", f"{'seconds':22} {found.seconds:10.2f}"])


def _json(model: Path, found: "Measurement") -> str:
    values = {"metrics": dict(found.values), "samples": found.samples, "seconds": found.seconds}
    return json.dumps({"format": MEASUREMENT_FORMAT, "model": str(model), **values})


@dataclass
class Show:
    """A training on stderr: a bar that redraws itself on a terminal, a line per epoch elsewhere."""

    metric: str

    def batch(self, epoch: int, done: int, batches: int, loss: float) -> None:
        if sys.stderr.isatty():
            filled = 30 * done // batches
            bar = "█" * filled + "░" * (30 - filled)
            print(f"\repoch {epoch} {bar} {done}/{batches}  loss {loss:.4f} ", end="", file=sys.stderr, flush=True)

    def epoch(self, epoch: "Epoch") -> None:
        metric = "" if epoch.metric is None else f"  {self.metric} {epoch.metric:.2f}"
        start = "\r\x1b[K" if sys.stderr.isatty() else ""
        clock = time.strftime("%H:%M:%S")
        line = f"epoch {epoch.number}  loss {epoch.loss:.4f}{metric}  {epoch.seconds:.1f} s  {clock}"
        print(f"{start}{line}", file=sys.stderr, flush=True)
