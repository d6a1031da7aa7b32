"""Fine-tuning: resume training for E epochs on the original data [NNW-TEC 7.2.6]."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from onnxnnw.modifications.base import Modification, between, parameter
from onnxnnw.network_file.file import Network
from onnxnnw.recipes import find_precision, resumed
from onnxnnw.training.networks import find_network

__all__ = ["FineTuning"]


@dataclass(frozen=True)
class FineTuning(Modification):
    """Train a reference network on, without any mark's triggers or penalties; how: see ``recipes.resumed``."""

    name: ClassVar[str] = "fine-tuning"
    network: str = parameter("name of the reference network, e.g. resnet8")
    data: str = parameter("directory of the training data")
    epochs: int = parameter("E: number of epochs", 1)
    size: str = parameter("size of the reference network", "reference")
    rate: float = parameter("learning rate; 0 takes the usual one", 0.0)
    threads: int = parameter("threads of torch; 0 leaves its own choice", 0)
    precision: str = parameter("float32 or bfloat16; the processor's own by default", "")

    def __post_init__(self) -> None:
        find_precision(self.precision)
        between("the number of epochs E", self.epochs, 0, 10_000)
        if self.rate:
            between("the learning rate", self.rate, 1e-9, 10)

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        architecture = find_network(self.network, self.size)

        from onnxnnw.exporters.base import write_weights
        from onnxnnw.training.loop import Trainer

        recipe = resumed(architecture.recipe(), self.epochs, self.rate)
        module = architecture.load(network.path)
        samples = architecture.task().training(Path(self.data))
        trainer = Trainer(
            recipe,
            architecture.loss,
            seed=int(rng.integers(2**31)),
            threads=self.threads or None,
            precision=find_precision(self.precision),
        )
        write_weights(trainer(module, samples).module, network, out)
