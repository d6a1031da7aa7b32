"""DeepLabV3 for Cityscapes' 19 classes: torchvision's, on ResNet-50, or on MobileNetV3-Large as the small size."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import nn

from onnxnnw.exporters.base import Architecture
from onnxnnw.recipes import OneCycle, Recipe, Sgd
from onnxnnw.tasks.base import Task
from onnxnnw.tasks.segmentation import CLASSES, IGNORED, Segmentation
from onnxnnw.torchvision_package import import_torchvision

__all__ = ["DeepLabV3"]


@dataclass(frozen=True)
class DeepLabV3(Architecture):
    """Atrous spatial pyramid pooling over a dilated backbone, scores enlarged to the image [Chen et al. 2017]."""

    name: ClassVar[str] = "deeplabv3"
    dynamic: ClassVar[dict[int, str]] = {0: "N", 2: "H", 3: "W"}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, 128, 128)

    def task(self) -> Task:
        if self.size == "small":
            return Segmentation(crop=96, shrink=0.5, enlarge=1.5)
        return Segmentation()

    def recipe(self) -> Recipe:
        if self.size == "small":
            return Recipe(24, 8, Sgd(0.1, weight_decay=1e-4), OneCycle())
        return Recipe(200, 8, Sgd(0.01, weight_decay=1e-4), OneCycle())

    def loss(self, outputs: Any, targets: Any) -> Any:
        return F.cross_entropy(outputs, targets, ignore_index=IGNORED)

    def _module(self) -> nn.Module:
        models = import_torchvision("torchvision.models.segmentation")
        make = models.deeplabv3_mobilenet_v3_large if self.size == "small" else models.deeplabv3_resnet50
        whole = make(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False)
        for layer in whole.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 0.1  # MobileNet's 0.01 is for ImageNet's many batches; here the averages lag behind
        return _Segmenter(whole.backbone, whole.classifier)


class _Segmenter(nn.Module):
    """torchvision's network with one tensor as its answer, under the same names."""

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone, self.classifier = backbone, classifier

    def forward(self, images: Any) -> Any:
        """(N, 3, H, W) -> (N, 19, H, W)."""
        scores = self.classifier(self.backbone(images)["out"])
        return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)
