"""The account of a network: what is stored in it, and how much of that is read as weights.

Everything stored is exactly one of

- **weight**: a slot reads it;
- **parameter**: a bias, a normalisation's numbers, slopes, scales of a quantisation: one number per channel;
- **structural**: shapes, axes, places, numbers that steer operators, tables that follow a formula, words of a vocabulary;
- **not understood**: an operator, input or attribute of which nothing is known, or a constant that is too large for its place;
- **doubtful**: an output depends on it only through factors of (nearly) nothing;
- **dead**: no output can depend on it;

and beside it stands what is **given** at run time where a weight would stand. What is read counts by element, what is not read in
bytes, each byte an element: a whole layer fits into one string.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxnnw.accounting.amounts import UNKNOWN
from onnxnnw.constants.arrays import Constant

__all__ = ["GROWTH", "KINDS", "Account", "AccountLine", "Needed", "Parameter"]

KINDS = ("weight", "parameter", "structural", "not understood", "doubtful", "dead", "given")


@dataclass(frozen=True)
class AccountLine:
    """One line of the account: something stored that is not understood, doubtful, dead or given at run time.

    Attributes:
        kind: One of ``KINDS``.
        name: Of the stored tensor, or of the attribute.
        operator: That reads it, with the number of the input.
        reason: Why it is of this kind.
        amount: Elements, or bytes where it is not read.
    """

    kind: str
    name: str
    operator: str
    reason: str
    amount: int


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter as it reaches an operator.

    Attributes:
        name: Of the stored tensor at its root.
        constant: Its numbers.
        role: ``BatchNormalization.1``: the operator, and the number of the input.
        value: Its value in the flow.
    """

    name: str
    constant: Constant
    role: str
    value: int


_PER_CHANNEL, _PER_NODE = 6, 16
"""A bias, a normalisation's four numbers and a slope; starts, ends, axes and steps of four axes."""

GROWTH = 1.1
"""Parameters and structural constants that a network may have, over those it was enrolled with: exporters add some."""

_FREE, _BYTES = 256, 4


@dataclass(frozen=True)
class Needed:
    """What there is of numbers that need not be weights, and what a network of this build needs of them.

    Attributes:
        parameters: Elements of parameters that stand beside weights, without the scales inside them.
        steering: Elements of structural constants, each small enough for its place.
        channels: Of all weights together.
        nodes: That an output may depend on.
        tables: Elements of tables from which a weight may be computed while the network runs.
    """

    parameters: int = 0
    steering: int = 0
    channels: int = 0
    nodes: int = 0
    tables: int = 0


@dataclass(frozen=True)
class Account:
    """What is stored in a network, by kind.

    Attributes:
        amounts: Elements (bytes of what is not read) of each kind.
        entries: See ``AccountLine``; at most 10,000.
        parameters: Parameters of two elements and more, in the order of the nodes.
        needed: How many of them a network of this build needs.
    """

    amounts: dict[str, int]
    entries: list[AccountLine] = field(repr=False)
    parameters: list[Parameter] = field(repr=False)
    needed: Needed = Needed()

    @property
    def weight(self) -> int:
        """Elements of weights."""
        return self.amounts["weight"]

    @property
    def parameter(self) -> int:
        """Elements of parameters."""
        return self.amounts["parameter"]

    @property
    def structural(self) -> int:
        """Elements of shapes, axes, indices and computed tables."""
        return self.amounts["structural"]

    @property
    def not_understood(self) -> int:
        """Bytes of what is not understood."""
        return self.amounts["not understood"]

    @property
    def doubtful(self) -> int:
        """Elements (bytes) of what is doubtful."""
        return self.amounts["doubtful"]

    @property
    def dead(self) -> int:
        """Elements of what no output can depend on."""
        return self.amounts["dead"]

    @property
    def given(self) -> int:
        """Elements of weights that the caller supplies at run time."""
        return self.amounts["given"]

    @property
    def stored(self) -> int:
        """Everything stored."""
        return sum(self.amounts.values()) - self.given

    @property
    def total(self) -> int:
        """What a record has to explain: everything but structure and dead tensors."""
        return self.stored + min(self.given, UNKNOWN) - self.structural - self.dead

    @property
    def hidden(self) -> int:
        """Bytes that could hold a weight that was not read."""
        return self.not_understood + self.doubtful + self.given

    def surplus(self, kept: Mapping[str, int]) -> int:
        """Bytes of parameters and structural constants beyond what channels and operators need, and of tables made into weights.

        A weight that is cut small fits into the former.

        Args:
            kept: Elements of each kind that the network was enrolled with, or that another has.
        """
        own = self.needed
        parameters = max(_PER_CHANNEL * own.channels, round(GROWTH * kept.get("parameter", 0))) + _FREE
        steering = max(_PER_NODE * own.nodes, round(GROWTH * kept.get("structural", 0))) + _FREE
        return _BYTES * (max(0, own.parameters - parameters) + max(0, own.steering - steering) + own.tables)

    def unread(self) -> list[AccountLine]:
        """What is not understood, or given at run time; largest first."""
        return sorted(
            (e for e in self.entries if e.kind in ("not understood", "given")), key=lambda entry: -entry.amount
        )

    @property
    def unseen(self) -> float:
        """Share of ``total`` that is not understood."""
        return self.not_understood / max(1, self.total)
