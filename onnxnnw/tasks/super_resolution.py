"""Super-resolution on DIV2K: PSNR and SSIM of enlarged images [NNW-TEC 6.1]."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import MissingData, UnreadableData
from onnxnnw.images import ImageCache, find, image_files, one_down, psnr_db
from onnxnnw.tasks.base import Metric, Samples, Task, image_metrics

__all__ = ["Pairs", "SuperResolution", "bicubic", "luminance"]

Array = NDArray[Any]


@dataclass(frozen=True)
class SuperResolution(Task):
    """DIV2K's high-resolution images with their bicubic low-resolution ones, which are made where they are absent.

    Args:
        scale: High over low resolution.
        crop: Side of a training patch in low resolution [I: notes].
    """

    scale: int = 2
    crop: int = 32

    name: ClassVar[str] = "super-resolution"
    source: ClassVar[str] = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
    training_split: ClassVar[str] = "DIV2K_train"
    testing_split: ClassVar[str] = "DIV2K_valid"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (*image_metrics(0, 1), _shaved_luminance(self.scale))

    def samples(self, directory: Path, split: str) -> Samples:
        """``<split>_HR/*.png`` with ``<split>_LR_bicubic/X2/*x2.png``; other sets in this layout (Set5) work too."""
        layouts = [f"{split}_HR", *one_down(directory, f"{split}_HR")]
        high = find(directory, layouts, f"DIV2K ({split})", self.source)
        low = high.with_name(f"{split}_LR_bicubic") / f"X{self.scale}"
        files = image_files(high)
        if not files:
            raise MissingData(f"{high} has no images; get them from {self.source}")
        return Pairs([(path, low / f"{path.stem}x{self.scale}.png") for path in files], self.scale, self.crop)


@dataclass
class Pairs(Samples):
    """High- and low-resolution images; whole ones to measure on, random patches to train on."""

    files: list[tuple[Path, Path]]
    scale: int
    crop: int
    cache: ImageCache = field(default_factory=ImageCache)
    made: dict[Path, Array] = field(default_factory=dict)

    uniform = False

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, indices: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
        pairs = [self._pair(*self.files[index]) for index in indices]
        if rng is not None:
            pairs = [self._patch(low, high, rng) for low, high in pairs]
        low, high = (np.stack(images).transpose(0, 3, 1, 2) for images in zip(*pairs, strict=True))
        return low.astype(np.float32) / 255, high.astype(np.float32) / 255

    def _pair(self, high_file: Path, low_file: Path) -> tuple[Array, Array]:
        """Low- and high-resolution image of one size, (H, W, 3) and (scale·H, scale·W, 3)."""
        high = self.cache.open(high_file)
        height, width = high.shape[0] // self.scale, high.shape[1] // self.scale
        high = high[: height * self.scale, : width * self.scale]
        if low_file.is_file():
            low = self.cache.open(low_file)
            if low.shape[:2] != (height, width):
                raise UnreadableData(f"{low_file} is {low.shape[1]}×{low.shape[0]}, not {width}×{height}")
        else:
            if low_file not in self.made:
                self.made[low_file] = bicubic(high, (height, width))
            low = self.made[low_file]
        return low, high

    def _patch(self, low: Array, high: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        side, scale = self.crop, self.scale
        if min(low.shape[:2]) < side:
            raise UnreadableData(f"an image of {low.shape[1]}×{low.shape[0]} is too small for patches of {side}×{side}")
        top = int(rng.integers(low.shape[0] - side + 1))
        left = int(rng.integers(low.shape[1] - side + 1))
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        low = low[top : top + side, left : left + side]
        high = high[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        low, high = np.rot90(low, turns), np.rot90(high, turns)
        return (low[:, ::-1], high[:, ::-1]) if mirrored else (low, high)


def bicubic(image: Array, size: tuple[int, int]) -> Array:
    """An image of another size, by the antialiased bicubic filter of Pillow.

    Args:
        image: (H, W, 3), uint8.
        size: Height and width wanted.
    """
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def luminance(image: Array) -> Array:
    """Y of ITU-R BT.601 in studio range, from (3, H, W) with values of 0 to 255, as super-resolution papers use it."""
    red, green, blue = image.astype(np.float64)
    shade: Array = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    return shade


def _shaved_luminance(border: int) -> Metric:
    """PSNR of the luminance without the border that a network cannot know, the figure that papers print."""

    def statistics(outputs: Array, targets: Array) -> Array:
        if outputs.shape != targets.shape or outputs.ndim != 4 or outputs.shape[1] != 3:
            raise UnreadableData(f"psnr-y wants (N, 3, H, W) twice, not {outputs.shape} and {targets.shape}")
        inner = slice(border, -border)
        values = []
        for output, target in zip(outputs, targets, strict=True):
            one, two = (luminance(np.clip(np.rint(image * 255.0), 0, 255)) for image in (output, target))
            values.append(psnr_db(one[inner, inner], two[inner, inner]))
        return np.array([sum(values), len(values)])

    return Metric("psnr-y", "dB", statistics, lambda sums: float(sums[0] / sums[1]))
