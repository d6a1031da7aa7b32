"""Knowledge distillation: a student learns the network's answers and gets none of its weights [M: notes]."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.modifications.base import Modification, between, parameter
from onnxnnw.network_file.file import Network
from onnxnnw.recipes import Sgd, find_precision
from onnxnnw.runtime import Runtime, open_runtime
from onnxnnw.tasks.base import Samples
from onnxnnw.training.networks import find_network

__all__ = ["Distillation"]


@dataclass(frozen=True)
class Distillation(Modification):
    """Train a fresh reference network on the answers of the given one, which may have any architecture.

    The loss is the cross entropy with the teacher's answers at the temperature, times its square [Hinton et al. 2015];
    image networks learn the teacher's images by their own loss.
    """

    name: ClassVar[str] = "distillation"
    network: str = parameter("name of the student's network, e.g. resnet8")
    data: str = parameter("directory of the training data")
    epochs: int = parameter("number of epochs", 10)
    size: str = parameter("size of the student", "reference")
    temperature: float = parameter("temperature that softens the teacher's answers", 4.0)
    threads: int = parameter("threads of torch; 0 leaves its own choice", 0)
    precision: str = parameter("float32 or bfloat16; the processor's own by default", "")

    def __post_init__(self) -> None:
        find_precision(self.precision)
        between("the number of epochs", self.epochs, 0, 10_000)
        between("the temperature", self.temperature, 0.01, 1000)

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        architecture = find_network(self.network, self.size)

        from dataclasses import replace

        import torch.nn.functional as F

        from onnxnnw.exporters.base import export
        from onnxnnw.training.loop import Trainer

        def softened(outputs: Any, answers: Any) -> Any:
            wanted = F.softmax(answers / self.temperature, 1)
            return F.cross_entropy(outputs / self.temperature, wanted) * self.temperature**2

        recipe = replace(architecture.recipe(), epochs=self.epochs, fidelity=1.0)
        loss = softened if isinstance(recipe.optimizer, Sgd) else architecture.loss
        samples = Taught(
            architecture.task().training(Path(self.data)), open_runtime(network.file, self.threads or None)
        )
        student = architecture.build(int(rng.integers(2**31)))
        trainer = Trainer(
            recipe,
            loss,
            seed=int(rng.integers(2**31)),
            threads=self.threads or None,
            precision=find_precision(self.precision),
        )
        export(architecture, trainer(student, samples).module, out)


class Taught(Samples):
    """Samples whose targets are a network's answers."""

    def __init__(self, samples: Samples, teacher: Runtime) -> None:
        self.samples, self.teacher, self.uniform = samples, teacher, samples.uniform

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: NDArray[Any], rng: np.random.Generator | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        inputs, _ = self.samples.batch(indices, rng)
        return inputs, self.teacher.predict(inputs)
