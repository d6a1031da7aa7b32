"""RDN, the residual dense network for super-resolution ×2: 22.1 million parameters at reference size [I: notes]."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from onnxnnw.exporters.base import Architecture
from onnxnnw.recipes import Adam, OneCycle, Recipe
from onnxnnw.tasks.base import Task
from onnxnnw.tasks.super_resolution import SuperResolution

__all__ = ["Rdn"]

SCALE = 2


@dataclass(frozen=True)
class _Size:
    blocks: int  # D
    layers: int  # C
    growth: int  # G
    features: int  # G0


SIZES = {"reference": _Size(16, 8, 64, 64), "small": _Size(4, 3, 16, 16)}


@dataclass(frozen=True)
class Rdn(Architecture):
    """Residual dense blocks whose outputs are fused, then enlarged by sub-pixel convolution [Zhang et al. 2018]."""

    name: ClassVar[str] = "rdn"
    dynamic: ClassVar[dict[int, str]] = {0: "N", 2: "H", 3: "W"}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, 32, 32)

    def task(self) -> Task:
        return SuperResolution(scale=SCALE)

    def recipe(self) -> Recipe:
        if self.size == "small":
            return Recipe(epochs=30, batch=16, optimizer=Adam(2e-3), schedule=OneCycle(), repeats=40)
        return Recipe(epochs=200, batch=16, optimizer=Adam(1e-4), repeats=20)

    def loss(self, outputs: Any, targets: Any) -> Any:
        return F.l1_loss(outputs, targets)

    def _module(self) -> nn.Module:
        return _Rdn(SIZES[self.size])


class _Rdn(nn.Module):
    def __init__(self, size: _Size) -> None:
        super().__init__()
        features = size.features
        self.shallow1 = nn.Conv2d(3, features, 3, padding=1)
        self.shallow2 = nn.Conv2d(features, features, 3, padding=1)
        self.blocks = nn.ModuleList(_DenseBlock(size) for _ in range(size.blocks))
        self.fusion1 = nn.Conv2d(size.blocks * features, features, 1)
        self.fusion2 = nn.Conv2d(features, features, 3, padding=1)
        self.enlarge = nn.Conv2d(features, features * SCALE**2, 3, padding=1)
        self.output = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, images: Any) -> Any:
        """(N, 3, H, W) -> (N, 3, 2·H, 2·W), values of 0 to 1."""
        shallow = self.shallow1(images)
        features, collected = self.shallow2(shallow), []
        for block in self.blocks:
            features = block(features)
            collected.append(features)
        fused = self.fusion2(self.fusion1(torch.cat(collected, 1))) + shallow
        return self.output(F.pixel_shuffle(self.enlarge(fused), SCALE))


class _DenseBlock(nn.Module):
    def __init__(self, size: _Size) -> None:
        super().__init__()
        widths = [size.features + layer * size.growth for layer in range(size.layers + 1)]
        self.layers = nn.ModuleList(nn.Conv2d(width, size.growth, 3, padding=1) for width in widths[:-1])
        self.fusion = nn.Conv2d(widths[-1], size.features, 1)

    def forward(self, features: Any) -> Any:
        dense = features
        for layer in self.layers:
            dense = torch.cat([dense, F.relu(layer(dense))], 1)
        return self.fusion(dense) + features
