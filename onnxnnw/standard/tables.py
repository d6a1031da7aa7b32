"""The tables of results of NNW-TEC V1.0, 2 to 23, and a lookup by number."""

from collections.abc import Mapping
from dataclasses import replace

from onnxnnw.standard import imperceptibility, robustness, usability
from onnxnnw.standard.cells import Cell, Table
from onnxnnw.standard.contradictions import flags
from onnxnnw.standard.grids import ALPHA

__all__ = ["TABLES", "Cell", "Table", "find_robustness", "printed_robustness"]

TABLES: Mapping[int, Table] = {
    table.number: replace(table, flags=flags(table.number))
    for table in sorted(
        (*imperceptibility.TABLES, *robustness.TABLES, *usability.TABLES), key=lambda table: table.number
    )
}
"""By number, in the order of print; Table 1 is ``grids.TASKS``."""


def find_robustness(method: str, network: str, modification: str) -> Table | None:
    """The table of this robustness; None where the standard prints none, as for Watermark Overwriting."""
    for table in TABLES.values():
        wanted = ("robustness", method, modification) == (table.property, table.method, table.modification)
        if wanted and network in table.networks:
            return table
    return None


def printed_robustness(
    method: str, network: str, modification: str, alpha: int = ALPHA[-1]
) -> Mapping[float, tuple[str, str]]:
    """(Mark, error) as printed, by the strength; empty where the standard prints none. ``alpha`` concerns NCT alone."""
    table = find_robustness(method, network, modification)
    if table is None:
        return {}
    at = {"alpha": alpha} if method == "nct" else {}
    cells = table.select(network, published=at)
    marks, errors = (
        {cell.value: cell.printed for cell in cells if (cell.quantity == "error") is wanted} for wanted in (False, True)
    )
    return {value: (marks[value], errors[value]) for value in table.values}
