"""What every task has: samples in the layouts that public data sets use, and metrics on what a network answers.

A task is one file in this folder with one subclass of `Task`. Everything here is NumPy: training turns batches into
tensors, measuring sends them through onnxruntime, and neither knows what the pixels mean.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import MissingData, UnreadableData, UsageError

__all__ = [
    "Arrays",
    "ImageCache",
    "Measurement",
    "Metric",
    "Predictor",
    "Samples",
    "Task",
    "evaluate",
    "every_kth",
    "find",
    "image_files",
    "open_image",
    "psnr_db",
    "ssim_global",
    "ssim_windowed",
]

Array = NDArray[Any]

MAX_PIXELS = 64 * 2**20
"""Larger images are refused: a few hundred bytes of PNG can claim to be gigabytes of pixels."""

SSIM_C1, SSIM_C2 = 6.5025, 58.5225
"""Constants of SSIM for values of 0 to 255 [NNW-TEC 3, Table of terms]."""


class Predictor(Protocol):
    """Whatever answers a batch: an ONNX file through onnxruntime, or a module in training."""

    def __call__(self, inputs: Array) -> Array: ...


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
    metrics: tuple[Metric, ...]
    """The first is the one that is quoted."""

    @abstractmethod
    def training(self, directory: Path) -> Samples:
        """The training samples below a directory.

        Raises:
            MissingData: None of the layouts this task reads is there.
        """

    @abstractmethod
    def testing(self, directory: Path) -> Samples:
        """The test samples below a directory, with the same errors."""


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


# --- files ------------------------------------------------------------------------------------------------------------


def find(directory: Path, candidates: Iterable[Path | str], what: str, source: str) -> Path:
    """The first candidate below the directory that is there.

    Raises:
        MissingData: None is; the message lists the places and the source.
    """
    places = [directory / candidate for candidate in candidates]
    for place in places:
        if place.exists():
            return place
    listed = ", ".join(str(place) for place in places)
    raise MissingData(f"no {what} in {listed}; get it from {source}")


def image_files(folder: Path, suffixes: tuple[str, ...] = (".png", ".jpg", ".jpeg")) -> list[Path]:
    """The images directly inside a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def open_image(path: Path, mode: str = "RGB") -> Array:
    """Pixels of an image file, uint8, (H, W, 3) or (H, W).

    Raises:
        UnreadableData: Not an image, damaged, or larger than 64 megapixels.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableData(f"{path} is {image.width}×{image.height}; images above 64 megapixels are refused")
            if mode == "L" and image.mode in ("P", "1", "I", "I;16"):
                return np.asarray(image).astype(np.int64)  # label numbers, not grey values
            return np.asarray(image.convert(mode))
    except UnreadableData:
        raise
    except FileNotFoundError as error:
        raise UnreadableData(f"{path} is missing") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error … for damaged files
        raise UnreadableData(f"{path} is not a readable image: {error}") from error


@dataclass
class ImageCache:
    """Opened images, the most recently used first out last, within a bound of bytes."""

    limit: int = 2 * 2**30
    _held: "OrderedDict[tuple[Path, str], Array]" = field(default_factory=OrderedDict)
    _bytes: int = 0

    def open(self, path: Path, mode: str = "RGB") -> Array:
        """As `open_image`; the array must not be changed."""
        key = (path, mode)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        image = open_image(path, mode)
        self._held[key] = image
        self._bytes += image.nbytes
        while self._bytes > self.limit and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return image


# --- image quality ----------------------------------------------------------------------------------------------------


def psnr_db(image: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio of two images with values of 0 to 255 [NNW-TEC 3]; infinite for equal images.

    "The maximal value of the images" is read as the largest value the format holds, 255, as public figures do.
    """
    error = np.mean((image.astype(np.float64) - reference.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def ssim_global(image: Array, reference: Array) -> float:
    """Structural similarity by the standard's own formula: statistics of the whole image [NNW-TEC 3].

    Args:
        image: (H, W) or (C, H, W), values of 0 to 255; channels are averaged.
    """
    if image.ndim == 3:
        return float(np.mean([ssim_global(a, b) for a, b in zip(image, reference, strict=True)]))
    x, y = image.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_y = x.mean(), y.mean()
    covariance = np.mean((x - mean_x) * (y - mean_y))
    return float(
        (2 * mean_x * mean_y + SSIM_C1)
        * (2 * covariance + SSIM_C2)
        / ((mean_x**2 + mean_y**2 + SSIM_C1) * (x.var() + y.var() + SSIM_C2))
    )


def ssim_windowed(image: Array, reference: Array) -> float:
    """The usual SSIM with its 7×7 window, by scikit-image, beside the standard's global one."""
    from skimage.metrics import structural_similarity

    axis = 0 if image.ndim == 3 else None
    return float(structural_similarity(image, reference, data_range=255, channel_axis=axis))
