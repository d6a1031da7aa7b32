"""A data set small enough to train on in a test."""

import pytest

from onnxnnw.tasks.classification import CLASSES
from tests.support.images import write_classes


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """320 training and 60 test images in CIFAR-10's classes."""
    directory = tmp_path_factory.mktemp("cifar10")
    write_classes(directory / "train", CLASSES, 32, seed=1)
    write_classes(directory / "test", CLASSES, 6, seed=2)
    return directory
