"""A folder of results becomes a page, and on demand files of tables and figures: compute once, render many."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.errors import UsageError
from onnxnnw.network_file.writing import write_whole
from onnxnnw.report.certificate import certificate
from onnxnnw.report.figures.drawing import save_panel
from onnxnnw.report.figures.panels import affordable, plates
from onnxnnw.report.page.html import render_page
from onnxnnw.report.page.summary import Summary, summarise, trials_of
from onnxnnw.report.parts import joined
from onnxnnw.report.results import FILES, Results, read_results
from onnxnnw.report.tables import comma_separated, latex, markdown
from onnxnnw.report.tables.cost import cost_sheets, environment_sheet
from onnxnnw.report.tables.false_positives import false_positive_sheet
from onnxnnw.report.tables.fingerprints import fingerprint_sheets, sharing_sheets
from onnxnnw.report.tables.measured_tables import count_sheets, other_imperceptibility, other_robustness
from onnxnnw.report.tables.outlasting import outlasting_sheet
from onnxnnw.report.tables.standard_tables import standard_sheets
from onnxnnw.report.tables.table import Sheet

__all__ = ["Written", "all_sheets", "read_parts", "write_report"]

_RENDERERS: Mapping[str, Callable[[Sheet], str]] = {
    ".md": markdown.render,
    ".csv": comma_separated.render,
    ".tex": latex.render,
}


@dataclass(frozen=True)
class Written:
    """What was made of how many trials."""

    page: Path
    trials: int
    sheets: int
    figures: int
    summary: Summary


def all_sheets(results: Results) -> tuple[Sheet, ...]:
    """The standard's tables, then everything beyond them."""
    standard = standard_sheets(results)
    shown = trials_of(standard)
    return (
        *standard,
        *sharing_sheets(results),
        *other_imperceptibility(results, shown),
        *other_robustness(results, shown),
        *count_sheets(results),
        *fingerprint_sheets(results),
        *outlasting_sheet(results),
        *false_positive_sheet(results),
        *cost_sheets(results),
        environment_sheet(results),
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
        UsageError: The page would replace one of the results.
        MissingData: There is no such folder, or it is incomplete.
        UnreadableData: A file in it is damaged, hostile, or of an unknown format.
        MissingExtra: matplotlib or jinja2 is not installed.
    """
    folders = [folders] if isinstance(folders, Path) else list(folders)
    if os.path.realpath(out) in {os.path.realpath(folder / name) for folder in folders for name in FILES}:
        raise UsageError(f"{out}: would replace the results; give the page another name")
    results = read_parts(folders)
    sheets = all_sheets(results)
    drawn, undrawn = affordable(plates(results))
    summary = summarise(results, [sheet for sheet in sheets if sheet.number is not None])
    page = render_page(results, summary, sheets, drawn, undrawn, certificate(results, sheets))
    if tables is not None:
        tables.mkdir(parents=True, exist_ok=True)
        for sheet in sheets:
            for suffix, render in _RENDERERS.items():
                _write(tables / f"{sheet.id}{suffix}", render(sheet))
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        for panel in (panel for plate in drawn for panel in plate.panels):
            save_panel(panel, figures)
    _write(out, page)
    return Written(out, len(results.trials), len(sheets), sum(len(plate.panels) for plate in drawn), summary)


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode("utf-8"))
