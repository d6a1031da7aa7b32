"""Image files and image quality: layouts of public data sets, opening with limits, PSNR and SSIM."""

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import MissingData, UnreadableData
from onnxnnw.files import open_regular
from onnxnnw.standard.grids import SSIM_C1, SSIM_C2

__all__ = [
    "CityscapesPair",
    "ImageCache",
    "cityscapes_pairs",
    "find",
    "image_files",
    "is_grey",
    "one_down",
    "open_image",
    "psnr_db",
    "ssim_global",
    "ssim_windowed",
]

Array = NDArray[Any]

MAX_PIXELS = 64 * 2**20
MAX_FILE = 2**30
"""Bytes of an image file: 64 megapixels need no more, however they are stored."""
"""Larger images are refused: a few hundred bytes of PNG can claim to be gigabytes of pixels."""


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
    with _opened(path) as image:
        if mode == "L" and image.mode in ("P", "1", "I", "I;16"):
            return np.asarray(image).astype(np.int64)  # label numbers, not grey values
        return np.asarray(image.convert(mode))


def is_grey(path: Path) -> bool:
    """Whether an image file holds one number a pixel: grey values, or labels.

    Raises:
        UnreadableData: See ``open_image``.
    """
    with _opened(path) as image:
        return image.mode in ("L", "P", "1", "I", "I;16")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Pillow's image of a regular file of bounded size."""
    from PIL import Image

    if not path.exists():
        raise UnreadableData(f"{path} is missing")
    with open_regular(path, UnreadableData, MAX_FILE) as file:
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(file) as image:  # of images that are refused here
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width}×{image.height}"
                    raise UnreadableData(f"{path} is {size}; images above 64 megapixels are refused")
                yield image
        except UnreadableData:
            raise
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error … for damaged files
            words = str(error).replace(repr(file), "it")
            raise UnreadableData(f"{path} is not a readable image: {words}") from error


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


@dataclass(frozen=True)
class CityscapesPair:
    """A photograph and the labels of its pixels, as Cityscapes numbers them."""

    photo: Path
    labels: Path


def cityscapes_pairs(directory: Path, split: str, source: str) -> list[CityscapesPair]:
    """``leftImg8bit/<split>/<city>/*_leftImg8bit.png`` with ``gtFine/<split>/<city>/*_gtFine_labelIds.png``.

    Raises:
        MissingData: The layout is not there, or a photograph has no labels.
    """
    photos = find(
        directory, [f"leftImg8bit/{split}", *one_down(directory, f"leftImg8bit/{split}")], "Cityscapes", source
    )
    truth = photos.parent.parent / "gtFine" / split
    pairs = []
    for photo in sorted(photos.glob("*/*_leftImg8bit.png")):
        labels = truth / photo.parent.name / photo.name.replace("_leftImg8bit", "_gtFine_labelIds")
        if not labels.is_file():
            raise MissingData(f"{photo} has no labels: {labels} is missing; get gtFine_trainvaltest.zip from {source}")
        pairs.append(CityscapesPair(photo, labels))
    if not pairs:
        raise MissingData(f"{photos} has no */*_leftImg8bit.png; get it from {source}")
    return pairs


def one_down(directory: Path, layout: str) -> list[str]:
    """The layout inside the folders of a directory: archives unpack into a folder of their own name."""
    if not directory.is_dir():
        return []
    return sorted(f"{child.name}/{layout}" for child in directory.iterdir() if (child / layout).is_dir())


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
