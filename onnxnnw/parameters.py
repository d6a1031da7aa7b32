"""Parameters of plug-ins: dataclass fields with a help sentence, offered as ``--name value`` on the command line."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

from onnxnnw.errors import UsageError, meant

__all__ = ["between", "describe", "from_arguments", "parameter", "type_name"]

Kind = TypeVar("Kind")


def parameter(help: str, default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field with the sentence that the command line shows."""
    return dataclasses.field(default=default, metadata={"help": help})


def between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a parameter outside ``low`` … ``high`` or not finite.

    Raises:
        UsageError: It is.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{name} lies between {low:g} and {high:g}, not at {value:g}")


def describe(kind: type) -> list[tuple[str, str]]:
    """Each parameter as ``--name`` with its sentence and default."""
    return [(name, _help_of(field)) for name, field in _fields(kind).items()]


def from_arguments(kind: type[Kind], name: str, arguments: Sequence[str]) -> Kind:
    """A plug-in from ``--name value`` pairs.

    Args:
        kind: A dataclass.
        name: What it is called in errors.
        arguments: As they stand on the command line; ``--name=value`` works too.

    Raises:
        UsageError: An unknown, repeated, missing or malformed parameter; the message lists the known ones.
    """
    fields = _fields(kind)
    known = ", ".join(fields) or "none"
    values: dict[str, Any] = {}
    rest = [part for argument in arguments for part in (argument.split("=", 1) if argument[:2] == "--" else [argument])]
    while rest:
        given = rest.pop(0)
        field = fields.get(given)
        if field is None or field.name in values:
            what = "is given twice" if field is not None else "is not one of its parameters"
            raise UsageError(f"{name}: {given} {what}; they are: {known}{meant(given, fields)}")
        if not rest:
            raise UsageError(f"{name}: {given} needs a value")
        values[field.name] = _converted(name, given, field, rest.pop(0))
    missing = [n for n, f in fields.items() if f.name not in values and f.default is dataclasses.MISSING]
    if missing:
        raise UsageError(f"{name} needs {', '.join(missing)}")
    return kind(**values)


def type_name(field: "dataclasses.Field[Any]") -> str:
    """The type of a dataclass field as it is written, the first where there are several: ``"int"``."""
    text = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    return text.partition(" | ")[0]


def _fields(kind: type) -> "dict[str, dataclasses.Field[Any]]":
    return {f"--{f.name.replace('_', '-')}": f for f in dataclasses.fields(kind)}


def _converted(name: str, given: str, field: "dataclasses.Field[Any]", text: str) -> Any:
    convert = {"int": int, "float": float}.get(type_name(field))
    try:
        return convert(text) if convert is not None else text
    except ValueError:
        raise UsageError(f"{name}: {given} takes a {type_name(field)} number, not {text!r}") from None


def _help_of(field: "dataclasses.Field[Any]") -> str:
    text = str(field.metadata.get("help", ""))
    return text if field.default in (dataclasses.MISSING, "") else f"{text} (default {field.default})"
