"""Image translation on Cityscapes: photographs from label maps, measured by PSNR and SSIM [NNW-TEC 6.1]."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableData
from onnxnnw.images import CityscapesPair, ImageCache, cityscapes_pairs
from onnxnnw.tasks.base import Metric, Samples, Task, image_metrics

__all__ = ["ImageTranslation", "LabelsToPhotos"]

Array = NDArray[Any]

# fmt: off
PALETTE = np.array([
    (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (111, 74, 0), (81, 0, 81), (128, 64, 128), (244, 35, 232),
    (250, 170, 160), (230, 150, 140), (70, 70, 70), (102, 102, 156), (190, 153, 153), (180, 165, 180), (150, 100, 100),
    (150, 120, 90), (153, 153, 153), (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 0, 90), (0, 0, 110),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
], np.uint8)
"""Cityscapes' colour of each labelId [cityscapesScripts]."""
# fmt: on
MARGIN = 286 / 256  # resize to 286, crop 256 [pix2pix]


@dataclass(frozen=True)
class ImageTranslation(Task):
    """Cityscapes' label maps, in its colours, as inputs and the photographs as targets; values of -1 to 1.

    Args:
        side: Height and width of the images the network reads.
    """

    side: int = 256

    name: ClassVar[str] = "image-translation"
    source: ClassVar[str] = "https://www.cityscapes-dataset.com (leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip)"
    mean = (0.5, 0.5, 0.5)
    deviation = (0.5, 0.5, 0.5)
    testing_split: ClassVar[str] = "val"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return image_metrics(-1, 1)

    def fitting(self, shape: Sequence[int | None]) -> "ImageTranslation":
        side = shape[-1] if len(shape) == 4 and shape[-1] == shape[-2] else None
        return self if side is None else replace(self, side=side)

    def samples(self, directory: Path, split: str) -> Samples:
        return LabelsToPhotos(cityscapes_pairs(directory, split, self.source), self.side)


@dataclass
class LabelsToPhotos(Samples):
    """Pairs at one size; to train on, enlarged by an eighth, cropped back and mirrored at random."""

    pairs: list[CityscapesPair]
    side: int
    cache: ImageCache = field(default_factory=ImageCache)

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, indices: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
        pairs = [self._pair(self.pairs[index], rng) for index in indices]
        labels, photos = (np.stack(images).transpose(0, 3, 1, 2) for images in zip(*pairs, strict=True))
        return labels.astype(np.float32) / 127.5 - 1, photos.astype(np.float32) / 127.5 - 1

    def _pair(self, pair: CityscapesPair, rng: np.random.Generator | None) -> tuple[Array, Array]:
        photo, labels = self.cache.open(pair.photo), self.cache.open(pair.labels, "L")
        if labels.shape != photo.shape[:2]:
            raise UnreadableData(
                f"{pair.labels} is {labels.shape[1]}×{labels.shape[0]}, "
                f"but its photograph is {photo.shape[1]}×{photo.shape[0]}"
            )
        labels = np.where(labels == 255, 0, labels)  # a licence plate's -1, stored in a byte
        if labels.min() < 0 or labels.max() >= len(PALETTE):
            raise UnreadableData(
                f"{pair.labels} holds label {labels.max()}; Cityscapes has labelIds 0 to {len(PALETTE) - 1}"
            )
        colours = PALETTE[labels]
        if rng is None:
            return _square(colours, self.side, smooth=False), _square(photo, self.side, smooth=True)
        wide = round(self.side * MARGIN)
        colours, photo = _square(colours, wide, smooth=False), _square(photo, wide, smooth=True)
        top, left = (int(rng.integers(wide - self.side + 1)) for _ in range(2))
        window = (slice(top, top + self.side), slice(left, left + self.side))
        colours, photo = colours[window], photo[window]
        return (colours[:, ::-1], photo[:, ::-1]) if rng.integers(2) else (colours, photo)


def _square(image: Array, side: int, *, smooth: bool) -> Array:
    """(H, W, 3) -> (side, side, 3); photographs smoothly, label colours without mixing them."""
    from PIL import Image

    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize((side, side), method))
