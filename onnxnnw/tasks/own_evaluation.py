"""A user's own network on own samples: any number of inputs, any batch, with targets or beside another network."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxnnw.array_files import load_arrays
from onnxnnw.errors import MissingData, UnreadableData, UsageError
from onnxnnw.runtime import Port, Runtime
from onnxnnw.tasks.base import Array, Measurement
from onnxnnw.tasks.own_metrics import OwnMetric, labels_of
from onnxnnw.tasks.own_samples import own_samples

__all__ = ["OwnData", "evaluate_own", "own_data"]

TARGETS, INPUTS = "targets", "inputs"
BATCH_BYTES = 16 * 2**20
MAX_BATCH = 64
MAX_KEPT = 2**30
"""Bytes of answers that are kept for functions of all samples."""


@dataclass(frozen=True)
class OwnData:
    """Samples in memory.

    Attributes:
        inputs: Name -> array; the name ``inputs`` stands for the only input, whatever its name is.
        targets: N first; None where outputs are to be held against another network's.
    """

    inputs: Mapping[str, Array]
    targets: Array | None


def own_data(path: Path) -> OwnData:
    """Samples for a network with any number of inputs.

    Args:
        path: An ``.npz`` with an array for each input, by its name (``inputs`` where there is one), and ``targets`` if there
            are any; or a folder as `onnxnnw.tasks.own_samples.own_samples` reads it.

    Raises:
        MissingData: There is no such file or folder, or it holds no inputs.
        UnreadableData: It is damaged, or its parts do not fit together.
    """
    if path.is_dir():
        samples = own_samples(path)
        if not samples.uniform:
            raise UnreadableData(f"{path}: all samples have to have one shape here")
        found, targets = samples.batch(np.arange(len(samples)))
        return OwnData({INPUTS: found}, targets)
    if not path.exists():
        raise MissingData(f"there is neither a file nor a folder {path}")
    arrays = load_arrays(path)
    inputs = {name: array for name, array in arrays.items() if name != TARGETS}
    if not inputs:
        raise MissingData(f"{path} holds no inputs; it wants an array for each input of the network, by its name")
    return OwnData(inputs, arrays.get(TARGETS))


@dataclass(frozen=True)
class _Feed:
    """How samples go into a network: ``whole`` inputs are the same for all, ``apart`` ones have no axis for a batch."""

    count: int
    size: int
    whole: Mapping[str, Array]
    sliced: Mapping[str, Array]
    apart: Mapping[str, Array]
    targets: Array | None

    def batch(self, start: int) -> dict[str, Array]:
        end = min(start + self.size, self.count)
        pad = self.size - (end - start)
        parts = {name: array[start:end] for name, array in self.sliced.items()}
        if pad:
            parts = {name: np.concatenate([part, np.repeat(part[-1:], pad, 0)]) for name, part in parts.items()}
        return {**self.whole, **parts, **{name: array[start] for name, array in self.apart.items()}}


def _feed(runtime: Runtime, data: OwnData, most: int | None) -> _Feed:
    ports = {port.name: port for port in runtime.inputs}
    given = dict(data.inputs)
    if len(ports) == 1 and set(given) == {INPUTS}:
        given = {next(iter(ports)): given[INPUTS]}
    if set(given) != set(ports):
        raise UsageError(
            f"the network wants the inputs {', '.join(sorted(ports))}; the samples hold {', '.join(sorted(given))}"
        )
    lengths = [
        len(array) for name, array in given.items() if array.ndim and array.ndim >= max(1, len(ports[name].shape))
    ]
    count = len(data.targets) if data.targets is not None and data.targets.ndim else max(lengths, default=0)
    if not count:
        raise UnreadableData("there are no samples: the first axis of inputs counts them")
    chosen = slice(None) if most is None or most >= count else np.arange(most) * count // most
    whole, sliced, apart = {}, {}, {}
    for name, array in given.items():
        rank, values = len(ports[name].shape), array.astype(ports[name].dtype, copy=False)
        if array.ndim == rank + 1 and len(array) == count:
            apart[name] = values[chosen]
        elif (array.ndim == rank or (not rank and array.ndim > 1)) and array.ndim and len(array) == count:
            sliced[name] = values[chosen]
        elif array.ndim == rank:
            whole[name] = values
        else:
            raise UnreadableData(
                f"input {name} wants {rank} axes, or one more where it has none for a batch; its samples have {array.ndim}, "
                f"and there are {count}"
            )
    fixed = {size for name in sliced for size in ports[name].shape[:1]} - {None}
    size = 1 if apart else _batch(fixed, [ports[name] for name in sliced], sliced)
    targets = None if data.targets is None else data.targets[chosen]
    return _Feed(count if most is None else min(most, count), size, whole, sliced, apart, targets)


def _batch(fixed: set[int | None], ports: Sequence[Port], arrays: Mapping[str, Array]) -> int:
    if len(fixed) > 1:
        raise UsageError(f"inputs {', '.join(port.name for port in ports)} want batches of different sizes")
    if fixed:
        return next(iter(fixed)) or 1
    one = sum(array[:1].nbytes for array in arrays.values())
    return max(1, min(MAX_BATCH, BATCH_BYTES // max(1, one)))


def evaluate_own(
    runtime: Runtime,
    data: OwnData,
    metrics: Sequence[OwnMetric],
    output: str = "",
    reference: Runtime | None = None,
    most: int | None = None,
) -> Measurement:
    """Metrics of one output on all samples.

    Args:
        output: Its name; the first one by default.
        reference: Whose answers are the targets where the samples bring none.
        most: At most so many samples, evenly spread; None takes all.

    Raises:
        UsageError: The network has no such output, or does not take these inputs.
        UnreadableData: Answers and targets do not fit together.
    """
    feed = _feed(runtime, data, most)
    names = [port.name for port in runtime.outputs]
    name = output or names[0]
    if name not in names:
        raise UsageError(f"the network has no output {name}; it has {', '.join(names)}")
    if data.targets is None and reference is None:
        raise MissingData("the samples bring no targets, and there is no network whose answers could stand for them")
    sums: dict[str, Array] = {}
    kept: list[tuple[Array, Array]] = []
    seconds, room = 0.0, MAX_KEPT
    for start in range(0, feed.count, feed.size):
        inputs = feed.batch(start)
        begin = time.perf_counter()
        answer = runtime.run(inputs)[name]
        seconds += time.perf_counter() - begin
        real = min(feed.size, feed.count - start)
        answer = _by_sample(answer, feed, real)
        wanted = feed.targets[start : start + real] if feed.targets is not None else None
        beside = None if wanted is not None else _by_sample(reference.run(inputs)[name], feed, real)  # type: ignore[union-attr]
        for metric in metrics:
            truth = wanted if wanted is not None else labels_of(beside) if metric.labelled else beside  # type: ignore[arg-type]
            assert truth is not None
            if metric.metric is not None:
                added = np.asarray(metric.metric.statistics(answer, truth), np.float64)
                sums[metric.name] = sums.get(metric.name, np.zeros_like(added)) + added
        if any(metric.function for metric in metrics):
            truth = wanted if wanted is not None else beside
            assert truth is not None
            room -= answer.nbytes + truth.nbytes
            if room < 0:
                raise UnreadableData(f"answers of more than {MAX_KEPT >> 30} GiB are not kept; give fewer samples")
            kept.append((answer, truth))
    values = {}
    for metric in metrics:
        if metric.metric is not None:
            values[metric.name] = metric.metric.value(sums[metric.name])
        else:
            values[metric.name] = _called(metric, kept)
    return Measurement(values, feed.count, seconds)


def _by_sample(answer: Array, feed: _Feed, real: int) -> Array:
    """Answers, one sample along the first axis; an answer to one sample may have no axis for it."""
    answer = np.asarray(answer)
    if answer.shape[:1] == (feed.size,):
        return answer[:real]
    if feed.size == 1:
        return answer[None]
    raise UnreadableData(
        f"an output {answer.shape} has no axis for {feed.size} samples at once; give another with output = …"
    )


def _called(metric: OwnMetric, kept: Sequence[tuple[Array, Array]]) -> float:
    assert metric.function is not None
    outputs, targets = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    try:
        return float(metric.function(outputs, targets))
    except Exception as error:  # whatever a function of the user's raises
        raise UsageError(f"metric {metric.name} failed: {type(error).__name__}: {error}") from error
