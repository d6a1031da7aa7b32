"""A user's own samples: arrays in a file, or files in a folder."""

from pathlib import Path

import numpy as np

from onnxnnw.array_files import load_array, load_arrays
from onnxnnw.errors import MissingData, UnreadableData
from onnxnnw.images import image_files, is_grey, open_image
from onnxnnw.tasks.base import Array, Arrays, Samples

__all__ = ["own_samples"]


def own_samples(path: Path) -> Samples:
    """Inputs and targets that a user brings.

    Args:
        path: An ``.npz`` with the arrays ``inputs`` and ``targets``, N first; or a folder with ``inputs/`` and
            ``targets/`` of equally named ``.npy`` arrays or images, one sample each. Images in colour become
            (3, H, W) from 0 to 1, images in grey become the (H, W) numbers they hold.

    Raises:
        MissingData: There is no such file or folder, or it lacks one of the two.
        UnreadableData: They do not fit together.
    """
    if path.is_dir():
        inputs, targets = ({file.stem: file for file in _own_files(path, kind)} for kind in ("inputs", "targets"))
        alone = sorted(set(inputs) ^ set(targets))
        if alone:
            raise UnreadableData(f"{path}: {alone[0]} is in one of inputs/ and targets/ but not in the other")
        return Arrays([_own(inputs[name]) for name in sorted(inputs)], [_own(targets[name]) for name in sorted(inputs)])
    if not path.exists():
        raise MissingData(f"there is neither a file nor a folder {path}")
    arrays = load_arrays(path, ("inputs", "targets"))
    if len(arrays) != 2:
        raise MissingData(f"{path} must hold the arrays inputs and targets; it holds {', '.join(arrays) or 'neither'}")
    alone = [name for name, array in arrays.items() if not array.ndim]
    if alone:
        raise UnreadableData(f"{path}: {alone[0]} is a single number; the first axis counts samples")
    return Arrays(arrays["inputs"], arrays["targets"])


def _own_files(path: Path, kind: str) -> list[Path]:
    if not (path / kind).is_dir():
        raise MissingData(f"{path} lacks the folder {kind}/")
    return image_files(path / kind, (".npy", ".png", ".jpg", ".jpeg"))


def _own(path: Path) -> Array:
    if path.suffix == ".npy":
        return load_array(path)
    if is_grey(path):
        return open_image(path, "L").astype(np.int64)
    return open_image(path).transpose(2, 0, 1).astype(np.float32) / 255  # (H, W, 3) -> (3, H, W)
