"""Count, table by table, the standard's published figures that have a measured one beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from onnxnnw.report.tables.table import ReportTable, TableEntry
from onnxnnw.report.units import by_unit, key_of
from onnxnnw.standard.tables import TABLES

__all__ = ["CellCount", "cells_measured"]


@dataclass(frozen=True)
class CellCount:
    """Cells of one table.

    Attributes:
        published: Printed in the standard.
        measured: With something measured beside them.
        single: Of these, measured on one marked network only: M = D = 1.
    """

    number: int
    title: str
    published: int
    measured: int
    single: int


def cells_measured(tables: Iterable[ReportTable]) -> tuple[CellCount, ...]:
    """The standard's tables in the order of print."""
    found = []
    for table in tables:
        if table.number is None:
            continue
        rows = [row for group in table.groups for row in group.rows]
        measured: dict[int, bool] = {}
        for row in rows:
            for cell, single in _compared(row):
                measured[cell] = measured.get(cell, True) and single
        published = {id(entry.cell) for row in rows for entry in row if entry.cell is not None}
        title = TABLES[table.number].title
        found.append(CellCount(table.number, title, len(published), len(measured), sum(measured.values())))
    return tuple(found)


def _compared(row: Sequence[TableEntry]) -> Iterable[tuple[int, bool]]:
    """Published figures beside which a number was measured – the entry to the right says it – and whether of one network."""
    for left, right in pairwise(row):
        if left.cell is not None and right.role == "measured":
            yield id(left.cell), len(by_unit(right.trials, key_of)) <= 1
