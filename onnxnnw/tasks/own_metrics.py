"""Metrics by name for any network: for classes, numbers and images, or a user's own function."""

import importlib
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxnnw.errors import UnknownName, UnreadableData, UsageError
from onnxnnw.tasks.base import Array, Metric, find_metric, image_metrics

__all__ = ["OwnMetric", "find_own_metric", "labels_of", "own_metric_names"]

Function = Callable[[Array, Array], float]

_TOP = re.compile(r"top([1-9][0-9]{0,3})")
_LABELLED = ("classification-error", "f1", "miou", "pixel-accuracy")


@dataclass(frozen=True)
class OwnMetric:
    """A metric with what it wants.

    Attributes:
        name: As the user wrote it.
        metric: From sums over batches; None where ``function`` wants everything at once.
        function: Outputs and targets of all samples -> a number.
        labelled: Targets are numbers of classes, not what the network answers.
    """

    name: str
    metric: Metric | None
    function: Function | None = None
    labelled: bool = False


def own_metric_names() -> list[str]:
    """What `find_own_metric` knows, apart from functions."""
    return ["topK", *_LABELLED, *_NUMBERS, "psnr", "ssim", "ssim-windowed"]


def find_own_metric(name: str, low: float = 0.0, high: float = 1.0) -> OwnMetric:
    """The metric of this name.

    Args:
        name: One of `own_metric_names`, K being how many classes count as an answer; or ``module:function``, a function of
            outputs and targets (all samples, N first) that returns a number. Its module is looked for in the current
            folder too, and is code that runs: never name what you did not read.
        low, high: What stands for black and white, for metrics of images.

    Raises:
        UnknownName: There is no such metric, module or function.
    """
    if ":" in name:
        return OwnMetric(name, None, _function(name))
    top = _TOP.fullmatch(name)
    if top:
        return OwnMetric(name, _top(int(top[1])), labelled=True)
    if name == "f1":
        return OwnMetric(name, Metric(name, "%", _f1_sums, _f1), labelled=True)
    if name in _NUMBERS:
        unit, statistics, value = _NUMBERS[name]
        return OwnMetric(name, Metric(name, unit, statistics, value))
    images = {metric.name: metric for metric in image_metrics(low, high)}
    if name in images:
        return OwnMetric(name, images[name])
    if name in _LABELLED:
        return OwnMetric(name, find_metric(name), labelled=True)
    raise UnknownName("metric", name, [*own_metric_names(), "module:function"])


def labels_of(outputs: Array) -> Array:
    """What a network's scores answer: the classes lie along the second axis of images, else along the last."""
    if outputs.ndim < 2 or outputs.shape[-1] == 1:
        return ((outputs if outputs.ndim < 2 else outputs[..., 0]) >= 0.5).astype(np.int64)
    labels: Array = outputs.argmax(1 if outputs.ndim == 4 else -1)
    return labels


# --- classes


def _scores(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """(…, classes) and (…) as two and one axes, wherever the classes lie."""
    if outputs.shape[:-1] == labels.shape and outputs.shape[-1] > 1:
        scores = outputs
    elif outputs.ndim > 2 and outputs.shape[:1] + outputs.shape[2:] == labels.shape:
        scores = np.moveaxis(outputs, 1, -1)
    elif outputs.size == labels.size:  # one score of a yes
        yes = outputs.reshape(labels.shape).astype(np.float64)
        scores = np.stack([1 - yes, yes], -1)
    else:
        raise UnreadableData(f"scores (…, classes) and labels (…) are wanted, not {outputs.shape} and {labels.shape}")
    scores, labels = scores.reshape(-1, scores.shape[-1]), labels.reshape(-1)
    if not np.issubdtype(labels.dtype, np.integer) and not np.array_equal(labels, np.rint(labels)):
        raise UnreadableData("labels are whole numbers of classes; these targets are not")
    labels = labels.astype(np.int64)
    known = labels >= 0  # negative ones are left out, as -100 is in segmentation
    scores, labels = scores[known], labels[known]
    if len(labels) and labels.max() >= scores.shape[-1]:
        raise UnreadableData(f"labels go up to {labels.max()}, but the network has {scores.shape[-1]} classes")
    return scores, labels


def _top(k: int) -> Metric:
    def statistics(outputs: Array, targets: Array) -> Array:
        scores, labels = _scores(outputs, targets)
        own = np.take_along_axis(scores, labels[:, None], 1)
        before = np.count_nonzero(~(scores <= own), axis=1)  # what is no number stands before all, and is never right
        ties = np.count_nonzero((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]), axis=1)
        return np.array([np.count_nonzero(before + ties < k), len(labels)])

    return Metric(f"top{k}", "%", statistics, lambda sums: 100.0 * float(sums[0] / max(1, sums[1])))


def _f1_sums(outputs: Array, targets: Array) -> Array:
    """(3, classes): hits, answers and truths of each class."""
    scores, labels = _scores(outputs, targets)
    answers, classes = scores.argmax(1), scores.shape[1]
    numbers = ~np.isnan(scores).any(1)  # what is no number answers nothing
    hits = answers[(answers == labels) & numbers]
    return np.stack([np.bincount(which, minlength=classes) for which in (hits, answers[numbers], labels)])


def _f1(sums: Array) -> float:
    """Mean over the classes that occur or are answered; of a yes-or-no network, that of the yes."""
    hits, answers, truths = sums[:, 1:] if sums.shape[1] == 2 else sums
    there = answers + truths > 0
    return 100.0 * float(np.mean(2 * hits[there] / (answers + truths)[there])) if there.any() else 0.0


# --- numbers


def _both(outputs: Array, targets: Array) -> tuple[Array, Array]:
    if outputs.size != targets.size or len(outputs) != len(targets):
        raise UnreadableData(f"outputs and targets of one shape are wanted, not {outputs.shape} and {targets.shape}")
    return tuple(values.reshape(len(values), -1).astype(np.float64) for values in (outputs, targets))  # type: ignore[return-value]


def _squares(outputs: Array, targets: Array) -> Array:
    left, right = _both(outputs, targets)
    return np.array([np.square(left - right).sum(), left.size])


def _amounts(outputs: Array, targets: Array) -> Array:
    left, right = _both(outputs, targets)
    return np.array([np.abs(left - right).sum(), left.size])


def _cosines(outputs: Array, targets: Array) -> Array:
    left, right = _both(outputs, targets)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = np.divide((left * right).sum(1), lengths, out=np.zeros(len(left)), where=lengths > 0)
    return np.array([cosines.sum(), len(left)])


def _noises(outputs: Array, targets: Array) -> Array:
    left, right = _both(outputs, targets)
    return np.array([np.square(right).sum(), np.square(left - right).sum()])


def _mean(sums: Array) -> float:
    return float(sums[0] / max(1, sums[1]))


def _decibel(sums: Array) -> float:
    return 10 * math.log10(max(float(sums[0]), 1e-300) / max(float(sums[1]), 1e-300))


_NUMBERS: dict[str, tuple[str, Callable[[Array, Array], Array], Callable[[Array], float]]] = {
    "mse": ("", _squares, _mean),
    "rmse": ("", _squares, lambda sums: math.sqrt(_mean(sums))),
    "mae": ("", _amounts, _mean),
    "cosine": ("", _cosines, _mean),
    "snr": ("dB", _noises, _decibel),
}


# --- the user's own


def _function(name: str) -> Function:
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(f"metric {name}: {error}; module:function names a function that Python can import") from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise UsageError(f"metric {name} is no function")
    return found  # type: ignore[no-any-return]
