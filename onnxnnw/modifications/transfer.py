"""Transfer learning: a new head for other classes, trained together with the old weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from onnxnnw.modifications.base import Modification, between, parameter
from onnxnnw.network_file.file import Network
from onnxnnw.recipes import ConstantRate, Recipe, Sgd, find_precision
from onnxnnw.training.networks import find_network

__all__ = ["Transfer"]


@dataclass(frozen=True)
class Transfer(Modification):
    """Exchange the classifier's last layer and train all layers on other classes; the graph is exported anew.

    The data lies in folders named after the classes: ``DIR/train/<class>/*.png``, 32×32.
    """

    name: ClassVar[str] = "transfer"
    network: str = parameter("name of the reference network, e.g. resnet8")
    data: str = parameter("directory with train/<class>/*.png of the new classes")
    epochs: int = parameter("number of epochs", 1)
    size: str = parameter("size of the reference network", "reference")
    rate: float = parameter("learning rate", 0.01)
    threads: int = parameter("threads of torch; 0 leaves its own choice", 0)
    precision: str = parameter("float32 or bfloat16; the processor's own by default", "")

    def __post_init__(self) -> None:
        find_precision(self.precision)
        between("the number of epochs", self.epochs, 0, 10_000)
        between("the learning rate", self.rate, 1e-9, 10)

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        architecture = find_network(self.network, self.size)

        from torch import manual_seed
        from torch.random import fork_rng

        from onnxnnw.exporters.base import export
        from onnxnnw.tasks.classification import Classification
        from onnxnnw.training.loop import Trainer

        module = architecture.load(network.path)
        samples = Classification(classes=()).training(Path(self.data))
        labels = samples.batch(np.arange(len(samples)))[1]
        with fork_rng(devices=[]):
            manual_seed(int(rng.integers(2**31)))
            module = architecture.with_new_head(module, int(labels.max()) + 1)
        recipe = Recipe(
            self.epochs, architecture.recipe().batch, Sgd(self.rate, 0.9, 5e-4, nesterov=False), ConstantRate()
        )
        trainer = Trainer(
            recipe,
            architecture.loss,
            seed=int(rng.integers(2**31)),
            threads=self.threads or None,
            precision=find_precision(self.precision),
        )
        export(architecture, trainer(module, samples).module, out)
