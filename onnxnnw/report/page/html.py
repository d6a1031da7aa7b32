"""Results as one self-contained HTML page: no network, no other file, and names are always shown as text."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from typing import Any

from onnxnnw.errors import MissingExtra
from onnxnnw.report.certificate import NO_DRAWING
from onnxnnw.report.figures.drawing import inline_svg
from onnxnnw.report.figures.panels import ReportFigure
from onnxnnw.report.page.provenance import TrialIndex
from onnxnnw.report.page.summary import Summary
from onnxnnw.report.results import Results
from onnxnnw.report.settings import method_name
from onnxnnw.report.tables.table import NOT_MEASURED, ReportTable, RowGroup, TableEntry
from onnxnnw.standard.contradictions import CONTRADICTIONS

__all__ = ["Chapter", "chapters", "render_page"]

_TITLES: Mapping[str, str] = {
    "outlasting": "Does the mark outlive the network?",
    "fingerprints": "Fingerprints: unicity and search",
    "false positives": "Networks without the mark",
    "samples": "Samples of the standard (Tables 22 and 23)",
    "cost": "Computational cost",
}
SHORTLY = {NOT_MEASURED: "not measured"}
_FIRST = ("nct watermark", "rtw watermark", "tbw watermark")


@dataclass(frozen=True)
class Chapter:
    """A heading with the figures and tables under it."""

    id: str
    title: str
    figures: tuple[ReportFigure, ...]
    tables: tuple[ReportTable, ...]

    @property
    def measured(self) -> tuple[ReportTable, ...]:
        """Tables with something measured in them, and those that never compare."""
        return tuple(table for table in self.tables if table.measured or table.number is None)

    @property
    def blocks(self) -> tuple[tuple[tuple[ReportFigure, ...], tuple[ReportTable, ...]], ...]:
        """Figures and tables, topic by topic in the order of the tables."""
        topics = dict.fromkeys([s.topic for s in self.measured] + [p.topic for p in self.figures])
        return tuple(
            (
                tuple(figure for figure in self.figures if figure.topic == topic),
                tuple(table for table in self.measured if table.topic == topic),
            )
            for topic in topics
        )

    @property
    def published_only(self) -> tuple[ReportTable, ...]:
        """Tables of the standard of which the campaign measured nothing."""
        return tuple(table for table in self.tables if not table.measured and table.number is not None)


def chapters(tables: Sequence[ReportTable], figures: Sequence[ReportFigure]) -> tuple[Chapter, ...]:
    """Tables and figures under their headings: the standard's methods, other methods, then what concerns all.

    Chapters of which nothing was measured are left out, unless nothing was measured at all.
    """
    names = [
        name for name in dict.fromkeys([s.chapter for s in tables] + [p.chapter for p in figures]) if name != "summary"
    ]
    methods = [name for name in names if name not in _TITLES]
    order = [*(n for n in _FIRST if n in methods), *(n for n in methods if n not in _FIRST)]
    every = tuple(
        Chapter(
            f"chapter-{number}",
            _TITLES.get(name) or method_name(*name.rsplit(" ", 1)),
            tuple(figure for figure in figures if figure.chapter == name),
            tuple(table for table in tables if table.chapter == name),
        )
        for number, name in enumerate([*order, *(name for name in _TITLES if name in names)], 1)
    )
    return tuple(chapter for chapter in every if chapter.measured or chapter.figures) or every


def render_page(
    results: Results,
    summary: Summary,
    tables: Sequence[ReportTable],
    figures: Sequence[ReportFigure],
    undrawn: int = 0,
    certificate: Mapping[str, Any] | None = None,
    drawings: bool = True,
) -> str:
    """The page as text.

    Args:
        undrawn: Drawings that were left out, which the page says.
        certificate: What the page carries so that it can be checked.
        drawings: Whether figures are drawn; otherwise empty ones stand in their places.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "jinja2", "report") from error
    trial_index = TrialIndex()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["trials"] = trial_index.number
    environment.filters["svg"] = lambda panel: Markup(inline_svg(panel).strip() if drawings else NO_DRAWING)
    script, style = _template("page.js"), _template("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    body = environment.from_string(_template("body.html")).render(
        results=results,
        summary=summary,
        undrawn=undrawn,
        chapters=chapters(tables, figures),
        overview=[figure for figure in figures if figure.chapter == "summary"],
        contradictions=CONTRADICTIONS,
        header_of=header_of,
        wordy=wordy,
        rows_of=lambda table: sum(len(group.rows) for group in table.groups),
    )
    data = trial_index.to_json().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return environment.from_string(_template("page.html")).render(
        title=f"Evaluation {results.name}{f', {results.date}' if results.date else ''}",
        certificate=json.dumps(certificate or {}, ensure_ascii=True, separators=(",", ":")),
        policy=(
            f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ),
        style=Markup(style),
        script=Markup(script),
        body=Markup(body),
        data=Markup(data),
    )


def header_of(table: ReportTable) -> Mapping[str, Any]:
    """Rows of a table's head: ``over`` as (text, columns) where neighbours share a heading, and whether there is any."""
    over = [(name, len(list(inner))) for name, inner in groupby(table.columns, key=lambda column: column.over)]
    return {"over": over, "two": any(name for name, _ in over)}


def wordy(table: ReportTable, group: RowGroup, row: Sequence[TableEntry]) -> Sequence[str]:
    """What each missing cell says: words once for a row, or for its whole group in the group's heading; dashes then."""
    said = bool(group.title) and not group.measured and table.number is not None
    partly = any(entry.role == "measured" for entry in row)
    words = []
    for entry in row:
        text = SHORTLY.get(entry.text, entry.text) if entry.role == "missing" else ""
        words.append("" if said and entry.text in SHORTLY else text)
        said = said or (entry.role == "missing" and not partly)
    return words


def _template(name: str) -> str:
    return resources.files("onnxnnw.report.page").joinpath("templates", name).read_text("utf-8")
