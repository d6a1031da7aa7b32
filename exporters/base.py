"""What every reference network has: a PyTorch module, its export to ONNX, and the way back.

A network is one file in this folder with one subclass of `Architecture`; `onnxnnw.training.networks` finds it by the file's
name. Export keeps names, values and BatchNorm: each initializer is called as in ``state_dict`` and holds the same bits,
so that weights marked, pruned or fine-tuned in a file come back into the module by name.
"""

import copy
import logging
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from onnxnnw.errors import UnknownName, UnsupportedNetwork
from onnxnnw.flow.tracing import trace_flow
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.patch import rewritten, write_patched
from onnxnnw.network_file.stored import StoredTensor
from onnxnnw.network_file.writing import write_whole
from onnxnnw.recipes import Recipe
from onnxnnw.tasks.base import Task

__all__ = ["Architecture", "export", "write_weights"]

SMALL_BATCH = 2  # traced with two samples: torch.export specialises a dimension of size one


@dataclass(frozen=True)
class Architecture(ABC):
    """One reference network at one size.

    Args:
        size: One of `sizes`; ``"reference"`` is the size of NNW-TEC's tables.
    """

    size: str = "reference"

    name: ClassVar[str]
    sizes: ClassVar[tuple[str, ...]] = ("reference", "small")
    dynamic: ClassVar[Mapping[int, str]] = {0: "N"}
    """Axes of input 0 that the exported file leaves open, by name."""

    def __post_init__(self) -> None:
        if self.size not in self.sizes:
            raise UnknownName(f"size of {self.name}", self.size, self.sizes)

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one input."""

    @abstractmethod
    def task(self) -> Task:
        """The task of the standard that this network serves, with the parameters of this size."""

    @abstractmethod
    def recipe(self) -> Recipe:
        """How this size is trained."""

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Any:
        """The loss that training minimises, a scalar tensor."""

    @abstractmethod
    def _module(self) -> nn.Module:
        """A fresh module with this network's own initialisation, drawn from torch's global generator."""

    def _adversary(self) -> nn.Module | None:
        """The discriminator of adversarial training, or None."""
        return None

    def build(self, seed: int = 0) -> nn.Module:
        """A freshly initialised module; the same seed gives the same weights, and torch's generator stays untouched."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._module()

    def build_adversary(self, seed: int = 0) -> nn.Module | None:
        """The freshly initialised discriminator, or None where training has none."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            return self._adversary()

    def load(self, path: Path) -> nn.Module:
        """The module with the weights of an ONNX file of this architecture, bit for bit, in evaluation mode.

        Raises:
            UnsupportedNetwork: The file lacks a weight of this architecture or has it with another shape or type.
        """
        module = self.build()
        wanted = _named(module)
        with open_network(path) as network:
            found = _stored(network)
            problems = []
            for name, value in wanted.items():
                if name not in found:
                    problems.append(f"{name} is missing")
                elif found[name].shape != value.shape:
                    problems.append(f"{name} is {found[name].shape}, not {value.shape}")
                elif found[name].type_name != "float":
                    problems.append(f"{name} is {found[name].type_name}, not float")
            if problems:
                shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
                raise UnsupportedNetwork(f"{path} is not a {self.name} of size {self.size}: {shown}")
            state = {name: torch.from_numpy(found[name].array().copy()) for name in wanted}
            network.check_unchanged()
        module.load_state_dict({**module.state_dict(), **state})
        return module.eval()

    def with_new_head(self, module: nn.Module, classes: int) -> nn.Module:
        """The module with a fresh last layer for other classes, drawn from torch's global generator.

        Raises:
            UnsupportedNetwork: The network has no classes to exchange.
        """
        raise UnsupportedNetwork(f"{self.name} has no classification head to exchange")


def export(architecture: Architecture, module: nn.Module, path: Path, template: Path | None = None) -> None:
    """Write the module's evaluation form as one self-contained ONNX file, atomically.

    The module itself is not changed. Local paths, which torch puts into the metadata of every node, are removed.

    Args:
        template: An earlier export of the same architecture; the weights go into a copy of it, in a moment.
    """
    if template is not None:
        with open_network(template, for_writing=True) as network:
            write_weights(module, network, path)
        return
    frozen = copy.deepcopy(module).eval().cpu().to(memory_format=torch.contiguous_format)
    example = torch.zeros(SMALL_BATCH, *architecture.input_shape)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder, _quiet():
        raw = Path(folder) / "raw.onnx"
        torch.onnx.export(
            frozen,
            (example,),
            raw,
            dynamo=True,
            optimize=False,  # optimising folds BatchNorm into convolutions that keep their names
            external_data=False,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=(dict(architecture.dynamic),),
            verbose=False,
        )
        model = onnx.load(raw)
        _strip(model)
        exported = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for name, value in _named(frozen).items():
            assert name in exported, f"torch renamed {name} on export"
            assert exported[name].tobytes() == value.tobytes(), f"torch changed {name} on export"
        write_whole(path, model.SerializeToString(deterministic=True))


def write_weights(module: nn.Module, network: Network, out: Path) -> None:
    """Write a copy of an ONNX file in which the module's values replace those of the same name; all else stays.

    Args:
        network: Opened with ``for_writing=True``.
    """
    found = _stored(network)
    edits = (edit for name, value in _named(module).items() for edit in rewritten(found[name], [value.ravel()]))
    write_patched(network, out, edits)


def _stored(network: Network) -> dict[str, StoredTensor]:
    """Everything that the file stores, by name."""
    return {tensor.name: tensor for tensor in trace_flow(network).tensors.values()}


def _named(module: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """Parameters and buffers that ONNX keeps (all but BatchNorm's counter, which evaluation does not use)."""
    return {
        name: np.ascontiguousarray(value.detach().cpu().numpy())
        for name, value in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _strip(model: onnx.ModelProto) -> None:
    """Remove metadata: torch records stack traces there, with the paths of the machine that exported."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    for function in model.functions:
        for item in (function, *function.node, *function.value_info):
            del item.metadata_props[:]
            item.doc_string = ""
    del graph.value_info[:]  # shapes that any reader infers again; they also fix the traced batch size


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.onnx announces its steps and its own deprecations; none of them concerns the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
