"""Semantic segmentation on Cityscapes: unweighted mean intersection over union [NNW-TEC 3 and 6.1]."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableData
from onnxnnw.images import CityscapesPair, ImageCache, cityscapes_pairs
from onnxnnw.tasks.base import Metric, Samples, Task

__all__ = ["CLASSES", "IGNORED", "MIOU", "PIXEL_ACCURACY", "Segmentation", "train_ids"]

Array = NDArray[Any]

CLASSES = 19
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' labelIds of train ids 0 to 18 [cityscapesScripts]."""
IGNORED = -100  # what torch's cross entropy leaves out by default
LAST_LABEL_ID = 33
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # ImageNet's, as torchvision's DeepLabV3 expects
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def train_ids(label_ids: Array, name: str = "the labels") -> Array:
    """Cityscapes' labelIds -> train ids 0 to 18, all others `IGNORED`.

    Raises:
        UnreadableData: A label is none of Cityscapes' (-1 to 33; a licence plate's -1 is stored as 255).
    """
    lookup = np.full(256, IGNORED, np.int64)
    lookup[list(LABEL_IDS)] = np.arange(CLASSES)
    strange = (label_ids > LAST_LABEL_ID) & (label_ids != 255) | (label_ids < 0)
    if strange.any():
        raise UnreadableData(
            f"{name} holds label {label_ids[strange][0]}; Cityscapes has labelIds 0 to {LAST_LABEL_ID}"
        )
    return lookup[label_ids.astype(np.int64)]


def _confusion(outputs: Array, targets: Array) -> Array:
    """(classes, classes): rows are the truth, columns the network's answer."""
    if outputs.ndim != 4 or targets.shape != (outputs.shape[0], *outputs.shape[2:]):
        raise UnreadableData(
            f"scores (N, classes, H, W) and labels (N, H, W) are wanted, not {outputs.shape} and {targets.shape}"
        )
    classes = outputs.shape[1]
    known = targets != IGNORED
    truth, answer = targets[known].astype(np.int64), outputs.argmax(1)[known]
    if len(truth) and not 0 <= truth.min() <= truth.max() < classes:
        raise UnreadableData(f"labels go from {truth.min()} to {truth.max()}, but the network has {classes} classes")
    return np.bincount(truth * classes + answer, minlength=classes**2).reshape(classes, classes)


def _miou(confusion: Array) -> float:
    """Classes that neither occur nor are answered have no intersection over union and are left out."""
    both = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1) - both
    return 100.0 * float(np.mean(both[either > 0] / either[either > 0])) if either.any() else 0.0


MIOU = Metric("miou", "%", _confusion, _miou)
PIXEL_ACCURACY = Metric(
    "pixel-accuracy", "%", _confusion, lambda sums: 100.0 * float(np.trace(sums) / max(1, sums.sum()))
)


@dataclass(frozen=True)
class Segmentation(Task):
    """Cityscapes' photographs with the labels of their pixels.

    Args:
        crop: Side of a training crop; smaller images are padded with ignored pixels.
        shrink: The smallest random scale of training images.
        enlarge: The largest.
    """

    crop: int = 512
    shrink: float = 0.5
    enlarge: float = 2.0

    name: ClassVar[str] = "segmentation"
    source: ClassVar[str] = "https://www.cityscapes-dataset.com (leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip)"
    mean = tuple(MEAN.tolist())
    deviation = tuple(DEVIATION.tolist())
    testing_split: ClassVar[str] = "val"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (MIOU, PIXEL_ACCURACY)

    @property
    def number_of_classes(self) -> int | None:
        return CLASSES

    def samples(self, directory: Path, split: str) -> Samples:
        return Scenes(cityscapes_pairs(directory, split, self.source), self)


@dataclass
class Scenes(Samples):
    """Street scenes; whole ones to measure on, random crops of random scale to train on."""

    pairs: list[CityscapesPair]
    task: Segmentation
    cache: ImageCache = field(default_factory=ImageCache)

    uniform = False  # Cityscapes' are of one size, but one of them fills enough memory

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, indices: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
        scenes = [self._scene(self.pairs[index]) for index in indices]
        if rng is not None:
            scenes = [self._crop(photo, labels, rng) for photo, labels in scenes]
        photos = np.stack([photo for photo, _ in scenes])
        scaled = (photos - 255 * MEAN) / (255 * DEVIATION)
        return scaled.transpose(0, 3, 1, 2), np.stack([labels for _, labels in scenes])  # (N, H, W, 3) -> (N, 3, H, W)

    def _scene(self, pair: CityscapesPair) -> tuple[Array, Array]:
        photo, labels = self.cache.open(pair.photo), self.cache.open(pair.labels, "L")
        if labels.shape != photo.shape[:2]:
            raise UnreadableData(
                f"{pair.labels} is {labels.shape[1]}×{labels.shape[0]}, "
                f"but its photograph is {photo.shape[1]}×{photo.shape[0]}"
            )
        return photo, train_ids(labels, str(pair.labels))

    def _crop(self, photo: Array, labels: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        side = self.task.crop
        scale = float(rng.uniform(self.task.shrink, self.task.enlarge))
        photo, labels = _resized(photo, labels, scale)
        missing = [max(0, side - size) for size in labels.shape]
        truth = np.full((labels.shape[0] + missing[0], labels.shape[1] + missing[1]), IGNORED, np.int64)
        wide = np.broadcast_to(np.rint(255 * MEAN).astype(np.uint8), (*truth.shape, 3)).copy()
        wide[: photo.shape[0], : photo.shape[1]], truth[: labels.shape[0], : labels.shape[1]] = photo, labels
        top, left = (int(rng.integers(size - side + 1)) for size in truth.shape)
        window = (slice(top, top + side), slice(left, left + side))
        photo, labels = wide[window], truth[window]
        return (photo[:, ::-1], labels[:, ::-1]) if rng.integers(2) else (photo, labels)


def _resized(photo: Array, labels: Array, scale: float) -> tuple[Array, Array]:
    from PIL import Image

    height, width = (max(1, round(size * scale)) for size in labels.shape)
    photo = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    nearest = Image.fromarray(labels.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST)
    return photo, np.asarray(nearest).astype(np.int64)
