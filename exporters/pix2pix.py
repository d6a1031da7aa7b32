"""pix2pix: a U-Net generator, exported, and the PatchGAN it is trained against [Isola et al. 2017]."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from onnxnnw.exporters.base import Architecture
from onnxnnw.recipes import Adam, Decay, Recipe
from onnxnnw.tasks.base import Task
from onnxnnw.tasks.image_translation import ImageTranslation

__all__ = ["Pix2pix"]

SLOPE = 0.2
DROPPED = 3
"""Decoder layers with dropout, counted from the bottleneck."""


@dataclass(frozen=True)
class _Size:
    side: int
    generator: tuple[int, ...]  # channels after each halving
    patch: tuple[int, ...]  # channels of the PatchGAN's layers; the last has stride 1


SIZES = {
    "reference": _Size(256, (64, 128, 256, 512, 512, 512, 512, 512), (64, 128, 256, 512)),  # 70×70 patches
    "small": _Size(64, (8, 16, 32, 64, 64, 64), (16, 32, 64)),  # 34×34 patches
}


@dataclass(frozen=True)
class Pix2pix(Architecture):
    """The U-Net-256 generator: as many halvings as it takes to one pixel, and back with skip connections."""

    name: ClassVar[str] = "pix2pix"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, SIZES[self.size].side, SIZES[self.size].side)

    def task(self) -> Task:
        return ImageTranslation(side=SIZES[self.size].side)

    def recipe(self) -> Recipe:
        epochs, batch = (40, 4) if self.size == "small" else (200, 1)
        return Recipe(epochs, batch, Adam(2e-4 * batch, beta1=0.5), Decay(), fidelity=100.0)

    def loss(self, outputs: Any, targets: Any) -> Any:
        return F.l1_loss(outputs, targets)

    def _module(self) -> nn.Module:
        return _initialised(_UNet(SIZES[self.size].generator))

    def _adversary(self) -> nn.Module:
        return _initialised(_patch_gan(SIZES[self.size].patch))


class _UNet(nn.Module):
    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            bare = level in (0, len(widths) - 1)  # neither the first nor the innermost is normalised
            layers: list[nn.Module] = [] if level == 0 else [nn.LeakyReLU(SLOPE)]
            layers.append(nn.Conv2d(widths[level - 1] if level else 3, width, 4, 2, 1, bias=False))
            self.down.append(nn.Sequential(*layers) if bare else nn.Sequential(*layers, nn.BatchNorm2d(width)))
        for level in reversed(range(len(widths))):
            wide = widths[level] * (1 if level == len(widths) - 1 else 2)  # the skip connection doubles it
            if level == 0:
                self.up.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(wide, 3, 4, 2, 1), nn.Tanh()))
                continue
            width = widths[level - 1]
            layers = [nn.ReLU(), nn.ConvTranspose2d(wide, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width)]
            dropped = len(widths) - 1 > level >= len(widths) - 1 - DROPPED
            self.up.append(nn.Sequential(*layers, nn.Dropout(0.5)) if dropped else nn.Sequential(*layers))

    def forward(self, images: Any) -> Any:
        """(N, 3, H, W) -> (N, 3, H, W), values of -1 to 1."""
        skipped = []
        for layer in self.down:
            images = layer(images)
            skipped.append(images)
        images = skipped.pop()
        for layer in self.up:
            images = layer(images)
            if skipped:
                images = torch.cat([skipped.pop(), images], 1)
        return images


def _patch_gan(widths: tuple[int, ...]) -> nn.Module:
    """Condition and image, six channels -> one score per overlapping patch."""
    layers: list[nn.Module] = [nn.Conv2d(6, widths[0], 4, 2, 1), nn.LeakyReLU(SLOPE)]
    for before, width in pairwise(widths):
        stride = 1 if width == widths[-1] else 2
        layers += [nn.Conv2d(before, width, 4, stride, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))


def _initialised(module: nn.Module) -> nn.Module:
    """Weights from N(0, 0.02), scales of BatchNorm from N(1, 0.02) [pix2pix]."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return module
