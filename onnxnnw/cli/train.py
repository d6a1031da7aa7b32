"""train: a reference network, trained and marked while it trains."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxnnw.cli import show
from onnxnnw.cli.bars import Bar
from onnxnnw.cli.options import Name, Out, Seed, Size
from onnxnnw.recipes import Precision

if TYPE_CHECKING:
    from onnxnnw.methods.base import Insertion
    from onnxnnw.training.at_epoch import FileInsertionAtEpoch, NctAtEpoch
    from onnxnnw.training.hooks import Epoch
    from onnxnnw.training.insertion import Marked

__all__ = ["register"]

Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads to compute with; torch's own choice.")]
Computed = Annotated[
    Precision | None,
    typer.Option(
        "--precision", help="What to train in; by default what the checkpoint began in, or the processor is fast in."
    ),
]


def _list_methods(wanted: bool) -> None:
    if not wanted:
        return
    from onnxnnw.methods.discovery import file_insertion_names, find_file_insertion, find_insertion, insertion_names

    print("nct\n  Values at secret positions; --mark-at, --positions, --strength")
    for name in insertion_names():
        _describe(name, find_insertion(name))
    for name in file_insertion_names():
        _describe(f"{name}, written at one moment: --mark-at", find_file_insertion(name))
    raise typer.Exit


def _describe(title: str, kind: type) -> None:
    from onnxnnw.parameters import describe

    print(f"{title}\n  {(kind.__doc__ or '').splitlines()[0]}")
    show.pairs([(f"  {parameter}", sentence) for parameter, sentence in describe(kind)])


def train(
    context: typer.Context,
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
    start: Annotated[Path | None, typer.Option("--start", help="Start from this ONNX file's weights.")] = None,
    threads: Threads = None,
    precision: Computed = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Resume from this file; it is written after every epoch.")
    ] = None,
    until: Annotated[
        int | None, typer.Option("--until", min=0, help="Stop when so many epochs are done, to be resumed later.")
    ] = None,
    record: Annotated[Path | None, typer.Option("--record", help="Where the watermark's record goes.")] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="Mark while training: nct, or another of --list-methods; its parameters follow."),
    ] = None,
    list_methods: Annotated[
        bool,
        typer.Option(
            "--list-methods", callback=_list_methods, is_eager=True, help="List the methods with their parameters."
        ),
    ] = False,
    mark_at: Annotated[
        int | None, typer.Option("--mark-at", min=0, help="nct: insert the mark when so many epochs are done.")
    ] = None,
    positions: Annotated[int, typer.Option("--positions", help="nct: positions of the mark.")] = 512,
    insertion: Annotated[
        str, typer.Option("--insertion", help="nct: whether values are 'replaced', or 'added' to what they are then.")
    ] = "replaced",
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength",
            help="nct: strength of the mark; 1 where replaced, where added as `embed` has it: name 1 for an early mark.",
        ),
    ] = None,
    actor: Annotated[str, typer.Option("--actor", help="Who marks.")] = "",
    role: Annotated[
        str, typer.Option("--role", help="Architect, Trainer, Tracker, Distributor or 'Generic user'.")
    ] = "",
) -> None:
    """Train a reference network and write it as ONNX, marked if wanted; interrupted, it resumes from its checkpoint.

    Example: onnxnnw train resnet8 --data DIR -o marked.onnx --record my.record --method rtw --bits 64 --payload ACME
    """
    from onnxnnw.enrolment.owner import Owner
    from onnxnnw.recipes import adjusted
    from onnxnnw.training.insertion import Training, insert_in_training
    from onnxnnw.training.networks import find_network

    architecture = find_network(network, size)
    mark = _insertion(method, mark_at, positions, strength, insertion, context.args)
    training = Training(
        adjusted(architecture.recipe(), epochs, rate, schedule),
        seed,
        start,
        threads,
        checkpoint,
        until,
        Show(architecture.task().metrics[0].name),
        precision=precision,
    )
    done = insert_in_training(architecture, data, out, record, mark, training, Owner(actor, role))
    cost = done.trained.cost
    print(f"{out}  {cost.iterations} batches, {1000 * cost.seconds_per_batch:.1f} ms each, in {done.trained.precision}")
    if record is not None:
        _show_mark(done, record)


def _insertion(
    method: str | None,
    mark_at: int | None,
    positions: int,
    strength: float | None,
    insertion: str,
    arguments: list[str],
) -> "NctAtEpoch | FileInsertionAtEpoch | Insertion | None":
    """What is inserted, from the options of ``train``."""
    from onnxnnw.errors import UnknownName, UsageError
    from onnxnnw.methods.discovery import file_insertion_names, find_file_insertion, find_insertion, insertion_names
    from onnxnnw.parameters import from_arguments
    from onnxnnw.training.at_epoch import FileInsertionAtEpoch, NctAtEpoch

    if method is None and mark_at is not None:
        method = "nct"
    if method in (None, "nct"):
        if arguments:
            raise UsageError(f"{arguments[0]} is not an option of train; see train --help")
        if method == "nct" and mark_at is None:
            raise UsageError("--method nct needs --mark-at: the number of epochs after which the mark is inserted")
        return None if mark_at is None else NctAtEpoch(mark_at, positions, strength, insertion)
    if mark_at is not None:
        if method not in file_insertion_names():
            known = ", ".join(["nct", *file_insertion_names()])
            raise UsageError(f"--mark-at belongs to {known}; {method} marks during the whole training")
        return FileInsertionAtEpoch(mark_at, from_arguments(find_file_insertion(method), method, arguments))
    if method not in insertion_names():
        raise UnknownName("method that is inserted in training", str(method), ["nct", *insertion_names()])
    return from_arguments(find_insertion(method), method, arguments)


def _show_mark(done: "Marked", record: Path) -> None:
    rows = []
    if done.record is not None:
        rows = [
            ("record", f"{record}  (secret: whoever holds it can erase the mark)"),
            ("commitment", f"{done.commitment}  (publish it before the network)"),
        ]
    else:
        rows = [("record", f"{record}.draft until the last epoch is done")]
    if done.inserted_after is not None:
        rows.append(("inserted", f"after {done.inserted_after:,} batch iterations"))
    show.pairs(rows)
    for warning in done.warnings:
        typer.secho(f"warning: {show.visible(warning)}", fg="yellow", err=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train)


@dataclass
class Show:
    """A training on stderr: a bar that redraws itself on a terminal, a line per epoch elsewhere."""

    metric: str
    bar: Bar = field(default_factory=lambda: Bar(keep=False))

    def batch(self, epoch: int, done: int, batches: int, loss: float) -> None:
        if self.bar.on_terminal:
            self.bar.show(f"epoch {epoch}  {done}/{batches}  loss {loss:.4f}", done, batches)

    def epoch(self, epoch: "Epoch") -> None:
        metric = "" if epoch.metric is None else f"  {self.metric} {epoch.metric:.2f}"
        clock = time.strftime("%H:%M:%S")
        self.bar.close()
        self.bar.say(f"epoch {epoch.number}  loss {epoch.loss:.4f}{metric}  {epoch.seconds:.1f} s  {clock}")
