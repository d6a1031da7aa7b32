"""The errata sheet has every contradiction that the code knows, in the same words, and what it says of tables is printed there."""

from pathlib import Path

from onnxnnw.standard.contradictions import CONTRADICTIONS
from onnxnnw.standard.tables import TABLES

SHEET = (Path(__file__).parents[2] / "docs" / "reference" / "errata.md").read_text("utf-8")


def errors(table: int, value: float) -> dict[float, str]:
    """α -> the printed error of a row."""
    return {cell.published["alpha"]: cell.printed for cell in TABLES[table].select(quantity="error", value=value)}


def test_every_contradiction_stands_in_the_sheet_with_a_wording():
    for found in CONTRADICTIONS:
        (row,) = [line for line in SHEET.splitlines() if f"| {found.where} | {found.contradiction} |" in line]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 5
        assert all(cells)
        assert cells[-1] == found.choice


def test_table_8_prints_one_row_of_errors_twice():
    assert errors(8, 4.0) == errors(8, 2.0)
    assert all(printed in SHEET for printed in errors(8, 4.0).values())


def test_the_outliers_of_tables_5_and_9_are_those_named():
    for table, value in ((5, 0.5), (5, 1.0), (9, 2.0)):
        printed = errors(table, value)
        others = [float(text) for alpha, text in printed.items() if alpha != 50]
        assert float(printed[50]) < 0.6 * min(others)
        assert printed[50] in SHEET


def test_table_10_keeps_less_where_less_is_cut():
    kept = {cell.value: cell.number for cell in TABLES[10].select(quantity="corr", published={"alpha": 5})}
    assert kept[10.0] < kept[90.0]
