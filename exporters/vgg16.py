"""VGG16 for 32×32 images, without batch normalisation: 14,719,818 parameters at reference size [R: notes]."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from onnxnnw.exporters.base import Architecture
from onnxnnw.recipes import OneCycle, Recipe, Sgd
from onnxnnw.tasks.base import Task
from onnxnnw.tasks.classification import Classification

__all__ = ["Vgg16"]

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DIVISOR = {"reference": 1, "small": 8}
SMALL_MAP = 4
"""Up to this height, training on a CPU multiplies matrices instead: oneDNN's weight gradients crawl on small maps."""


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

    def with_new_head(self, module: nn.Module, classes: int) -> nn.Module:
        changed = copy.deepcopy(module)
        changed.classifier = nn.Linear(changed.classifier.in_features, classes)
        return changed

    def _module(self) -> nn.Module:
        return _Vgg([[width // DIVISOR[self.size] for width in block] for block in BLOCKS], classes=10)


class _Vgg(nn.Module):
    def __init__(self, blocks: list[list[int]], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in blocks:
            for width in block:
                layers += [_Convolution(channels, width, 3, padding=1), nn.ReLU()]
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


class _Convolution(nn.Conv2d):
    """A 3×3 convolution that trains at a matrix product's speed where its map is small; its values are the same."""

    def forward(self, features: Any) -> Any:
        height, width = features.shape[2:]
        if not self.training or features.is_cuda or height > SMALL_MAP:
            return super().forward(features)
        padded = F.pad(features.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (N, C, H, W) -> (N, H+2, W+2, C)
        shifted = [padded[:, down : down + height, right : right + width] for down in range(3) for right in range(3)]
        columns = torch.cat(shifted, -1).flatten(0, 2)  # (N·H·W, 9·C)
        kernel = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (out, C, 3, 3) -> (9·C, out)
        product = torch.addmm(self.bias, columns, kernel)
        return product.view(-1, height, width, self.out_channels).permute(0, 3, 1, 2)
