"""The networks of the pipeline benchmark: five kinds of architecture, drawn so that nothing about them is convenient.

Weights are drawn, not trained: Student-t with 5 degrees of freedom, out-rows of log-normal size, every layer at another
scale. BatchNorm's statistics are then those of real activations (far from 1), and a quarter of its gammas is negative.
"""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

__all__ = ["NETWORKS", "Subject", "drawn", "export", "quiet", "restored"]

TOKENS, LENGTH, WIDTH, HEADS = 256, 16, 64, 4
NEGATIVE = 0.25


@dataclass(frozen=True)
class Subject:
    """One architecture.

    Attributes:
        name: What the table calls it.
        make: A module, freshly initialised.
        inputs: A batch of so many inputs.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[np.random.Generator, int], NDArray[Any]]


class _Vgg(nn.Sequential):
    """Plain convolutions with BatchNorm, pooling, and two linear layers."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        before = 3
        for width in (16, 32, 48):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            before = width
        super().__init__(*layers, nn.Flatten(), nn.Linear(48 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10))


class _UNet(nn.Module):
    """Two steps down and up again by ConvTranspose, with skip connections; the second one up is grouped."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = _block(3, 16), _block(16, 32), _block(32, 64)
        self.up2, self.norm2 = nn.ConvTranspose2d(64, 32, 2, 2), nn.BatchNorm2d(32)
        self.join2 = _block(64, 32)
        self.up1 = nn.ConvTranspose2d(32, 16, 4, 2, 1, groups=2, bias=False)
        self.join1 = _block(32, 16)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, images: Any) -> Any:
        one = self.down1(images)
        two = self.down2(F.max_pool2d(one, 2))
        up = F.relu(self.norm2(self.up2(self.bottom(F.max_pool2d(two, 2)))))
        up = self.up1(self.join2(torch.cat([up, two], 1)))
        return self.head(self.join1(torch.cat([up, one], 1)))


def _block(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())


class _MobileNet(nn.Module):
    """Depthwise and pointwise convolutions with ReLU6, one grouped convolution, and a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24)
        self.one, self.two, self.three = _Separable(24, 48, 2), _Separable(48, 48, 1), _Separable(48, 64, 2)
        self.grouped, self.norm = nn.Conv2d(64, 64, 3, padding=1, groups=4), nn.BatchNorm2d(64)
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: Any) -> Any:
        features = self.one(F.relu6(self.stem_norm(self.stem(images))))
        features = self.three(features + self.two(features))
        features = F.relu(self.norm(self.grouped(features)))
        return self.classifier(features.mean((2, 3)))


class _Separable(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False)
        self.norm1 = nn.BatchNorm2d(before)
        self.pointwise, self.norm2 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, features: Any) -> Any:
        return F.relu6(self.norm2(self.pointwise(F.relu6(self.norm1(self.depthwise(features))))))


class _Transformer(nn.Module):
    """Token and position embeddings, two post-norm encoder layers as in BERT, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(TOKENS, WIDTH)
        self.positions = nn.Parameter(torch.zeros(LENGTH, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(_EncoderLayer() for _ in range(2))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, tokens: Any) -> Any:
        features = self.norm(self.tokens(tokens) + self.positions)
        for layer in self.layers:
            features = layer(features)
        return self.head(features.mean(1))


class _EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out, self.norm1 = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down, self.norm2 = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(3 * WIDTH, WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, features: Any) -> Any:
        def heads(linear: nn.Linear) -> Any:
            """(N, L, D) -> (N, H, L, D / H)."""
            return linear(features).reshape(-1, LENGTH, HEADS, WIDTH // HEADS).transpose(1, 2)

        scores = heads(self.query) @ heads(self.key).transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        mixed = (torch.softmax(scores, -1) @ heads(self.value)).transpose(1, 2).reshape(-1, LENGTH, WIDTH)
        features = self.norm1(features + self.out(mixed))
        return self.norm2(features + self.down(F.gelu(self.up(features))))


def _resnet8() -> nn.Module:
    from onnxnnw.training.networks import find_network

    return find_network("resnet8", "small").build()


def _images(rng: np.random.Generator, count: int) -> NDArray[Any]:
    return rng.standard_normal((count, 3, 32, 32)).astype(np.float32)


def _sentences(rng: np.random.Generator, count: int) -> NDArray[Any]:
    return rng.integers(0, TOKENS, (count, LENGTH))


NETWORKS: Mapping[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("resnet8", _resnet8, _images),
        Subject("vgg", _Vgg, _images),
        Subject("unet", _UNet, _images),
        Subject("mobilenet", _MobileNet, _images),
        Subject("transformer", _Transformer, _sentences),
    )
}


def drawn(subject: Subject, seed: int) -> nn.Module:
    """A module with drawn weights, in evaluation mode."""
    rng = np.random.default_rng(seed)
    module = subject.make()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(_values(name, tuple(parameter.shape), rng)))
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d | nn.LayerNorm)]
        for norm in norms:
            size = tuple(norm.weight.shape)
            gamma = np.exp(0.5 * rng.standard_normal(size)) * np.where(rng.random(size) < NEGATIVE, -1, 1)
            norm.weight.copy_(torch.from_numpy(gamma.astype(np.float32)))
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = None  # the plain average over all batches
                norm.reset_running_stats()
        module.train()(torch.from_numpy(subject.inputs(rng, 64)))
    return module.eval()


def _values(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Heavy-tailed values; rows of unequal size, layers of unequal scale, about what the layer's width asks for."""
    values = rng.standard_t(5, shape)
    if len(shape) > 1:
        rows = np.exp(0.4 * rng.standard_normal((shape[0], *[1] * (len(shape) - 1))))
        values = rows * values * np.exp(0.5 * rng.standard_normal()) / np.sqrt(np.prod(shape[1:]))
    else:
        values = 0.1 * values
    return values.astype(np.float32)


def restored(subject: Subject, marked: Path) -> nn.Module:
    """The module with the weights of an unmodified export, by name.

    Raises:
        ValueError: The file lacks a weight: it is no unmodified export.
    """
    stored = {tensor.name: tensor for tensor in onnx.load(marked).graph.initializer}
    module = subject.make()
    state = module.state_dict()
    wanted = [name for name in state if not name.endswith("num_batches_tracked")]
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise ValueError(f"{marked.name} does not hold {missing[0]}")
    module.load_state_dict(
        {**state, **{name: torch.from_numpy(numpy_helper.to_array(stored[name]).copy()) for name in wanted}}
    )
    return module.eval()


def export(subject: Subject, module: nn.Module, out: Path, **settings: Any) -> None:
    """``torch.onnx.export`` with an open batch axis and the given settings."""
    example = torch.from_numpy(subject.inputs(np.random.default_rng(0), 2))
    batch: dict[str, Any] = {"dynamic_shapes": ({0: "N"},)}
    if not settings.get("dynamo", True):
        batch = {"dynamic_axes": {"input": {0: "N"}, "output": {0: "N"}}}
    else:
        batch["external_data"] = settings.pop("external_data", False)
    with quiet():
        torch.onnx.export(
            copy.deepcopy(module),
            (example,),
            str(out),
            input_names=["input"],
            output_names=["output"],
            verbose=False,
            **batch,
            **settings,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Tools announce their steps and deprecations on every channel; their errors come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
