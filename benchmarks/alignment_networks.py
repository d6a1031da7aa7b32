"""Networks that are disguised: architectures of the literature, attention in two forms, the reference networks, the pipeline's.

Weights of what nobody here trained are drawn as in ``pipeline_networks``: heavy tails, rows and layers of other sizes, BatchNorm's
statistics those of activations, a quarter of its gammas negative.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from benchmarks.pipeline_networks import NETWORKS as PIPELINE
from benchmarks.pipeline_networks import Subject, drawn, export
from onnxnnw.torchvision_package import import_torchvision

__all__ = ["NAMES", "make_network"]

_MODELS = Path(__file__).parent.parent / "models"
_SHIPPED = {"resnet8, trained": "resnet8", "rdn-small, trained": "rdn-small", "pix2pix-small, trained": "pix2pix-small"}
_SEED = 16


class _Decoder(nn.Module):
    """A decoder of three layers as in Llama: RMSNorm, grouped queries, rotary positions, gated units."""

    tokens, length, width, queries, pairs, size = 256, 16, 128, 8, 2, 16

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(self.tokens, self.width)
        self.layers = nn.ModuleList(_DecoderLayer(self.width, self.queries, self.pairs, self.size) for _ in range(3))
        self.norm = nn.RMSNorm(self.width)
        self.head = nn.Linear(self.width, self.tokens, bias=False)
        angles = torch.outer(torch.arange(self.length), 10_000.0 ** (-torch.arange(0, self.size, 2) / self.size))
        self.register_buffer("cosines", torch.cos(angles).repeat(1, 2), persistent=False)
        self.register_buffer("sines", torch.sin(angles).repeat(1, 2), persistent=False)

    def forward(self, tokens: Any) -> Any:
        features = self.embedding(tokens)
        for layer in self.layers:
            features = layer(features, self.cosines, self.sines)
        return self.head(self.norm(features))


class _DecoderLayer(nn.Module):
    def __init__(self, width: int, queries: int, pairs: int, size: int) -> None:
        super().__init__()
        self.queries, self.pairs, self.size = queries, pairs, size
        self.query, self.out = (
            nn.Linear(width, queries * size, bias=False),
            nn.Linear(queries * size, width, bias=False),
        )
        self.key, self.value = (nn.Linear(width, pairs * size, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * width, width, bias=False)
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(self, features: Any, cosines: Any, sines: Any) -> Any:
        normal, length = self.before(features), features.shape[1]

        def heads(linear: nn.Linear, count: int) -> Any:
            """(N, L, heads * size) -> (N, heads, L, size)."""
            return linear(normal).reshape(-1, length, count, self.size).transpose(1, 2)

        def turned(part: Any) -> Any:
            one, other = part[..., : self.size // 2], part[..., self.size // 2 :]
            return part * cosines + torch.cat([-other, one], -1) * sines

        query = turned(heads(self.query, self.queries))
        key, value = (
            each.repeat_interleave(self.queries // self.pairs, 1)
            for each in (turned(heads(self.key, self.pairs)), heads(self.value, self.pairs))
        )
        later = torch.full((length, length), -1e4).triu(1)
        scores = query @ key.transpose(-1, -2) / self.size**0.5 + later
        mixed = (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(-1, length, self.queries * self.size)
        features = features + self.out(mixed)
        normal = self.between(features)
        return features + self.down(F.silu(self.gate(normal)) * self.up(normal))


def _images(side: int, most: int, rng: np.random.Generator, count: int) -> NDArray[Any]:
    return rng.standard_normal((min(count, most), 3, side, side)).astype(np.float32)


def _tokens(rng: np.random.Generator, count: int) -> NDArray[Any]:
    return rng.integers(0, _Decoder.tokens, (count, _Decoder.length))


def _published(name: str, **settings: Any) -> Callable[[], nn.Module]:
    """A network of torchvision, untrained."""

    def make() -> nn.Module:
        module: nn.Module = getattr(import_torchvision(), name)(weights=None, **settings)
        return module

    return make


def _encoder() -> nn.Module:
    """A vision transformer of three layers whose queries, keys and values lie in one weight."""
    models = import_torchvision()
    module: nn.Module = models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=4, hidden_dim=128, mlp_dim=256, num_classes=10
    )
    return module


def _reference(name: str) -> Subject:
    """A reference network of the exporters in its small size, drawn."""
    from onnxnnw.training.networks import find_network

    architecture = find_network(name, "small")

    def inputs(rng: np.random.Generator, count: int) -> NDArray[Any]:
        return rng.standard_normal((min(count, 8), *architecture.input_shape)).astype(np.float32)

    return Subject(f"{name}-small", architecture.build, inputs)


_DRAWN: Mapping[str, Callable[[], Subject]] = {
    "resnet18": lambda: Subject("resnet18", _published("resnet18"), partial(_images, 64, 16)),
    "resnet50": lambda: Subject("resnet50", _published("resnet50"), partial(_images, 64, 16)),
    "densenet121": lambda: Subject("densenet121", _published("densenet121"), partial(_images, 64, 16)),
    "efficientnet-b0": lambda: Subject("efficientnet-b0", _published("efficientnet_b0"), partial(_images, 64, 16)),
    "inception-v3": lambda: Subject(
        "inception-v3", _published("inception_v3", aux_logits=False, init_weights=False), partial(_images, 96, 16)
    ),
    "vision transformer": lambda: Subject("vision transformer", _encoder, partial(_images, 32, 64)),
    "decoder": lambda: Subject("decoder", _Decoder, _tokens),
    "vgg16-small": lambda: _reference("vgg16"),
    "deeplabv3-small": lambda: _reference("deeplabv3"),
    **{f"pipeline: {name}": partial(PIPELINE.__getitem__, name) for name in PIPELINE},
}

NAMES = (*_SHIPPED, *reversed(_DRAWN))
"""The trained ones first, then from small to large."""


def make_network(name: str, out: Path) -> None:
    """Write a network.

    Raises:
        KeyError: There is none of this name.
    """
    if name in _SHIPPED:
        out.write_bytes((_MODELS / f"{_SHIPPED[name]}.onnx").read_bytes())
        return
    subject = _DRAWN[name]()
    torch.manual_seed(_SEED)
    with_tokens = np.issubdtype(subject.inputs(np.random.default_rng(0), 1).dtype, np.integer)
    settings = (
        {"dynamo": True} if with_tokens else {"dynamo": False, "opset_version": 17}
    )  # tracing takes a tenth of the time
    export(subject, drawn(subject, _SEED), out, **settings)
