"""Images to train and test on that nobody has to download."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["write_classes"]


def write_classes(folder: Path, classes: Sequence[str], per_class: int, seed: int) -> None:
    """32×32 images in class folders, as CIFAR-10's public layout has them; the class shows in colour and stripes."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        hue = np.random.default_rng(label).uniform(60, 196, 3)
        for number in range(per_class):
            image = hue + rng.normal(0, 12, (32, 32, 3))
            image[:: 2 + label % 5] += 30
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / name / f"{number:03}.png")
