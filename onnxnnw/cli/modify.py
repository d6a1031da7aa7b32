"""modify: apply one of the standard's Modifications, or a deployment tool, to an ONNX file."""

from pathlib import Path

import typer

from onnxnnw.cli import show

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(modify)


def _list(wanted: bool) -> None:
    if not wanted:
        return
    from onnxnnw.modifications import find_modification, modification_names
    from onnxnnw.parameters import describe

    for name in modification_names():
        kind = find_modification(name)
        print(f"{name}\n  {(kind.__doc__ or '').splitlines()[0]}")
        show.pairs([(f"  {parameter}", sentence) for parameter, sentence in describe(kind)])
    raise typer.Exit


def _names() -> list[str]:
    from onnxnnw.modifications import modification_names

    return modification_names()


def modify(
    context: typer.Context,
    model: Path = typer.Argument(help="An ONNX file; it is only read."),
    modification: str = typer.Argument(help="Its name; see --list.", autocompletion=_names),
    out: Path = typer.Option(..., "--output", "-o", help="Where to write the modified copy."),
    seed: int = typer.Option(0, min=0, help="Seed of everything random."),
    list_all: bool = typer.Option(
        False, "--list", callback=_list, is_eager=True, help="List the modifications with their parameters."
    ),
) -> None:
    """Write a modified copy of a network; the modification's own parameters follow its name.

    Example: onnxnnw modify net.onnx gaussian-noise --ratio 0.1 -o noisy.onnx
    """
    from onnxnnw.modifications import find_modification
    from onnxnnw.modifications.base import apply
    from onnxnnw.parameters import from_arguments

    kind = find_modification(modification)
    apply(from_arguments(kind, kind.name, context.args), model, out, seed)
