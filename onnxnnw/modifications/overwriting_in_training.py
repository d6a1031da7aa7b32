"""Watermark overwriting by training: more independent marks of the same size on top [NNW-TEC 3, 7.3.5, 7.4.5]."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from onnxnnw.modifications.base import Modification, between, parameter
from onnxnnw.network_file.file import Network
from onnxnnw.recipes import find_precision, resumed
from onnxnnw.records.key import SECRET_BYTES, Key
from onnxnnw.training.networks import find_network

__all__ = ["OverwritingInTraining"]


@dataclass(frozen=True)
class OverwritingInTraining(Modification):
    """Resume training while another key's mark is inserted, W times, by somebody who knows nothing of those already there.

    Each mark has its method's usual size and strength, and the layer that anybody would take. The graph is exported anew.
    """

    name: ClassVar[str] = "overwriting-in-training"
    method: str = parameter(
        "method of the further marks, which lives in training: rtw, tbw, ... (train --list-methods)"
    )
    network: str = parameter("name of the reference network, e.g. resnet8")
    data: str = parameter("directory of the training data")
    marks: int = parameter("W: number of further marks", 1)
    epochs: int = parameter("epochs per mark", 2)
    size: str = parameter("size of the reference network", "reference")
    rate: float = parameter("learning rate; 0 takes the usual one", 0.0)
    threads: int = parameter("threads of torch; 0 leaves its own choice", 0)
    precision: str = parameter("float32 or bfloat16; the processor's own by default", "")

    def __post_init__(self) -> None:
        find_precision(self.precision)
        between("the number of marks W", self.marks, 1, 1000)
        between("the number of epochs", self.epochs, 1, 10_000)
        if self.rate:
            between("the learning rate", self.rate, 1e-9, 10)

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        from onnxnnw.methods.discovery import find_insertion
        from onnxnnw.training.insertion import Training, train_marked

        insertion = find_insertion(self.method)()
        architecture = find_network(self.network, self.size)
        recipe, precision = resumed(architecture.recipe(), self.epochs, self.rate), find_precision(self.precision)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".overwriting-") as folder:
            current = network.file
            for number in range(self.marks):
                seed = int(rng.integers(2**31))
                training = Training(recipe, seed, current, self.threads or None, precision=precision)
                following, record = Path(folder) / f"{number}.onnx", Path(folder) / f"{number}.record"
                key = Key(rng.bytes(SECRET_BYTES))
                train_marked(architecture, Path(self.data), following, record, insertion, training, key=key)
                current = following
            current.replace(out)
