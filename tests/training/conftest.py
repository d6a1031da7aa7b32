"""A data set small enough to train on in a test: 32×32 images in class folders, as the public layout has them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxnnw.tasks.classification import CLASSES


def write_classes(folder: Path, classes, per_class: int, seed: int) -> None:
    """Images whose class shows in colour and stripes."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        hue = np.random.default_rng(label).uniform(60, 196, 3)
        for number in range(per_class):
            image = hue + rng.normal(0, 12, (32, 32, 3))
            image[:: 2 + label % 5] += 30
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / name / f"{number:03}.png")


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """320 training and 60 test images in CIFAR-10's classes."""
    directory = tmp_path_factory.mktemp("cifar10")
    write_classes(directory / "train", CLASSES, 32, seed=1)
    write_classes(directory / "test", CLASSES, 6, seed=2)
    return directory
