"""Small networks of one architecture, trained on the same data from other initial values: the hardest strangers there are."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxnnw.tasks.base import Samples

__all__ = ["retrained_head", "trained"]


def trained(seed: int, data: Path, out: Path, epochs: int = 1, threads: int = 1) -> Path:
    """A ResNet8 of size small after so many epochs of CIFAR-10, as an ONNX file; made once.

    Args:
        data: Directory with CIFAR-10 in one of the layouts that the task reads.
    """
    from onnxnnw.exporters.base import export
    from onnxnnw.training.loop import Trainer
    from onnxnnw.training.networks import find_network

    if not out.exists():
        architecture = find_network("resnet8", "small")
        recipe = replace(architecture.recipe(), epochs=epochs)
        trainer = Trainer(recipe, architecture.loss, seed=seed, threads=threads)
        export(architecture, trainer(architecture.build(seed), _samples(data)).module, out)
    return out


@cache
def _samples(data: Path) -> "Samples":
    """The training images, decoded once."""
    from onnxnnw.training.networks import find_network

    return find_network("resnet8", "small").task().training(data)


def retrained_head(source: Path, seed: int, out: Path) -> Path:
    """The same network with a head of its own, drawn anew, as transfer to other classes leaves it at first."""
    import torch

    from onnxnnw.exporters.base import export
    from onnxnnw.training.networks import find_network

    if not out.exists():
        architecture = find_network("resnet8", "small")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = architecture.with_new_head(architecture.load(source), 20)
        export(architecture, module, out)
    return out
