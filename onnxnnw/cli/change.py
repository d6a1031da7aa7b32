"""modify: apply one of the standard's Modifications, or a deployment tool, to an ONNX file."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from onnxnnw.cli import show
from onnxnnw.errors import UsageError

if TYPE_CHECKING:
    from onnxnnw.modifications import Modification

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(modify)


def _list(wanted: bool) -> None:
    if not wanted:
        return
    from onnxnnw.modifications import find_modification, modification_names

    for name in modification_names():
        kind = find_modification(name)
        print(f"{name}\n  {(kind.__doc__ or '').splitlines()[0]}")
        show.pairs([(f"  --{f.name.replace('_', '-')}", _help_of(f)) for f in dataclasses.fields(kind)])  # type: ignore[arg-type]
    raise typer.Exit


def modify(
    context: typer.Context,
    model: Path = typer.Argument(help="An ONNX file; it is only read."),
    modification: str = typer.Argument(help="Its name; see --list."),
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

    apply(_built(find_modification(modification), context.args), model, out, seed)


def _built(kind: "type[Modification]", arguments: list[str]) -> "Modification":
    """A modification from ``--name value`` pairs.

    Raises:
        UsageError: An unknown, repeated, missing or malformed parameter; the message lists the known ones.
    """
    fields = {f"--{f.name.replace('_', '-')}": f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    known = ", ".join(fields) or "none"
    values: dict[str, Any] = {}
    rest = [part for argument in arguments for part in (argument.split("=", 1) if argument[:2] == "--" else [argument])]
    while rest:
        name = rest.pop(0)
        field = fields.get(name)
        if field is None or field.name in values:
            what = "is given twice" if field is not None else "is not one of its parameters"
            raise UsageError(f"{kind.name}: {name} {what}; they are: {known}")
        if not rest:
            raise UsageError(f"{kind.name}: {name} needs a value")
        values[field.name] = _converted(kind.name, name, field, rest.pop(0))
    missing = [n for n, f in fields.items() if f.name not in values and f.default is dataclasses.MISSING]
    if missing:
        raise UsageError(f"{kind.name} needs {', '.join(missing)}")
    return kind(**values)


def _converted(modification: str, name: str, field: "dataclasses.Field[Any]", text: str) -> Any:
    convert = {"int": int, "float": float, "Path": Path, "str": str}.get(_type_name(field))
    try:
        return convert(text) if convert is not None else text
    except ValueError:
        raise UsageError(f"{modification}: {name} takes a {_type_name(field)} number, not {text!r}") from None


def _type_name(field: "dataclasses.Field[Any]") -> str:
    text = field.type if isinstance(field.type, str) else field.type.__name__
    return text.partition(" | ")[0]


def _help_of(field: "dataclasses.Field[Any]") -> str:
    text = str(field.metadata.get("help", ""))
    return text if field.default is dataclasses.MISSING else f"{text} (default {field.default})"
