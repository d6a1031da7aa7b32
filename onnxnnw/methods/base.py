"""What every traceability method gives: a judgement of a candidate's weights against a record."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnknownName
from onnxnnw.records import Record
from onnxnnw.statistics import Association, Correlations

__all__ = ["Judgement", "Method", "Reads", "Weights", "find_method", "method_names"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


class Weights(Protocol):
    """A candidate's weights, addressed as the record's slots; None where a slot has no counterpart."""

    def values(self, slot: int, positions: Positions) -> Floats | None:
        """Values at flat canonical positions of the record's slot."""

    def gains(self, slot: int) -> Floats | None:
        """Gauge of every out-row of the record's slot; None where only raw values are read."""

    def share(self, slots: Sequence[int]) -> float:
        """Share of the candidate's live weights that stands in the counterparts of these slots."""


@dataclass(frozen=True)
class Reads:
    """What was read at the mark's positions, for the findings.

    Attributes:
        slots: Slot number of each position.
        positions: Flat canonical position in the slot.
        enrolled: The Original Traceability Data.
        found: What the candidate holds there; NaN where it could not be read.
    """

    slots: Positions
    positions: Positions
    enrolled: Floats
    found: Floats


@dataclass(frozen=True)
class Judgement:
    """What a method says of a candidate.

    Attributes:
        association: Strength of the evidence, the number of views already paid for in its p-value.
        significant: Whether the method's own conditions for ``traced`` hold at the rate (p-value, effect, robustness).
        standard: The standard's own correlations.
        reads: For the findings.
        shared_slots: Slots that are (nearly) identical and were not allowed to carry the verdict alone.
        notes: Sentences for people.
    """

    association: Association
    significant: bool
    standard: Correlations
    reads: Reads
    shared_slots: int = 0
    notes: tuple[str, ...] = field(default=())


class Method(ABC):
    """A traceability method. Its module defines exactly one concrete subclass."""

    name: ClassVar[str]

    @abstractmethod
    def judge(self, record: Record, weights: Weights, log10_rate: float) -> Judgement:
        """Judge a candidate's weights.

        Args:
            record: What the tracker kept.
            weights: The candidate's weights as the record's slots.
            log10_rate: The false-positive rate that ``significant`` refers to.

        Raises:
            UnreadableRecord: The record does not hold what the method needs.
        """


def method_names() -> list[str]:
    """Names of all methods: the files of this folder."""
    package = importlib.import_module("onnxnnw.methods")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base")


def find_method(name: str) -> Method:
    """A method by name.

    Raises:
        UnknownName: There is none; the message lists those there are.
    """
    if name not in method_names():
        raise UnknownName("method", name, method_names())
    module = importlib.import_module(f"onnxnnw.methods.{name}")
    found = [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, Method) and v.__module__ == module.__name__
    ]
    (method,) = found
    return method()
