"""Image classification on CIFAR-10: Top-1 accuracy and classification error [NNW-TEC 6.1]."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import MissingData, TraceabilityError, UnreadableData
from onnxnnw.files import open_regular
from onnxnnw.images import find, image_files, one_down, open_image
from onnxnnw.tasks.base import Metric, Samples, Task

__all__ = ["CLASSES", "CLASSIFICATION_ERROR", "TOP1", "Classification"]

Array = NDArray[Any]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)  # [R: notes]
DEVIATION = np.array([0.2023, 0.1994, 0.2010], np.float32)  # [R: notes]
SIDE = 32
MAX_BATCH = 2**28
"""Bytes of one file of the original distribution, which has 31 MB."""
PADDING = 4  # RandomCrop(32, padding 4) and a horizontal flip [R: notes]


def _hits(outputs: Array, targets: Array) -> Array:
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
        raise UnreadableData(
            f"class scores (N, classes) and labels (N) are wanted, not {outputs.shape} and {targets.shape}"
        )
    if len(targets) and not 0 <= targets.min() <= targets.max() < outputs.shape[1]:
        raise UnreadableData(
            f"labels go from {targets.min()} to {targets.max()}, but the network has {outputs.shape[1]} classes"
        )
    right = (outputs.argmax(1) == targets) & ~np.isnan(outputs).any(1)  # what is no number is no answer
    return np.array([np.count_nonzero(right), len(targets)])


TOP1 = Metric("top1", "%", _hits, lambda sums: 100.0 * float(sums[0] / sums[1]))
CLASSIFICATION_ERROR = Metric("classification-error", "%", _hits, lambda sums: 100.0 - 100.0 * float(sums[0] / sums[1]))


@dataclass(frozen=True)
class Classification(Task):
    """CIFAR-10, from ``cifar-10-batches-py`` or from folders of images named after the classes.

    Args:
        classes: Names of the class folders in the order of their labels; none means whatever folders there are.
    """

    classes: tuple[str, ...] = CLASSES

    name: ClassVar[str] = "classification"
    source: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html (CIFAR-10 python version)"
    mean = tuple(MEAN.tolist())
    deviation = tuple(DEVIATION.tolist())

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (TOP1, CLASSIFICATION_ERROR)

    @property
    def number_of_classes(self) -> int | None:
        return len(self.classes)

    def samples(self, directory: Path, split: str) -> Samples:
        batches = "cifar-10-batches-py"
        layouts = [batches, *one_down(directory, batches), split, *one_down(directory, split)]
        place = find(directory, layouts, f"CIFAR-10 ({split})", self.source)
        pixels, labels = _from_batches(place, split) if place.name == batches else _from_folders(place, self.classes)
        return Images(pixels, labels)


class Images(Samples):
    """Square RGB images in memory, normalised on the way out.

    Args:
        pixels: (N, 32, 32, 3), uint8.
        labels: (N,), integers.
    """

    def __init__(self, pixels: Array, labels: Array) -> None:
        self.pixels, self.labels = pixels, labels
        wide = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
        self._padded = np.pad(pixels, wide)
        # every crop of every image as a view: (N, 9, 9, 3, 32, 32)
        self._crops = np.lib.stride_tricks.sliding_window_view(self._padded, (SIDE, SIDE), (1, 2))

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
        if rng is None:
            images = self.pixels[indices]
        else:
            down, right = rng.integers(0, 2 * PADDING + 1, (2, len(indices)))
            images = self._crops[indices, down, right].transpose(0, 2, 3, 1)  # (N, 3, 32, 32) -> (N, 32, 32, 3)
            images = np.where(rng.random(len(indices))[:, None, None, None] < 0.5, images[:, :, ::-1], images)
        scaled = (images - 255 * MEAN) / (255 * DEVIATION)
        return scaled.transpose(0, 3, 1, 2), self.labels[
            indices
        ]  # (N, 32, 32, 3) -> (N, 3, 32, 32), still channels last


def _from_folders(folder: Path, classes: tuple[str, ...]) -> tuple[Array, Array]:
    """`folder`/<class>/*.jpg."""
    classes = classes or tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    missing = [name for name in classes if not (folder / name).is_dir()]
    if missing or not classes:
        raise MissingData(f"{folder} lacks the class folders {', '.join(missing) or 'altogether'}")
    pixels, labels = [], []
    for label, name in enumerate(classes):
        for path in image_files(folder / name):
            image = open_image(path)
            if image.shape != (SIDE, SIDE, 3):
                raise UnreadableData(f"{path} is {image.shape[1]}×{image.shape[0]}, not {SIDE}×{SIDE}")
            pixels.append(image)
            labels.append(label)
    if not pixels:
        raise MissingData(f"{folder} has class folders but no images in them")
    return np.stack(pixels), np.array(labels, np.int64)


def _from_batches(folder: Path, split: str) -> tuple[Array, Array]:
    """The pickled batches of the original distribution, read without running what a pickle may ask for."""
    names = ["test_batch"] if split == "test" else [f"data_batch_{number}" for number in range(1, 6)]
    pixels, labels = [], []
    for name in names:
        path = folder / name
        if not path.exists():
            raise MissingData(f"{path} is missing")
        try:
            with open_regular(path, UnreadableData, MAX_BATCH) as file:
                content = _PlainUnpickler(file, encoding="bytes").load()
            data, classes = np.asarray(content[b"data"]), np.asarray(content[b"labels"], np.int64)
        except TraceabilityError:
            raise
        except Exception as error:  # a damaged pickle raises almost anything
            raise UnreadableData(f"{path} is not a batch of CIFAR-10: {error}") from error
        if data.dtype != np.uint8 or data.shape != (len(classes), 3 * SIDE * SIDE):
            raise UnreadableData(
                f"{path} holds {data.dtype} {data.shape}, not uint8 ({len(classes)}, {3 * SIDE * SIDE})"
            )
        if len(classes) and not 0 <= classes.min() <= classes.max() < len(CLASSES):
            raise UnreadableData(
                f"{path} has labels from {classes.min()} to {classes.max()}, not 0 to {len(CLASSES) - 1}"
            )
        pixels.append(data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))  # (N, 3072) -> (N, 32, 32, 3)
        labels.append(classes)
    return np.ascontiguousarray(np.concatenate(pixels)), np.concatenate(labels)


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles arrays and containers only: a data set is input, and a pickle can name any function to call."""

    allowed: ClassVar[frozenset[tuple[str, str]]] = frozenset(
        {
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if module == "numpy.core.multiarray":  # its name before NumPy 2
            module = "numpy._core.multiarray"
        return super().find_class(module, name)
