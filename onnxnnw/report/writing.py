"""Write the page of a folder of results, and on demand files of its tables and figures."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.errors import UsageError
from onnxnnw.network_file.writing import PAGE, refuse_place, write_whole
from onnxnnw.report.certificate import CheckedPage, certificate, check_page, read_page
from onnxnnw.report.figures.drawing import save_panel
from onnxnnw.report.figures.panels import affordable, all_figures
from onnxnnw.report.page.html import render_page
from onnxnnw.report.page.summary import Summary, summarise, trials_of
from onnxnnw.report.parts import joined
from onnxnnw.report.results import FILES, Results, read_results
from onnxnnw.report.tables import comma_separated, latex, markdown
from onnxnnw.report.tables.cost import cost_tables, environment_table
from onnxnnw.report.tables.false_positives import false_positive_table
from onnxnnw.report.tables.fingerprints import fingerprint_tables, sharing_tables
from onnxnnw.report.tables.measured_tables import count_tables, other_imperceptibility, other_robustness
from onnxnnw.report.tables.outlasting import outlasting_table
from onnxnnw.report.tables.standard_tables import standard_tables
from onnxnnw.report.tables.table import ReportTable

__all__ = ["Written", "all_tables", "check_report", "read_parts", "write_report"]

_RENDERERS: Mapping[str, Callable[[ReportTable], str]] = {
    ".md": markdown.render,
    ".csv": comma_separated.render,
    ".tex": latex.render,
}


@dataclass(frozen=True)
class Written:
    """The summary of a written report."""

    page: Path
    trials: int
    tables: int
    figures: int
    summary: Summary


def all_tables(results: Results) -> tuple[ReportTable, ...]:
    """The standard's tables, then everything beyond them."""
    standard = standard_tables(results)
    shown = trials_of(standard)
    return (
        *standard,
        *sharing_tables(results),
        *other_imperceptibility(results, shown),
        *other_robustness(results, shown),
        *count_tables(results),
        *fingerprint_tables(results),
        *outlasting_table(results),
        *false_positive_table(results),
        *cost_tables(results),
        environment_table(results),
    )


def read_parts(folders: Sequence[Path]) -> Results:
    """The results of all these folders together; see `onnxnnw.report.parts.joined`."""
    return joined([read_results(folder) for folder in folders])


def write_report(
    folders: Path | Sequence[Path], out: Path, tables: Path | None = None, figures: Path | None = None
) -> Written:
    """Write the report of a campaign, or of several on one page.

    Args:
        folders: What ``onnxnnw evaluate`` left.
        tables: Where every table goes as Markdown, CSV and LaTeX.
        figures: Where every figure goes as SVG and PNG.

    Raises:
        UsageError: There is no such folder, or the page would replace one of the results or a file that is no page.
        MissingData: There is no such folder, or it is incomplete.
        UnreadableData: A file in it is damaged, hostile, or of an unknown format.
        MissingExtra: matplotlib or jinja2 is not installed.
    """
    folders = [folders] if isinstance(folders, Path) else list(folders)
    if os.path.realpath(out) in {os.path.realpath(folder / name) for folder in folders for name in FILES}:
        raise UsageError(f"{out}: would replace the results; give the page another name")
    refuse_place(out, PAGE)
    results = read_parts(folders)
    report_tables = all_tables(results)
    drawn, undrawn = affordable(all_figures(results))
    summary = _summary_of(results, report_tables)
    page = render_page(results, summary, report_tables, drawn, undrawn, certificate(results, report_tables))
    if tables is not None:
        tables.mkdir(parents=True, exist_ok=True)
        for report_table in report_tables:
            for suffix, render in _RENDERERS.items():
                _write(tables / f"{report_table.id}{suffix}", render(report_table))
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        for panel in (panel for figure in drawn for panel in figure.panels):
            save_panel(panel, figures)
    _write(out, page)
    return Written(out, len(results.trials), len(report_tables), sum(len(figure.panels) for figure in drawn), summary)


def check_report(folders: Sequence[Path], page: Path) -> CheckedPage:
    """Make the page of these folders again, without its figures, and compare; the folders' order is the page's own.

    Raises:
        MissingData: There is no such folder, or it is incomplete.
        UnreadableData: A file in it is damaged, or the page is none of ours.
        MissingExtra: jinja2 is not installed.
    """
    said = read_page(page)
    order = {str(part.get("trials_sha256")): number for number, part in enumerate(said.parts)}
    parts = [read_results(folder) for folder in folders]
    results = joined(sorted(parts, key=lambda part: order.get(part.parts[0].digest, len(order))))
    tables = all_tables(results)
    drawn, undrawn = affordable(all_figures(results))
    own = certificate(results, tables)
    expected = render_page(results, _summary_of(results, tables), tables, drawn, undrawn, own, drawings=False)
    return check_page(said, own, expected)


def _summary_of(results: Results, tables: Sequence[ReportTable]) -> Summary:
    return summarise(results, [table for table in tables if table.number is not None])


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode("utf-8"))
