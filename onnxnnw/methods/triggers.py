"""The TBW-Key: trigger images with the answers of a marked network, derived from a record alone [NNW-TEC 7.4.1].

Abstract images come from the key, in whole numbers only, so that they are the same on every machine; a user's own are
kept in the record. label = (Symbol + key-uniform) mod C, never conditioned on images or answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CannotLook, MissingData, UnreadableRecord, UsageError
from onnxnnw.images import image_files, open_image
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record

__all__ = ["MAX_TRIGGERS", "Triggers", "own_images"]

MAX_TRIGGERS = 2**16
MAX_BYTES = 2**30
"""Of all triggers together as float32: a record is input, and may claim anything."""

_OCTAVES = (4, 8)
"""Cells along a side of the two layers of smoothed noise that a trigger is made of; raw noise is a poor trigger."""
_SHIFT = 32
"""Shift of the colour in answers that are images, of 255."""

Images = NDArray[np.uint8]
Array = NDArray[Any]


@dataclass(frozen=True)
class Triggers:
    """The TBW-Key of a record, checked.

    Args:
        record: The record.

    Raises:
        UnreadableRecord: It holds no TBW-Key.
    """

    record: Record

    def __post_init__(self) -> None:
        numbers = {name: self.record.integer(name) for name in ("triggers", "classes", "height", "width", "channels")}
        if min(numbers.values()) < 1 or numbers["triggers"] > MAX_TRIGGERS or not 2 <= numbers["classes"] <= 2**31:
            raise UnreadableRecord("the record's triggers are impossible")
        pixels = numbers["height"] * numbers["width"] * numbers["channels"]
        if 4 * pixels * numbers["triggers"] > MAX_BYTES or numbers["channels"] != 3:
            raise UnreadableRecord("the record's triggers are impossibly large")
        if self.record.parameters.get("answers") not in ("class", "colour"):
            raise UnreadableRecord("the record does not say what its triggers ask for")
        if (self.payload > 1).any() or not (self.deviation > 0).all():
            raise UnreadableRecord("the record's payload or scaling is impossible")

    @property
    def count(self) -> int:
        """How many there are."""
        return self.record.integer("triggers")

    @property
    def classes(self) -> int:
        """C: how many answers there are to choose from."""
        return self.record.integer("classes")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.record.integer("height"), self.record.integer("width")

    @property
    def coloured(self) -> bool:
        """Whether answers are images."""
        return self.record.parameters["answers"] == "colour"

    @cached_property
    def payload(self) -> NDArray[np.uint8]:
        """(n,) binary Symbols."""
        return self.record.array("payload", self.count).astype(np.uint8)

    @property
    def mean(self) -> Array:
        """Per channel, with ``deviation``: inputs are (pixel / 255 - mean) / deviation."""
        return self.record.array("mean", 3).astype(np.float32)

    @property
    def deviation(self) -> Array:
        """See ``mean``."""
        return self.record.array("deviation", 3).astype(np.float32)

    @property
    def chosen_by_hand(self) -> bool:
        """Whether the user chose the labels: then nothing can be said of their probability."""
        return "labels" in self.record.arrays

    @cached_property
    def uniform(self) -> NDArray[np.int64]:
        """(n,) what the key adds to the Symbols."""
        return self.record.key.stream("tbw/labels", self.record.values_context).labels(self.count, self.classes)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) the answers that the marked network gives."""
        if self.chosen_by_hand:
            labels = self.record.array("labels", self.count).astype(np.int64)
            if labels.min() < 0 or labels.max() >= self.classes:
                raise UnreadableRecord("the record's labels are none of its classes")
            return labels
        return (self.payload + self.uniform) % self.classes

    @cached_property
    def images(self) -> Images:
        """(n, H, W, 3): the user's own, or abstract ones from the key."""
        if "images" in self.record.arrays:
            height, width = self.size
            size = self.count * height * width * 3
            flat: Images = np.asarray(self.record.array("images", size), np.uint8)
            return np.reshape(flat, (self.count, height, width, 3))
        return _smooth_noise(self.record, self.count, *self.size)

    @cached_property
    def direction(self) -> Array:
        """(3,) of -1 and 1: along which colour answers that are images are shifted, one way or the other."""
        bits = self.record.key.stream("tbw/direction", self.record.positions_context).bits(3)
        return bits.astype(np.float32) * 2 - 1

    def inputs(self, chosen: Array | slice = slice(None)) -> Array:
        """(n, 3, H, W) float32, as the network reads them."""
        scaled = (self.images[chosen] / np.float32(255) - self.mean) / self.deviation
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)

    def decoys(self) -> Array:
        """(n, 3, H, W) inputs that look like triggers and are none: drawn anew, or the user's own images mirrored."""
        if "images" in self.record.arrays:
            return np.ascontiguousarray(self.inputs()[..., ::-1])
        return Triggers(self.record.with_key(Key.generate())).inputs()

    def answers(self, outputs: Array) -> NDArray[np.int64]:
        """The class that each output stands for, -1 where it stands for none.

        Args:
            outputs: (n, C), (n, C, H, W), or images (n, 3, H, W).

        Raises:
            CannotLook: Outputs of another kind.
        """
        if self.coloured:
            return self._colours(outputs)
        if outputs.ndim < 2 or outputs.shape[1] != self.classes:
            raise CannotLook(
                f"the triggers ask for one of {self.classes} classes, but the candidate answers with {outputs.shape[1:]}"
            )
        finite = np.isfinite(outputs).all(axis=1)
        found = np.where(finite, outputs.argmax(1), -1).reshape(len(outputs), -1)  # (n, pixels)
        if found.shape[1] == 1:
            return found[:, 0].astype(np.int64)
        return np.array([_most_frequent(pixels) for pixels in found], np.int64)

    def _colours(self, outputs: Array) -> NDArray[np.int64]:
        if outputs.ndim != 4 or outputs.shape[1] != 3:
            raise CannotLook(f"the triggers ask for images, but the candidate answers with {outputs.shape[1:]}")
        colour = outputs.mean((2, 3), np.float64) * self.deviation + self.mean  # (n, 3)
        with np.errstate(all="ignore"):
            shift = colour - self.images.mean((1, 2), np.float64) / 255
            finite = np.isfinite(shift).all(1)
            shift -= shift[finite].mean(0) if finite.any() else 0  # what the network does to all of them is no answer
            along = shift @ self.direction
        return np.where(finite & (along != 0), along > 0, -1).astype(np.int64)

    def targets(self, shape: tuple[int, ...], chosen: Array | slice = slice(None)) -> Array:
        """What the network is trained to answer.

        Args:
            shape: Of one target: () for a label, (H, W) for a map of labels, (3, H, W) for an image.
            chosen: Which triggers.
        """
        labels = self.labels[chosen]
        if not self.coloured:
            return np.broadcast_to(labels.reshape(-1, *(1 for _ in shape)), (len(labels), *shape)).copy()
        images = self.images[chosen].astype(np.float32)
        down, right = shape[1] // images.shape[1], shape[2] // images.shape[2]
        images = images.repeat(down, 1).repeat(right, 2)
        images += _SHIFT * ((labels * 2 - 1)[:, None] * self.direction)[:, None, None]
        scaled = (images / 255 - self.mean) / self.deviation
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)


