"""The interface of tasks: samples in the layouts of public data sets, and metrics of a network's answers.

A task is one file in this folder with one subclass of `Task`. Everything here is NumPy: training turns batches into
tensors, measuring sends them through onnxruntime, and neither knows what the pixels mean.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnknownName, UnreadableData, UsageError
from onnxnnw.images import psnr_db, ssim_global, ssim_windowed

__all__ = [
    "Arrays",
    "Measurement",
    "Metric",
    "Predictor",
    "Samples",
    "Task",
    "evaluate",
    "every_kth",
    "find_metric",
    "find_task",
    "image_metrics",
    "task_names",
]

Array = NDArray[Any]


Predictor = Callable[[Array], Array]
"""Whatever answers a batch: an ONNX file through onnxruntime, or a module in training."""


class Samples(ABC):
    """A data set by index: inputs as the network reads them, targets as the metrics and losses read them.

    Attributes:
        uniform: All samples have one shape, so that several fit into one batch.
    """

    uniform: bool = True

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def batch(self, indices: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
        """Inputs (float32, N first) and targets of these samples; augmented when a generator is given."""

    def subset(self, indices: Array) -> "Samples":
        """These samples only, in this order."""
        return _Subset(self, np.asarray(indices))


class _Subset(Samples):
    def __init__(self, whole: Samples, indices: Array) -> None:
        self.whole, self.indices, self.uniform = whole, indices, whole.uniform

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
        return self.whole.batch(self.indices[indices], rng)


@dataclass(frozen=True)
class Arrays(Samples):
    """Samples that lie in memory as they are: the caller's own inputs and targets.

    Raises:
        UnreadableData: Inputs and targets differ in number, or there are none.
    """

    inputs: Sequence[Array] | Array
    targets: Sequence[Array] | Array

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise UnreadableData(
                f"{len(self.inputs)} inputs but {len(self.targets)} targets; there must be one per input"
            )
        if len(self.inputs) == 0:
            raise UnreadableData("there are no inputs")
        shapes = {np.shape(value) for value in self.inputs} if not isinstance(self.inputs, np.ndarray) else {()}
        object.__setattr__(self, "uniform", len(shapes) == 1)

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, indices: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
        return np.stack([self.inputs[i] for i in indices]), np.stack([self.targets[i] for i in indices])


@dataclass(frozen=True)
class Metric:
    """A quality of a network's outputs, computed from sums so that data of any size fits.

    Args:
        name: What users call it, e.g. ``"top1"``.
        unit: ``"%"``, ``"dB"`` or ``""``.
        statistics: Outputs and targets of one batch -> numbers that are added over batches.
        value: The added numbers -> the metric.
    """

    name: str
    unit: str
    statistics: Callable[[Array, Array], Array]
    value: Callable[[Array], float]

    def __call__(self, outputs: Array, targets: Array) -> float:
        """The metric over these outputs alone."""
        return self.value(self.statistics(outputs, targets))


@dataclass(frozen=True)
class Measurement:
    """Metrics by name with the number of samples they rest on.

    Args:
        seconds: Time spent in the network, all samples together.
    """

    values: Mapping[str, float]
    samples: int
    seconds: float


class Task(ABC):
    """What a network is for: where its data lies, how a batch looks, and what counts as good."""

    name: ClassVar[str]
    source: ClassVar[str]
    """Where a user gets the data."""
    mean: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 0.0)
    """Per channel, with `deviation`: inputs, and answers that are images, are (pixel / 255 - mean) / deviation."""
    deviation: ClassVar[tuple[float, float, float]] = (1.0, 1.0, 1.0)
    training_split: ClassVar[str] = "train"
    testing_split: ClassVar[str] = "test"

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The first is the one that is quoted."""

    @property
    def number_of_classes(self) -> int | None:
        """How many classes an answer chooses from; None where answers are images."""
        return None

    @abstractmethod
    def samples(self, directory: Path, split: str) -> Samples:
        """The samples of one split below a directory.

        Raises:
            MissingData: None of the layouts this task reads is there.
            UnreadableData: What is there is damaged or does not fit together.
        """

    def fitting(self, shape: Sequence[int | None]) -> "Task":
        """The same task with samples of the size that a network wants, where the task lets one choose.

        Args:
            shape: Of the network's input: (N, C, H, W), None where the network leaves it open.
        """
        return self

    def training(self, directory: Path) -> Samples:
        """The samples to train on."""
        return self.samples(directory, self.training_split)

    def testing(self, directory: Path) -> Samples:
        """The samples to measure on."""
        return self.samples(directory, self.testing_split)


