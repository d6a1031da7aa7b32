"""The reference networks by name: to train, export and measure."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from onnxnnw.array_files import array_names
from onnxnnw.errors import MissingExtra, UnknownName, UnreadableNetwork
from onnxnnw.network_file.foreign import named
from onnxnnw.network_file.writing import refuse_place
from onnxnnw.runtime import Runtime, open_runtime
from onnxnnw.tasks.base import Measurement, Metric, Samples, Task, evaluate, every_kth, find_metric
from onnxnnw.tasks.own_samples import own_samples

if TYPE_CHECKING:
    from onnxnnw.exporters.base import Architecture
    from onnxnnw.recipes import Precision, Recipe
    from onnxnnw.training.hooks import Hooks, Trained, TrainingProgress

__all__ = [
    "export_network",
    "find_network",
    "measure",
    "measure_own",
    "measure_task",
    "network_names",
    "train_network",
]

TESTED_PER_EPOCH = 1000
"""Test samples that are looked at after every epoch of a training, evenly spread; the final measurement takes all."""


def network_names() -> list[str]:
    """The names of all networks: the files of ``exporters/``."""
    package = importlib.import_module("onnxnnw.exporters")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "base")


def find_network(name: str, size: str = "reference") -> "Architecture":
    """The network of this name.

    Raises:
        UnknownName: There is no such network, or not at this size.
        MissingExtra: torch is not installed.
    """
    if name not in network_names():
        raise UnknownName("network", name, network_names())
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise MissingExtra("torch", "torch") from error
    base = importlib.import_module("onnxnnw.exporters.base").Architecture
    module = importlib.import_module(f"onnxnnw.exporters.{name}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, base)]
    return next(kind for kind in kinds if kind.__module__ == module.__name__)(size)


def export_network(architecture: "Architecture", out: Path, seed: int = 0, checkpoint: Path | None = None) -> None:
    """Write the network as ONNX: freshly initialised from the seed, or as a training's checkpoint left it."""
    from onnxnnw.exporters.base import export
    from onnxnnw.training.checkpoints import load_module

    refuse_place(out)
    module = architecture.build(seed)
    export(architecture, module if checkpoint is None else load_module(module, checkpoint), out)


def train_network(
    architecture: "Architecture",
    data: Path,
    out: Path,
    *,
    recipe: "Recipe | None" = None,
    seed: int = 0,
    start: Path | None = None,
    threads: int | None = None,
    checkpoint: Path | None = None,
    until: int | None = None,
    keep: frozenset[int] = frozenset(),
    hooks: "Hooks | None" = None,
    progress: "TrainingProgress | None" = None,
    template: Path | None = None,
    precision: "Precision | None" = None,
) -> "Trained":
    """Train a network on its task's data and export it.

    Args:
        recipe: None takes the network's own.
        start: An ONNX file of this network whose weights the training starts from; None initialises them.
        seed, threads, hooks, checkpoint, until, keep, progress, precision: As `onnxnnw.training.loop.Trainer` has them.
        template: An export of this architecture, see `onnxnnw.exporters.base.export`.

    Raises:
        MissingData: The task's data is not below the directory.
        UsageError: The network cannot be written there.
    """
    from onnxnnw.exporters.base import export
    from onnxnnw.training.hooks import Hooks
    from onnxnnw.training.loop import Trainer

    refuse_place(out)
    task = architecture.task()
    trainer = Trainer(
        recipe or architecture.recipe(),
        architecture.loss,
        seed,
        hooks or Hooks(),
        checkpoint=checkpoint,
        until=until,
        keep=keep,
        threads=threads,
        precision=precision,
        progress=progress,
    )
    trained = trainer(
        architecture.build(seed) if start is None else architecture.load(start),
        task.training(data),
        testing=every_kth(task.testing(data), TESTED_PER_EPOCH),
        metric=task.metrics[0],
        adversary=architecture.build_adversary(seed) if trainer.recipe.adversarial else None,
    )
    export(architecture, trained.module, out, template)
    return trained


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(
    model: Path,
    samples: Samples,
    metrics: tuple[Metric, ...],
    *,
    count: int | None = None,
    threads: int | None = None,
    tick: Callable[[int, int], None] | None = None,
    provider: str = "",
) -> Measurement:
    """The quality of an ONNX file through onnxruntime, on the GPU when there is one.

    Args:
        provider: See `onnxnnw.runtime.open_runtime`.
        count: At most so many samples, evenly spread; None takes all.
        tick: Told how many samples of how many are done.
    """
    return _measured(_runtime(model, threads, provider), samples, metrics, count, tick)


def measure_task(
    model: Path, task: Task, data: Path, split: str | None = None, count: int | None = None, provider: str = ""
) -> Measurement:
    """The quality of an ONNX file on a task's samples, in the size that the network wants.

    Args:
        data: Directory of the task's data.
        split: Another than the one to measure on.
    """
    runtime = _runtime(model, provider=provider)
    kind = task.fitting(runtime.inputs[0].shape) if len(runtime.inputs) == 1 else task
    return _measured(runtime, kind.samples(data, split or kind.testing_split), kind.metrics, count)


def _runtime(model: Path, threads: int | None = None, provider: str = "") -> Runtime:
    try:
        return open_runtime(model, threads, provider=provider)
    except UnreadableNetwork:
        known = named(model)
        if not known:
            raise
        raise UnreadableNetwork(f"{model}: is {known}") from None


def _measured(
    runtime: Runtime,
    samples: Samples,
    metrics: Iterable[Metric],
    count: int | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> Measurement:
    chosen = samples if count is None else every_kth(samples, count)
    return evaluate(runtime.predict, chosen, metrics, tick=tick)


def measure_own(
    model: Path,
    samples: Path,
    metric: str,
    low: float = 0.0,
    high: float = 1.0,
    count: int | None = None,
    provider: str = "",
) -> Measurement:
    """The quality of any ONNX file on inputs and targets that the user brings.

    Args:
        samples: As `onnxnnw.tasks.own_samples.own_samples` reads them; or an array for each input of the network, by its name, as
            `onnxnnw.tasks.own_evaluation.own_data` does.
        metric: For samples of the second kind any that campaigns know, see `onnxnnw.tasks.own_metrics.find_own_metric`.
        low, high: What stands for black and white in images.
        count: At most so many samples.
    """
    if array_names(samples) - {"inputs", "targets"}:
        from onnxnnw.tasks.own_evaluation import evaluate_own, own_data
        from onnxnnw.tasks.own_metrics import find_own_metric

        wanted = [find_own_metric(metric, low, high)]
        return evaluate_own(open_runtime(model, provider=provider), own_data(samples), wanted, most=count)
    return measure(model, own_samples(samples), (find_metric(metric, low, high),), count=count, provider=provider)