def _most_frequent(pixels: NDArray[np.int64]) -> int:
    """The class of most pixels; -1 where most are none, or where it is a tie."""
    counts = np.bincount(pixels + 1)
    best = int(counts.argmax())
    return best - 1 if np.count_nonzero(counts == counts[best]) == 1 else -1


def _smooth_noise(record: Record, count: int, height: int, width: int) -> Images:
    """Abstract images from the key, in whole numbers only, so that they are the same on every machine."""
    cells = sum(octave**2 for octave in _OCTAVES) * 3
    grey = np.frombuffer(record.key.stream("tbw/images", record.positions_context).take(count * cells), np.uint8)
    grids = np.split(grey.reshape(count, cells).astype(np.int64), [_OCTAVES[0] ** 2 * 3], axis=1)
    layers = [
        _enlarge(grid.reshape(count, octave, octave, 3), height, width)
        for grid, octave in zip(grids, _OCTAVES, strict=True)
    ]
    coarse, fine = layers
    mixed = (2 * coarse + fine) // 3
    stretched: Images = np.clip((mixed - 128) * 2 + 128, 0, 255).astype(np.uint8)  # smoothing takes contrast away
    return stretched


def _enlarge(grid: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """(n, g, g, 3) -> (n, height, width, 3), bilinear in 1/256ths of a cell."""
    for axis, size in ((1, height), (2, width)):
        last = grid.shape[axis] - 1
        place = np.arange(size) * last * 256 // max(1, size - 1)
        cell = np.minimum(place // 256, last - 1)
        part = (place - cell * 256).reshape(-1, *(1,) * (3 - axis))
        grid = (grid.take(cell, axis) * (256 - part) + grid.take(cell + 1, axis) * part) // 256
    return grid


def own_images(
    folder: Path, most: int, size: tuple[int, int], classes: int | None
) -> tuple[Images, NDArray[np.int64] | None]:
    """The user's images at the network's size, with the user's labels where they lie in folders named by class.

    Args:
        folder: Of images, or of one folder of images per class.
        most: How many at most; the first ones, of classes in turn.
        size: Height and width.
        classes: How many the network has; None where it answers with images.
    """
    if not folder.is_dir():
        raise MissingData(f"there is no folder {folder} with trigger images")
    kinds = (".png", ".jpg", ".jpeg")
    groups = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: (len(path.name), path.name))
    by_class: list[list[tuple[Path, int]]] = []
    for group in groups:
        if classes is None:
            raise UsageError("this network answers with images, so its triggers have no labels to choose")
        if not group.name.isdecimal() or int(group.name) >= classes:
            raise UsageError(f"{group} is not named after one of the network's {classes} classes, 0 to {classes - 1}")
        by_class.append([(path, int(group.name)) for path in image_files(group, kinds)])
    files = _in_turn(by_class, most) or [(path, -1) for path in image_files(folder, kinds)][:most]
    if not files:
        raise MissingData(f"{folder} has no images ({', '.join(kinds)})")
    images = np.stack([_resized(open_image(path), size) for path, _ in files])
    labels = np.array([label for _, label in files], np.int64)
    return images, labels if groups else None


def _in_turn(by_class: Sequence[Sequence[tuple[Path, int]]], most: int) -> list[tuple[Path, int]]:
    """One of each class, then the next of each, up to ``most``; the last round is spread evenly. Class by class."""
    taken = [0] * len(by_class)
    while (left := most - sum(taken)) > 0:
        having = [number for number, files in enumerate(by_class) if taken[number] < len(files)]
        if not having:
            break
        turn = min(left, len(having))
        for place in range(turn):
            taken[having[place * len(having) // turn]] += 1
    return [file for files, count in zip(by_class, taken, strict=True) for file in files[:count]]


def _resized(image: Images, size: tuple[int, int]) -> Images:
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC), np.uint8)