_NO_TASKS = ("base", "own_evaluation", "own_metrics", "own_samples")
"""Modules of this folder that tasks share."""


def task_names() -> list[str]:
    """The names of all tasks: the files of this folder."""
    import pkgutil

    import onnxnnw.tasks

    return sorted(
        found.name.replace("_", "-")
        for found in pkgutil.iter_modules(onnxnnw.tasks.__path__)
        if found.name not in _NO_TASKS
    )


def find_task(name: str) -> Task:
    """The task of this name with its usual parameters.

    Raises:
        UnknownName: There is none.
    """
    import importlib

    if name not in task_names():
        raise UnknownName("task", name, task_names())
    module = importlib.import_module(f"onnxnnw.tasks.{name.replace('-', '_')}")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Task)]
    return next(kind for kind in kinds if kind.__module__ == module.__name__)()


def find_metric(name: str, low: float = 0.0, high: float = 1.0) -> Metric:
    """The metric of this name, whichever task brings it.

    Args:
        low: The value that stands for black, for metrics of images.
        high: The value that stands for white.

    Raises:
        UnknownName: There is none.
    """
    known = {metric.name: metric for task in task_names() for metric in find_task(task).metrics}
    known |= {metric.name: metric for metric in image_metrics(low, high)}
    if name not in known:
        raise UnknownName("metric", name, known)
    return known[name]


def evaluate(
    predict: Predictor,
    samples: Samples,
    metrics: Iterable[Metric],
    *,
    batch: int = 100,
    tick: Callable[[int, int], None] | None = None,
) -> Measurement:
    """Metrics of what `predict` answers on all samples.

    Args:
        batch: Samples per call; 1 where samples differ in shape.
        tick: Told how many samples of how many are done.

    Raises:
        UnreadableData: The network's answer does not fit the targets.
    """
    import time

    metrics = tuple(metrics)
    sums: dict[str, Array] = {}
    seconds, total = 0.0, len(samples)
    for chosen in _chunks(total, batch if samples.uniform else 1):
        inputs, targets = samples.batch(chosen)
        begin = time.perf_counter()
        outputs = predict(inputs)
        seconds += time.perf_counter() - begin
        for metric in metrics:
            added = np.asarray(metric.statistics(outputs, targets), np.float64)
            sums[metric.name] = sums.get(metric.name, np.zeros_like(added)) + added
        if tick:
            tick(int(chosen[-1]) + 1, total)
    return Measurement({metric.name: metric.value(sums[metric.name]) for metric in metrics}, total, seconds)


def every_kth(samples: Samples, count: int) -> Samples:
    """At most `count` samples, evenly spread: public test sets are often sorted by class."""
    if count < 1:
        raise UsageError(f"the number of samples must be at least 1, not {count}")
    if count >= len(samples):
        return samples
    return samples.subset(np.arange(count) * len(samples) // count)


def _chunks(total: int, size: int) -> Iterator[Array]:
    for start in range(0, total, size):
        yield np.arange(start, min(start + size, total))


def image_metrics(low: float, high: float) -> tuple[Metric, ...]:
    """PSNR and SSIM by the standard's formulas with the usual SSIM beside them, averaged over images.

    Args:
        low: The value of outputs and targets that stands for black.
        high: The value that stands for white.
    """

    def averaged(name: str, unit: str, quality: Callable[[Array, Array], float]) -> Metric:
        def statistics(outputs: Array, targets: Array) -> Array:
            if outputs.shape != targets.shape or outputs.ndim != 4:
                raise UnreadableData(
                    f"{name} wants images (N, C, H, W) of one shape, not {outputs.shape} and {targets.shape}"
                )
            values = [
                quality(_bytes(a, low, high), _bytes(b, low, high)) for a, b in zip(outputs, targets, strict=True)
            ]
            return np.array([sum(values), len(values)])

        return Metric(name, unit, statistics, lambda sums: float(sums[0] / sums[1]))

    return (
        averaged("psnr", "dB", psnr_db),
        averaged("ssim", "", ssim_global),
        averaged("ssim-windowed", "", ssim_windowed),
    )


def _bytes(image: Array, low: float, high: float) -> Array:
    """Values as an image file would keep them: whole numbers from 0 to 255, as float64."""
    scaled: Array = np.clip(np.rint((image.astype(np.float64) - low) * (255 / (high - low))), 0, 255)
    return scaled
