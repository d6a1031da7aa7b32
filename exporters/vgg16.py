"""VGG16 for 32×32 images, without batch normalisation: 14,719,818 parameters at reference size [R: notes]."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import nn

from onnxnnw.exporters.base import Architecture
from onnxnnw.tasks.base import Task
from onnxnnw.tasks.classification import Classification
from onnxnnw.training import OneCycle, Recipe, Sgd

__all__ = ["Vgg16"]

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DIVISOR = {"reference": 1, "small": 8}


@dataclass(frozen=True)
class Vgg16(Architecture):
    """Thirteen 3×3 convolutions in five blocks, each ended by max pooling, and a linear layer."""

    name: ClassVar[str] = "vgg16"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, 32, 32)

    def task(self) -> Task:
        return Classification()

    def recipe(self) -> Recipe:
        return Recipe(epochs=15, batch=128, optimizer=Sgd(rate=0.03, weight_decay=5e-4), schedule=OneCycle())

    def loss(self, outputs: Any, targets: Any) -> Any:
        return F.cross_entropy(outputs, targets)

    def _module(self) -> nn.Module:
        return _Vgg([[width // DIVISOR[self.size] for width in block] for block in BLOCKS], classes=10)


class _Vgg(nn.Module):
    def __init__(self, blocks: list[list[int]], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in blocks:
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                # torch's default initialisation leaves a VGG without normalisation at chance
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, images: Any) -> Any:
        """(N, 3, 32, 32) -> (N, classes)."""
        return self.classifier(self.features(images).flatten(1))
