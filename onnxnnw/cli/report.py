"""report: results as one page and as files of tables and figures; count the measured cells; check a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxnnw.cli import show

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    results: Annotated[list[Path], typer.Argument(help="Folders that evaluate wrote; several make one page.")],
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Where the page goes.")] = None,
    tables: Annotated[
        Path | None, typer.Option("--tables", help="Folder for every table as Markdown, CSV and LaTeX.")
    ] = None,
    figures: Annotated[Path | None, typer.Option("--figures", help="Folder for every figure as SVG and PNG.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Count the standard's cells that were measured.")] = False,
    check: Annotated[
        Path | None, typer.Option("--check", help="Compute every number of this page again from the trials.")
    ] = None,
) -> None:
    """Set what campaigns measured beside what the standard publishes, on one page that needs nothing else.

    Example: onnxnnw report results/ -o report.html --tables tables/
    """
    from onnxnnw.errors import UsageError
    from onnxnnw.report.writing import write_report

    if out is None and not count and check is None:
        raise UsageError("give the page a place with -o, or ask for --count or --check")
    if out is None and (tables is not None or figures is not None):
        raise UsageError("--tables and --figures are written beside a page: give it a place with -o")
    if out is not None and check is not None:
        raise UsageError("-o writes a page and --check looks at one: ask for one of them")
    if out is not None:
        done = write_report(results, out, tables, figures)
        print(show.visible(str(done.page)))
        show.pairs([("trials", f"{done.trials:,}"), ("tables", str(done.tables)), ("figures", str(done.figures))])
        for sentence in (done.summary.subject, *done.summary.sentences):
            print(show.visible(sentence))
    if count:
        _count(results)
    if check is not None and not _check(results, check):
        raise typer.Exit(1)


def _count(folders: "Sequence[Path]") -> None:
    from onnxnnw.report.tables.cells_measured import cells_measured
    from onnxnnw.report.tables.standard_tables import standard_tables
    from onnxnnw.report.writing import read_parts

    cells = cells_measured(standard_tables(read_parts(folders)))
    show.pairs([(f"Table {c.number}", f"{c.measured:>3} of {c.published:>3}, {c.single} at M = D = 1") for c in cells])
    measured, single = sum(c.measured for c in cells), sum(c.single for c in cells)
    print(f"{measured} of {sum(c.published for c in cells)} cells measured, {single} of them at M = D = 1")


def _check(folders: "Sequence[Path]", page: Path) -> bool:
    from onnxnnw.report.writing import check_report

    found = check_report(folders, page)
    for sentence in found.sentences:
        print(show.visible(sentence))
    if found.same:
        print(
            f"all that the page shows but its figures follows from these trials: {found.numbers:,} numbers computed again"
        )
    return found.same
