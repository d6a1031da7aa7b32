"""What deployment does with onnxruntime's own tools: optimise, quantise dynamically, quantise statically."""

import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from onnxnnw.errors import UnreadableNetwork, UnsupportedNetwork
from onnxnnw.graph.slots import find_slots
from onnxnnw.modifications.base import Array, Modification, between, parameter, range_of
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.patch import write_patched
from onnxnnw.runtime import open_runtime, optimise, quantize_dynamically, quantize_statically

__all__ = ["DynamicQuantization", "RuntimeOptimization", "StaticQuantization"]


class DeploymentTool(Modification):
    """A tool that reads one file and writes another, wherever it likes; its result takes its name only when whole.

    It works on a copy in a folder of its own: it may leave files beside what it reads, refuse external data behind links, and
    write a result that still refers to the external data of the copy.
    """

    @abstractmethod
    def run(self, source: Path, out: Path, rng: np.random.Generator) -> None:
        """Run the tool.

        Args:
            source: A copy, alone in a folder with its external data.
            out: In the same folder.
        """

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        try:
            with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{self.name}-") as folder:
                self._write(network, out, Path(folder), rng)
        except OSError as error:
            if str(error.filename).startswith(str(out.parent / f".{self.name}-")):
                error.filename, error.filename2 = str(out), None  # the name that the user knows
            raise

    def _write(self, network: Network, out: Path, folder: Path, rng: np.random.Generator) -> None:
        source, result = folder / "in.onnx", folder / "out.onnx"
        write_patched(network, source, ())
        try:
            self.run(source, result, rng)
        except Exception as error:  # third-party tools fail in any way they like
            words = " ".join(str(error).split()).replace(str(source), "it")
            reason = words[:300] or type(error).__name__
            raise UnsupportedNetwork(f"{self.name} fails on {network.path}: {reason}") from error
        try:
            made = open_network(result, for_writing=True)
        except UnreadableNetwork as error:
            words = str(error).replace(str(result), "it")
            raise UnsupportedNetwork(f"what {self.name} makes of {network.path} cannot be read: {words}") from error
        with made:
            write_patched(made, out, ())


@dataclass(frozen=True)
class RuntimeOptimization(DeploymentTool):
    """onnxruntime's offline optimiser: normalisation folded, operators fused, names changed."""

    name: ClassVar[str] = "runtime-optimization"

    def run(self, source: Path, out: Path, rng: np.random.Generator) -> None:
        optimise(source, out)


class Quantizer(DeploymentTool):
    """A tool that measures the range of each layer; one whose range is no finite number is refused.

    onnxruntime itself would write a scale that is no number, or end with no reason.
    """

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        for slot in find_slots(network, min_elements=1).slots:
            if slot.layout != "add" and slot.tensor.is_float:  # masks that are added hold infinities on purpose
                range_of(slot.tensor)
        super().write(network, out, rng)


@dataclass(frozen=True)
class DynamicQuantization(Quantizer):
    """onnxruntime's dynamic quantisation to 8 bits."""

    name: ClassVar[str] = "dynamic-quantization"

    def run(self, source: Path, out: Path, rng: np.random.Generator) -> None:
        quantize_dynamically(source, out)


@dataclass(frozen=True)
class StaticQuantization(Quantizer):
    """onnxruntime's static quantisation to 8 bits, one scale per channel, calibrated on random inputs.

    Args:
        batches: Number of inputs to calibrate on.
    """

    name: ClassVar[str] = "static-quantization"
    batches: int = parameter("number of random inputs to calibrate on", 16)

    def __post_init__(self) -> None:
        between("the number of batches", self.batches, 1, 10_000)

    def run(self, source: Path, out: Path, rng: np.random.Generator) -> None:
        ports = open_runtime(source).inputs

        def inputs() -> Iterator[dict[str, Array]]:
            for _ in range(self.batches):
                yield {p.name: rng.standard_normal([size or 1 for size in p.shape]).astype(p.dtype) for p in ports}

        quantize_statically(source, out, inputs())
