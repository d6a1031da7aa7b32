"""report: a campaign's results as one page, and as files of tables and figures."""

from pathlib import Path

import typer

from onnxnnw.cli import show

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    results: Path = typer.Argument(help="The folder that evaluate wrote."),
    out: Path = typer.Option(..., "--output", "-o", help="Where the page goes."),
    tables: Path | None = typer.Option(None, "--tables", help="Folder for every table as Markdown, CSV and LaTeX."),
    figures: Path | None = typer.Option(None, "--figures", help="Folder for every figure as SVG and PNG."),
) -> None:
    """Set what a campaign measured beside what the standard publishes, on one page that needs nothing else.

    Example: onnxnnw report results/ -o report.html --tables tables/
    """
    from onnxnnw.report.writing import write_report

    done = write_report(results, out, tables, figures)
    print(show.visible(str(done.page)))
    show.pairs([("trials", f"{done.trials:,}"), ("tables", str(done.sheets)), ("figures", str(done.figures))])
    for sentence in (done.summary.subject, *done.summary.sentences):
        print(show.visible(sentence))
