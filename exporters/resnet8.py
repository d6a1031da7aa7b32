"""ResNet8, the residual network of MLPerf Tiny: 78,186 trainable parameters on 32×32 images [I: notes]."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import nn

from onnxnnw.exporters.base import Architecture
from onnxnnw.recipes import OneCycle, Recipe, Sgd
from onnxnnw.tasks.base import Task
from onnxnnw.tasks.classification import Classification

__all__ = ["ResNet8"]

WIDTHS = {"reference": (16, 32, 64), "small": (8, 16, 32)}


@dataclass(frozen=True)
class ResNet8(Architecture):
    """A stem, three residual blocks and a linear layer; convolutions have biases, as in MLPerf Tiny."""

    name: ClassVar[str] = "resnet8"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, 32, 32)

    def task(self) -> Task:
        return Classification()

    def recipe(self) -> Recipe:
        return Recipe(epochs=100, batch=128, optimizer=Sgd(rate=0.2, weight_decay=5e-4), schedule=OneCycle())

    def loss(self, outputs: Any, targets: Any) -> Any:
        return F.cross_entropy(outputs, targets)

    def with_new_head(self, module: nn.Module, classes: int) -> nn.Module:
        changed = copy.deepcopy(module)
        changed.fc = nn.Linear(changed.fc.in_features, classes)
        return changed

    def _module(self) -> nn.Module:
        return _ResNet(WIDTHS[self.size], classes=10)


class _ResNet(nn.Module):
    def __init__(self, widths: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        first, second, third = widths
        self.stem = nn.Conv2d(3, first, 3, padding=1)
        self.norm = nn.BatchNorm2d(first)
        self.block1 = _Block(first, first, stride=1)
        self.block2 = _Block(first, second, stride=2)
        self.block3 = _Block(second, third, stride=2)
        self.fc = nn.Linear(third, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, images: Any) -> Any:
        """(N, 3, 32, 32) -> (N, classes)."""
        features = F.relu(self.norm(self.stem(images)))
        features = self.block3(self.block2(self.block1(features)))
        return self.fc(features.mean((2, 3)))


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels_out, 1, stride)

    def forward(self, features: Any) -> Any:
        inner = F.relu(self.norm1(self.conv1(features)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(features))
