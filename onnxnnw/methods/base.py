"""The interface of traceability methods: judging a candidate, and inserting a mark in training."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxnnw.graph.slot_view import SlotView
from onnxnnw.records.record import Record
from onnxnnw.statistics import Association, Correlations

__all__ = [
    "NO_READS",
    "Candidate",
    "Decoded",
    "FileInsertion",
    "Hooks",
    "Insertion",
    "InsertionDraft",
    "Judgement",
    "Method",
    "ReadTogether",
    "Reads",
    "Standard",
    "Subject",
    "View",
    "Weights",
]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


class Weights(Protocol):
    """A candidate's weights, addressed as the record's slots; None where a slot has no counterpart."""

    def has(self, slot: int) -> bool:
        """Whether the record's slot has a counterpart."""

    def values(self, slot: int, positions: Positions) -> Floats | None:
        """Values at flat canonical positions of the record's slot."""

    def array(self, slot: int) -> NDArray[Any] | None:
        """All values of the record's slot, (rows, row_size)."""

    def row_scales(self, slot: int) -> Floats | None:
        """Scale (root mean square) of every out-row of the record's slot; None where only raw values are read."""

    def share(self, slots: Sequence[int]) -> float:
        """Share of the candidate's live weights that stands in the counterparts of these slots."""


@dataclass(frozen=True)
class View:
    """One view of a fingerprint: control-corrected values of candidate and enrolment, and their association, not yet paid for.

    Attributes:
        association: None where it is still to be reckoned.
    """

    found: Floats
    enrolled: Floats
    association: Association | None = None


@dataclass(frozen=True)
class ReadTogether:
    """What was read of a fingerprint, and reckoned, together with those of other records.

    Attributes:
        raw: What stands at the positions; NaN where nothing was read.
        views: Raw values, then those in units of their rows where these are known.
        correlations: Of ``raw`` with what was enrolled.
    """

    raw: Floats
    views: "tuple[View, ...]"
    correlations: Correlations


@dataclass(frozen=True)
class Candidate:
    """What a method may use to judge a candidate.

    Attributes:
        weights: The weights, for methods that read them (white box).
        anchors: What the record's anchors were, and what stands there now; never part of a mark.
        predict: Inputs -> outputs, N first, for methods that ask questions (black box): an ONNX file here, anything that
            answers elsewhere.
        together: What was read of a fingerprint together with others'; None where it is still to be read.
    """

    weights: Weights
    anchors: "Callable[[], Reads]"
    predict: Callable[[NDArray[Any]], NDArray[Any]]
    together: "ReadTogether | None" = None


@dataclass(frozen=True)
class Reads:
    """Weights with a known original, for the findings.

    Attributes:
        slots: Slot number of each position.
        positions: Flat canonical position in the slot.
        enrolled: What was kept: the Original Traceability Data, or anchors.
        found: What the candidate holds there; NaN where it could not be read.
    """

    slots: Positions
    positions: Positions
    enrolled: Floats
    found: Floats


