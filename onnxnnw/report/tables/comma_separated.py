"""A table as CSV: one row of headings, each measured number with its limits in columns of their own."""

import csv
import io

from onnxnnw.report.tables.table import Column, ReportTable

__all__ = ["render"]

_FORMULA = ("=", "+", "-", "@")


def render(table: ReportTable) -> str:
    """Numbers as shown in the other forms, with the confidence limits to six digits; words stay words."""
    limited = [_has_limits(table, place) for place in range(len(table.columns))]
    head = ["group"]
    for column, limits in zip(table.columns, limited, strict=True):
        title = _title(column)
        head += [title, f"{title} low", f"{title} high"] if limits else [title]
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow([_inert(text) for text in head])
    for group in table.groups:
        for row in group.rows:
            cells = [group.title]
            for entry, limits in zip(row, limited, strict=True):
                cells += [entry.text, _limit(entry.low), _limit(entry.high)] if limits else [entry.text]
            writer.writerow([_inert(text) for text in cells])
    return content.getvalue()


def _title(column: Column) -> str:
    return ": ".join(part for part in (column.over, column.title) if part)


def _has_limits(table: ReportTable, place: int) -> bool:
    return any(row[place].low is not None for group in table.groups for row in group.rows)


def _limit(limit: float | None) -> str:
    return "" if limit is None else f"{limit:.6g}"


def _inert(text: str) -> str:
    """Text that a spreadsheet would run as a formula gets an apostrophe; numbers do not look like that."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True
