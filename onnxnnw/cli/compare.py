"""compare: what two files share, layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onnxnnw.cli import show

if TYPE_CHECKING:
    from onnxnnw.comparison.compare import Comparison

__all__ = ["register"]

_COLOURS = {"unrelated": "red", "could not tell": "yellow"}
_SHOWN = 60


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(compare)


def compare(
    reference: str = typer.Argument(help="An ONNX file, or its address."),
    candidate: str = typer.Argument(help="Another one."),
    html: Path | None = typer.Option(None, "--html", help="Also write a page with both networks as strips of layers."),
    max_download: str = typer.Option("1GiB", help=show.DOWNLOAD_HELP),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Say what two networks share, layer by layer, with no record: exit 0 something, 1 nothing, 3 could not tell.

    Example: onnxnnw compare net.onnx suspect.onnx --html difference.html
    """
    from onnxnnw.comparison.compare import compare as compared
    from onnxnnw.network_file.writing import PAGE, refuse_place

    if html is not None:
        refuse_place(html, PAGE)
    with show.downloads(max_download):
        result = compared(reference, candidate)
    if html is not None:
        from onnxnnw.comparison.page import write_page

        write_page(result, html)
    if as_json:
        show.document(result.to_json())
    else:
        _show(result)
    return result.exit_code


def _show(result: "Comparison") -> None:
    typer.secho(result.relation, fg=_COLOURS.get(result.relation, "green"), bold=True, nl=False)
    print(show.visible(f"  {result.candidate} against {result.reference}: {result.sentence}"))
    rows = [("" if number else "in all", sentence) for number, sentence in enumerate(result.findings)]
    if result.orders is not None and result.orders.widths:
        rows.append(("orders", result.orders.sentence))
    show.pairs(rows)
    if any(layer.found_as for layer in result.layers):
        print()
        show.table(
            ["layer", "elements", "found as", "likeness", "what was done"],
            [
                [
                    layer.name[-44:],
                    f"{layer.elements:,}",
                    "=" if layer.found_as == layer.name else layer.found_as[-32:] or "–",
                    "" if layer.correlation is None else f"{layer.correlation:.4f}",
                    ", ".join(layer.done) or ("nothing" if layer.found_as else "not found"),
                ]
                for layer in result.layers[:_SHOWN]
            ],
            right=(1, 3),
        )
        if len(result.layers) > _SHOWN:
            print(f"… and {len(result.layers) - _SHOWN} more layers: --json or --html has them all")
    extra = sum(one.elements for one in result.extras)
    if result.extras and result.relation != "unrelated":
        names = ", ".join(one.name[-40:] for one in result.extras[:4])
        print(
            f"\nthe candidate has {len(result.extras)} weights of {extra:,} elements besides, such as {show.visible(names)}"
        )
    for problem in result.unread[:4]:
        typer.secho(f"warning: not read: {show.visible(problem)}", fg="yellow", err=True)