NO_READS = Reads(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
"""Of a method that asks and reads no weights."""


@dataclass(frozen=True)
class Standard:
    """The standard's own decision; nominal, see docs/reference/statistics.md.

    Attributes:
        retrieved: What the standard's rule says.
        values: The numbers that it rests on, by name.
        sentence: The same for people.
    """

    retrieved: bool
    values: Mapping[str, float]
    sentence: str


@dataclass(frozen=True)
class Decoded:
    """The Payload as the candidate carries it [NNW-TEC 3, "Decoding"].

    Attributes:
        text: As decoded, damaged as it may be.
        expected: As inserted.
        errors: Symbols that differ.
        symbols: Symbols in the payload.
    """

    text: str
    expected: str
    errors: int
    symbols: int


@dataclass(frozen=True)
class Judgement:
    """What a method says of a candidate.

    Attributes:
        association: Strength of the evidence, the number of views already paid for in its p-value.
        significant: Whether the method's own conditions for ``traced`` hold at the rate (p-value, effect, robustness).
        standard: The standard's own decision.
        reads: For the findings.
        unit: What the mark consists of: positions, bits or triggers.
        symbols: How many of them.
        read: How many could be read.
        absent: How many could not be read because nothing in the candidate corresponds to their slot.
        payload: What was decoded, for methods that carry a Payload.
        shared_slots: Slots that are (nearly) identical and were not allowed to carry the verdict alone.
        notes: Sentences for people.
        required: Symbols that must be read before "not traced" may be said of this candidate; None for the method's own number.
    """

    association: Association
    significant: bool
    standard: Standard
    reads: Reads
    unit: str
    symbols: int
    read: int
    absent: int
    payload: Decoded | None = None
    shared_slots: int = 0
    notes: tuple[str, ...] = field(default=())
    required: int | None = None


class Method(ABC):
    """A traceability method. Its module defines exactly one concrete subclass.

    Attributes:
        name: As records and the command line have it.
        reads_weights: Whether the verdict rests on weights, so that it matters which slot is which.
    """

    name: ClassVar[str]
    reads_weights: ClassVar[bool] = True

    @abstractmethod
    def judge(self, record: Record, candidate: Candidate, log10_rate: float) -> Judgement:
        """Judge a candidate.

        Args:
            record: What the tracker kept.
            candidate: Its weights as the record's slots, and its answers.
            log10_rate: The false-positive rate that ``significant`` refers to.

        Raises:
            UnreadableRecord: The record does not hold what the method needs.
        """

    @abstractmethod
    def required(self, record: Record, false_positive_rate: float) -> int:
        """How many Symbols must be read, or known to be absent, before "not traced" may be said: 95 % power.

        Raises:
            UsageError: The rate is not between 0 and 1.
        """


@dataclass(frozen=True)
class Subject:
    """The network that is about to be trained and marked.

    Attributes:
        view: Its slots, from an export of its initial weights.
        inputs: One training batch's shape without the number of samples: channels, height, width.
        targets: The same of its targets; empty where a target is one number.
        classes: Number of classes that an answer chooses from; None where answers are images.
        mean, deviation: Per channel: inputs are (pixel / 255 - mean) / deviation, and so are images that are answered.
    """

    view: SlotView
    inputs: tuple[int, ...]
    targets: tuple[int, ...]
    classes: int | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class InsertionDraft:
    """What a method puts into the bound part of a record before the training begins."""

    parameters: Mapping[str, int | str]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hooks:
    """What runs beside a training; each may be absent.

    Attributes:
        at_epoch: Called with the running module and the number of finished epochs: before the first with 0, after the last too.
        penalty: Module -> scalar tensor, differentiable in the module's parameters, that is added to each batch's loss.
        extra: Generator -> inputs and targets that are joined to each batch.
        after_batch: Called with the running module and the number of updates after each; it changes nothing, and its time
            does not count.
        correct: Module -> share of the Symbols that are right in it.
    """

    at_epoch: Callable[[Any, int], None] | None = None
    penalty: Callable[[Any], Any] | None = None
    extra: "Callable[[np.random.Generator], tuple[NDArray[Any], NDArray[Any]]] | None" = None  # NumPy imports it late
    after_batch: Callable[[Any, int], None] | None = None
    correct: Callable[[Any], float] | None = None


class Insertion(ABC):
    """How a method marks a network while it is trained; concrete classes are frozen dataclasses.

    Their fields are the parameters that the command line offers, each made by ``parameters.parameter``.
    """

    method: ClassVar[str]

    @abstractmethod
    def draft(self, subject: Subject) -> InsertionDraft:
        """The parameters and arrays that the bound part of the record gets.

        Raises:
            UsageError: The mark does not fit the network, or not its parameters.
        """

    @abstractmethod
    def hooks(self, record: Record, subject: Subject) -> Hooks:
        """The hooks of the training, derived from the drafted record and its key."""


class FileInsertion(ABC):
    """How a method marks a finished network in its file, without training; concrete classes are frozen dataclasses.

    Their fields are the parameters that ``embed --method`` offers, each made by ``parameters.parameter``. In a training the same
    mark is written into the running network at one moment [NNW-TEC 7.2.3, alpha].
    """

    method: ClassVar[str]

    @abstractmethod
    def draft(self, view: SlotView) -> InsertionDraft:
        """The parameters and arrays that the bound part of the record gets.

        Args:
            view: The slots of the network; those that are ``read_only`` cannot be written.

        Raises:
            UsageError: The mark does not fit the network, or not its parameters.
        """

    @abstractmethod
    def values(self, record: Record, view: SlotView) -> Mapping[int, tuple[Positions, Floats]]:
        """What is written where: number of the slot -> flat canonical positions, and a value for each.

        A pure function of the drafted record and the network before the mark; ``records.positions.anchors_of(record)`` stay as
        they are, because they serve to find the slots again.
        """
