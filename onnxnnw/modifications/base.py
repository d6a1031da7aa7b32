"""The interface of modifications: parameters in the constructor, the network in the call, a new file as the result."""

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, starmap
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnknownName, UnsupportedNetwork
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.network_file.patch import refuse_own_files, rewritten, write_patched
from onnxnnw.network_file.stored import StoredTensor
from onnxnnw.parameters import between, parameter

__all__ = [
    "Array",
    "Changes",
    "Modification",
    "WeightModification",
    "apply",
    "between",
    "find_modification",
    "modification_names",
    "parameter",
    "range_of",
    "refuse_not_finite",
    "weights_of",
]

Array = NDArray[Any]
Changes = Iterator[tuple[StoredTensor, Iterable[Array]]]
"""Stored tensors with their new values: flat, in order, in blocks. The blocks of one are used up before the next is asked for."""


class Modification(ABC):
    """A modification with its parameters; concrete classes are frozen dataclasses.

    Attributes:
        name: As on the command line.
    """

    name: ClassVar[str]

    @abstractmethod
    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        """Write a modified copy, atomically.

        Args:
            network: Opened with ``for_writing=True``.
            out: Where to; an existing file is replaced when all is on the disk. None of the network's own: see ``apply``.
            rng: All randomness there is.

        Raises:
            UnsupportedNetwork: The network cannot be modified like this.
        """


class WeightModification(Modification):
    """A modification that gives new values to weights, one block of one stored tensor at a time."""

    @abstractmethod
    def changed(self, weights: Sequence[StoredTensor], rng: np.random.Generator) -> Changes:
        """New values for each weight that changes."""

    def write(self, network: Network, out: Path, rng: np.random.Generator) -> None:
        changes = self.changed(weights_of(network), rng)
        write_patched(network, out, chain.from_iterable(starmap(rewritten, changes)))


def weights_of(network: Network) -> list[StoredTensor]:
    """The weights in the sense of the evaluation: stored tensors of 2 or more dimensions that layers multiply with [R].

    Biases and normalisation parameters are no weights, nor are tables of whole numbers that stand for themselves, as places do.
    In the order of the network's nodes.

    Raises:
        UnsupportedNetwork: There are none, or one cannot be changed in place.
    """
    tensors = [
        slot.tensor
        for slot in find_slots(network, min_elements=1).slots
        if slot.tensor.is_float or slot.constant.dtype.kind not in "iub"
    ]
    if not tensors:
        raise UnsupportedNetwork(f"{network.path}: has no weights that could be modified")
    for tensor in tensors:
        if tensor.read_only:
            raise UnsupportedNetwork(f"{network.path}: cannot be modified in place: {tensor.read_only}")
    return tensors


def refuse_not_finite(weight: StoredTensor, name: str, statistic: Any) -> None:
    """Refuse a layer with values that are not finite where a modification needs its range or deviation.

    Infinities and NaN spread from one weight to the whole layer, or hide that nothing was done to it.

    Args:
        name: Of the statistic, in words.

    Raises:
        UnsupportedNetwork: The statistic is no finite number.
    """
    if not np.isfinite(statistic):
        raise UnsupportedNetwork(
            f"the {name} of tensor {weight.name!r} is no finite number, and this modification needs one: "
            "the tensor holds infinities, NaN or too large numbers; replace them first"
        )


def range_of(weight: StoredTensor) -> tuple[Any, Any]:
    """Smallest and largest value, in the weight's own precision.

    Raises:
        UnsupportedNetwork: Their difference is no finite number in this precision.
    """
    values = weight.array()
    low, high = values.min(), values.max()
    with np.errstate(all="ignore"):
        refuse_not_finite(weight, "range", high - low)
    return low, high


def apply(modification: Modification, source: Path | str, out: Path | str, seed: int = 0) -> None:
    """Write a modified copy of an ONNX file; the same seed and NumPy version give the same bytes.

    Raises:
        CannotLook: The network cannot be read or modified.
        UsageError: The output is a folder, the input, or its external data.
    """
    with open_network(source, for_writing=True) as network:
        refuse_own_files(network, Path(out))  # here for all: tools and trainings never learn where weights are stored
        modification.write(network, Path(out), np.random.default_rng(seed))


def _classes() -> dict[str, type[Modification]]:
    package = importlib.import_module("onnxnnw.modifications")
    out: dict[str, type[Modification]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name == "base":
            continue
        module = importlib.import_module(f"onnxnnw.modifications.{info.name}")
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == module.__name__ and not inspect.isabstract(value)
            if own and issubclass(value, Modification):
                out[value.name] = value
    return out


def modification_names() -> list[str]:
    """Names of all modifications."""
    return sorted(_classes())


def find_modification(name: str) -> type[Modification]:
    """A modification by name; its dataclass fields are its parameters.

    Raises:
        UnknownName: There is none; the message lists those there are.
    """
    classes = _classes()
    if name not in classes:
        raise UnknownName("modification", name, classes)
    return classes[name]
