"""export: a reference network as ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from onnxnnw.cli.options import Name, Out, Seed, Size

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    network: Name,
    out: Out,
    size: Size = "reference",
    seed: Seed = 0,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Take the weights of this checkpoint of a training.")
    ] = None,
) -> None:
    """Write a reference network as ONNX, freshly initialised or as a training left it.

    Example: onnxnnw export resnet8 -o resnet8.onnx
    """
    from onnxnnw.training.networks import export_network, find_network

    export_network(find_network(network, size), out, seed, checkpoint)
    print(out)
