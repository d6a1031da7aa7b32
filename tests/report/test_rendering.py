"""Markdown, CSV and LaTeX: well-formed, inert, and equal in their numbers."""

import csv
import io
import re

import pytest

from onnxnnw.report.tables import comma_separated, latex, markdown
from onnxnnw.report.tables.table import Column, ReportTable, RowGroup, TableEntry, label, missing, note
from onnxnnw.report.writing import all_tables

HOSTILE = r"=cmd|' /C calc'!A0 \input{/etc/passwd} <b>$x$</b> | a_b & 100% #1 {~^} `code` *x* [l](u)"
HOSTILE_TABLE = ReportTable(
    "hostile",
    "a chapter",
    HOSTILE,
    (Column(HOSTILE, numeric=False), Column("n", HOSTILE)),
    (
        RowGroup(
            HOSTILE,
            ((label(HOSTILE), TableEntry("-0.5", "measured", -0.5, "0.1", -0.6, -0.4)), (label("x"), note(HOSTILE))),
        ),
    ),
    cuts=(HOSTILE,),
    flags=(HOSTILE,),
    notes=(HOSTILE,),
)


@pytest.fixture(scope="module")
def tables(results) -> tuple[ReportTable, ...]:
    """All tables of the made campaign, and one that means harm."""
    return (*all_tables(results), HOSTILE_TABLE)


def markdown_cells(table: ReportTable) -> list[list[str]]:
    """The cells of a rendered table, its heading rows left out."""
    lines = [line for line in markdown.render(table).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in rows}) == 1, table.id
    assert set("".join(rows[1])) <= set("-:"), table.id
    return rows[2:]


def latex_rows(table: ReportTable) -> list[list[str]]:
    """The rows of a rendered table between the head and the last rule, group headings left out."""
    text = latex.render(table)
    body = text[text.index(r"\endhead") + len(r"\endhead") : text.index(r"\bottomrule")]
    lines = [line.removesuffix(r"\\").strip() for line in body.strip().splitlines() if line.strip()]
    assert all(line.endswith(r"\\") for line in body.strip().splitlines() if line.strip())
    return [re.split(r"(?<!\\) & ", line) for line in lines if not line.startswith(r"\multicolumn")]


def csv_rows(table: ReportTable) -> tuple[list[str], list[list[str]]]:
    """Head and rows."""
    head, *rows = csv.reader(io.StringIO(comma_separated.render(table)))
    assert {len(row) for row in rows} <= {len(head)}, table.id
    return head, rows


def number(text: str) -> float | None:
    """The number at the beginning of a cell."""
    found = re.match(r"-?[\d,]*\.?\d+", text.lstrip("'"))
    return float(found.group().replace(",", "")) if found else None


def test_all_forms_hold_the_same_numbers(tables):
    """Cell by cell, against the table itself."""
    for table in tables:
        entries = [[number(entry.text) for entry in row] for group in table.groups for row in group.rows]
        grouped = any(group.title for group in table.groups)
        as_markdown = [[number(cell) for cell in row][1 if grouped else 0 :] for row in markdown_cells(table)]
        as_latex = [[number(cell) for cell in row] for row in latex_rows(table)]
        head, rows = csv_rows(table)
        plain = [n for n, title in enumerate(head) if n and not title.endswith((" low", " high"))]
        as_csv = [[number(row[n]) for n in plain] for row in rows]
        if table is not HOSTILE_TABLE:
            assert as_markdown == entries, table.id
            assert as_latex == entries, table.id
            assert as_csv == entries, table.id
        assert [row[-1] for row in as_csv] == [row[-1] for row in entries] or table is HOSTILE_TABLE


def test_margins_and_limits_agree(tables):
    """Half the distance of the limits in the CSV is what stands behind ± in Markdown, up to its rounding."""
    checked = 0
    for table in tables:
        for entry in (entry for entry in table.entries if entry.margin):
            digits = len(entry.margin.partition(".")[2])
            assert abs((entry.high - entry.low) / 2 - float(entry.margin)) <= 0.51 * 10**-digits
            assert f"{entry.text} ± {entry.margin}" in markdown.render(table)
            checked += 1
    assert checked > 100


def test_every_sentence_is_said(tables):
    """Cuts and contradictions stand below their table."""
    for table in tables[:-1]:
        text = markdown.render(table).replace("\\", "")
        for sentence in (*table.cuts, *table.flags, *table.notes):
            assert sentence in text


def test_braces_and_environments_close(tables):
    """LaTeX: every opened brace and environment is closed, whatever a name says."""
    for table in tables:
        text = re.sub(r"^%.*$", "", latex.render(table), flags=re.MULTILINE)
        bare = re.sub(r"\\[\\{}]", "", text)
        assert bare.count("{") == bare.count("}"), table.id
        assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1


def test_hostile_names_are_text():
    """No command, no markup, no formula comes out of a name."""
    tex = latex.render(HOSTILE_TABLE).split("\n", 1)[1]
    assert r"\input" not in tex
    assert not re.search(r"(?<!\\)[#_&%$](?!\\)", re.sub(r"\$\\?[a-z]+\$|\$-\$", "", tex).replace(" & ", ""))
    down = markdown.render(HOSTILE_TABLE)
    assert "<b>" not in down
    assert not re.search(r"(?<!\\)[<`*\[]", down.replace("**", ""))
    _, rows = csv_rows(HOSTILE_TABLE)
    assert [row[1][0] for row in rows] == ["'", "x"]
    assert rows[0][2] == "-0.5"


def test_what_is_missing_says_so():
    """In all forms."""
    table = ReportTable(
        "one", "chapter", "One", (Column("a", numeric=False), Column("b")), (RowGroup("", ((label("x"), missing()),)),)
    )
    for render in (markdown.render, comma_separated.render, latex.render):
        assert "not measured in this campaign" in render(table)
