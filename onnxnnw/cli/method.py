"""method: check a method against the contract of methods, and write the dossier that the standard asks for."""

from pathlib import Path
from typing import Annotated

import typer

from onnxnnw.cli import show

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(method)


def method(
    action: Annotated[str, typer.Argument(help="check")],
    name: Annotated[str, typer.Argument(help="A method, of this package or of another that is installed.")],
    keys: Annotated[int, typer.Option("--keys", min=1, help="Wrong keys that are asked.")] = 1000,
    network: Annotated[
        Path | None, typer.Option("--network", help="An unmarked network of 32×32 images; the shipped ResNet8.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Write the dossier, as Markdown.")] = None,
) -> None:
    """Try a method on an unmarked network, calibrate its p-values, and write the dossier of NNW-TEC 7.1.

    Example: onnxnnw method check rtw --keys 200 -o rtw.md
    """
    from onnxnnw.errors import UnknownName
    from onnxnnw.method_check import check_method
    from onnxnnw.network_file.writing import refuse_place, write_whole
    from onnxnnw.training.cards import model_file

    if action != "check":
        raise UnknownName("action", action, ["check"])
    if out is not None:
        refuse_place(out, text=True)
    found = check_method(name, network or model_file("resnet8"), keys)
    if out is not None:
        write_whole(out, found.to_markdown().encode())
    for law in found.laws:
        print(
            show.visible(f"{'kept  ' if law.kept else 'BROKEN'}  {law.sentence}{f': {law.came}' if law.came else ''}")
        )
    for level, hits, low, high in found.calibration.shares:
        print(
            f"p at most {100 * level:g} %: {hits} of {keys:,} wrong keys, 95 % limits {100 * low:.2f} to {100 * high:.2f} %"
        )
    if not found.kept:
        raise typer.Exit(1)
