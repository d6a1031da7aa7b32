"""A table as Markdown."""

from onnxnnw.report.tables.table import Column, ReportTable, TableEntry

__all__ = ["render"]

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|~$"})


def render(table: ReportTable) -> str:
    """A heading, a table with one row of headings, and the sentences that belong to it."""
    titles = ["", *(_title(column) for column in table.columns)]
    rules = ["---", *("---:" if column.numeric else "---" for column in table.columns)]
    grouped = any(group.title for group in table.groups)
    lines = [_line(titles, grouped), _line(rules, grouped)]
    for group in table.groups:
        lines += [_line([_plain(group.title), *map(_cell, row)], grouped) for row in group.rows]
    sentences = [
        *(f"Cut down: {_plain(sentence)}" for sentence in table.cuts),
        *(f"Contradiction in the standard: {_plain(sentence)}" for sentence in table.flags),
        *map(_plain, table.notes),
    ]
    clause = f" (NNW-TEC {_plain(table.clause)})" if table.clause else ""
    return "\n".join([f"**{_plain(table.heading)}**{clause}", "", *lines, *(f"\n{s}" for s in sentences)]) + "\n"


def _line(cells: list[str], grouped: bool) -> str:
    return f"| {' | '.join(cells if grouped else cells[1:])} |"


def _title(column: Column) -> str:
    return _plain(": ".join(part for part in (column.over, column.title) if part)) or " "


def _cell(entry: TableEntry) -> str:
    text = _plain(entry.text)
    return f"{text} ± {entry.margin}" if entry.margin else text


def _plain(text: str) -> str:
    return text.translate(_SPECIAL)
