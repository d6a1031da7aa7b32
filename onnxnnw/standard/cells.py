"""A printed table of NNW-TEC V1.0 as data: its cells, each with the settings it was printed for."""

import builtins  # a field of Table is called property, as the standard calls what it is
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Cell", "Table", "robustness_cells"]


@dataclass(frozen=True)
class Cell:
    """One printed number.

    Attributes:
        network: The package's name of the network, as ``resnet8``; empty in Table 23, which names none.
        quantity: ``impact`` [Eq. 1, %], ``error`` [Eq. 2, %], ``corr``, ``ber``, ``percent`` (of the triggers), ``iterations``
            (of batches until the mark is inserted) or ``increase`` (of the time of one, in %).
        printed: The characters of the text, as ``01.7``.
        published: The parameters that the standard prints beside it: ``{"alpha": 0, "N": 512}``, ``{"lambda": .01}``,
            ``{"rho": 10}``; those that a clause fixes for a whole table are here too.
        value: S, E, B or P of the modification; None where nothing is modified.
        metric: What an impact or an error is of, by the name of the package's metric.
        method: ``nct``, ``rtw`` or ``tbw``.
    """

    network: str
    quantity: str
    printed: str
    published: Mapping[str, float]
    value: float | None = None
    metric: str = ""
    method: str = ""

    @property
    def number(self) -> float:
        """What is printed, as a number."""
        return float(self.printed)


@dataclass(frozen=True)
class Table:
    """One printed table; ``method`` is empty where a table compares methods, ``modification`` where nothing is modified.

    ``flags`` are the contradictions that touch it, a sentence each; ``property`` is one of the standard's three.
    """

    number: int
    clause: str
    title: str
    method: str
    property: str
    modification: str
    cells: tuple[Cell, ...]
    flags: tuple[str, ...] = ()

    @builtins.property
    def networks(self) -> tuple[str, ...]:
        """Networks in the order of print."""
        return tuple(dict.fromkeys(cell.network for cell in self.cells))

    @builtins.property
    def values(self) -> tuple[float, ...]:
        """Strengths of the modification in the order of print; empty where nothing is modified."""
        return tuple(dict.fromkeys(cell.value for cell in self.cells if cell.value is not None))

    def select(
        self,
        network: str | None = None,
        quantity: str | None = None,
        published: Mapping[str, float] | None = None,
        value: float | None = None,
    ) -> tuple[Cell, ...]:
        """Cells that agree with everything that is given; ``published`` may name some of the parameters only."""
        return tuple(
            cell
            for cell in self.cells
            if network in (None, cell.network)
            and quantity in (None, cell.quantity)
            and value in (None, cell.value)
            and (published or {}).items() <= cell.published.items()
        )


def robustness_cells(
    method: str, quantity: str, columns: Sequence[tuple[str, Mapping[str, float]]], printed: str
) -> Iterator[Cell]:
    """Cells of a robustness table: each row is a strength, then (``quantity``, error) for each (network, published) column."""
    for row in printed.strip().splitlines():
        value, *numbers = row.split()
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        for (network, published), (mark, error) in zip(columns, pairs, strict=True):
            yield Cell(network, quantity, mark, published, float(value), method=method)
            yield Cell(network, "error", error, published, float(value), "classification-error", method)
