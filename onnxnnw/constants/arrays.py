"""Constants as index maps: arrays of stored elements that are only moved.

``take`` reads a few elements through a whole chain, ``array`` all of them, and ``locate`` says where an element is stored.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.network_file.stored import Array, StoredTensor

__all__ = ["Constant", "Literal", "Positions", "Scattered", "Stored"]

Positions = NDArray[np.int64]


class Constant(ABC):
    """An array that can be read element by element."""

    shape: tuple[int, ...]
    parts: "tuple[Constant, ...]" = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @cached_property
    def steps(self) -> int:
        """Number of operations of one evaluation; a shared part counts each time it is used."""
        return 1 + sum(part.steps for part in self.parts)

    @cached_property
    def extent(self) -> int:
        """Elements of the largest stored array that it is made of; limits on its size are multiples of this."""
        return max((part.extent for part in self.parts), default=self.size)

    @cached_property
    def peak(self) -> int:
        """Elements of the largest intermediate array: the memory of one evaluation."""
        return max([self.size, *(part.peak for part in self.parts)])

    @cached_property
    def work(self) -> int:
        """Multiplications of matrix products that one evaluation takes; a shared part counts each time it is used."""
        return sum(part.work for part in self.parts)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """What its elements are read as: float32 for float16 and bfloat16, uint8 for truth values."""
        return self.take(np.zeros(0, np.int64)).dtype

    @cached_property
    def repeats(self) -> bool:
        """Whether two of its elements may be one that is stored, so that no value can be given to one of them alone."""
        return any(part.repeats for part in self.parts)

    @abstractmethod
    def take(self, flat: Positions) -> Array:
        """The elements at flat row-major positions, in the shape of ``flat``."""

    @abstractmethod
    def array(self) -> Array:
        """All elements, in ``shape``."""

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        """Where elements are stored as they are (up to the element type), or None where they are computed."""
        return None

    def stored(self) -> list[StoredTensor]:
        """The stored tensors that it is made of, the main one first."""
        return [tensor for part in self.parts for tensor in part.stored()]

    def operations(self) -> list[str]:
        """What happens between storage and use, outermost first."""
        return [type(self).__name__.lower(), *(self.parts[0].operations() if self.parts else [])]


@dataclass(frozen=True, eq=False)
class Stored(Constant):
    """A stored tensor."""

    tensor: StoredTensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", self.tensor.shape)

    def take(self, flat: Positions) -> Array:
        return self.tensor.take(flat)

    def array(self) -> Array:
        return self.tensor.array()

    def locate(self, flat: Positions) -> tuple[StoredTensor, Positions] | None:
        return self.tensor, flat

    def stored(self) -> list[StoredTensor]:
        return [self.tensor]

    def operations(self) -> list[str]:
        return []


@dataclass(frozen=True, eq=False)
class Literal(Constant):
    """A few numbers that follow from the graph and are stored nowhere, such as the shape of a constant."""

    values: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", self.values.shape)

    def take(self, flat: Positions) -> Array:
        return self.values.reshape(-1)[flat]

    def array(self) -> Array:
        return self.values


@dataclass(frozen=True, eq=False)
class Scattered(Constant):
    """A sparse tensor: ``tensor`` holds the values at ascending flat positions, everything else is zero."""

    tensor: StoredTensor
    places: Positions
    shape: tuple[int, ...]

    def take(self, flat: Positions) -> Array:
        if not self.places.size:
            return np.zeros(flat.shape, np.float32)
        index = np.searchsorted(self.places, flat).clip(0, self.places.size - 1)
        values = self.tensor.take(index)
        return np.where(self.places[index] == flat, values, values.dtype.type(0))

    def array(self) -> Array:
        values = self.tensor.array()
        out = np.zeros(self.size, values.dtype)
        out[self.places] = values.reshape(-1)
        return out.reshape(self.shape)

    def stored(self) -> list[StoredTensor]:
        return [self.tensor]
