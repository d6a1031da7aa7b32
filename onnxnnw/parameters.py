"""Dataclasses from user input: parameters of plug-ins on the command line, tables of a campaign's file.

Types are those that the fields are annotated with, and pydantic compares them strictly: no text becomes a number, no bool an int.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from onnxnnw.errors import UnknownName, UsageError, meant

__all__ = ["MAX_NUMBER", "between", "describe", "from_arguments", "from_table", "of_type", "parameter"]

Kind = TypeVar("Kind")
MAX_NUMBER = 2**31
"""Above it, a whole number is a slip, and a range of it has no end."""


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
    fields, hints = _fields(kind), get_type_hints(kind)
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
        values[field.name] = _converted(name, given, hints[field.name], rest.pop(0))
    missing = [n for n, f in fields.items() if f.name not in values and f.default is dataclasses.MISSING]
    if missing:
        raise UsageError(f"{name} needs {', '.join(missing)}")
    return kind(**values)


def from_table(kind: type[Kind], table: Any, where: str) -> Kind:
    """A dataclass from a table of named values, each of its field's type.

    Args:
        kind: A dataclass.
        table: What a file says.
        where: What it is called in errors.

    Raises:
        UnknownName: No field has this name; the message lists those there are.
        UsageError: No table, a value of another type, or a field without a value.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} is a table")
    unknown = next((name for name in table if name not in known), None)
    if unknown is not None:
        raise UnknownName(f"entry of {where}", unknown, known)
    hints = get_type_hints(kind)
    values = {name: of_type(hints[name], value, f"{where}: {name}") for name, value in table.items()}
    none = dataclasses.MISSING
    missing = [n for n, f in known.items() if n not in values and f.default is none and f.default_factory is none]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)}")
    return kind(**values)


def of_type(hint: Any, value: Any, where: str) -> Any:
    """A value, refused where it is of another type; lists, and single values where a list may stand, become tuples.

    Raises:
        UsageError: It is, or a whole number that is too large, or no finite number.
    """
    value = _with_tuples(hint, value)
    try:
        _adapter(hint).validate_python(value)
    except (ValueError, RecursionError):
        raise UsageError(f"{where} is {_in_words(hint)}, not {str(value)[:200]!r}") from None
    if not _is_bounded(value):
        raise UsageError(f"{where} holds a whole number beyond {MAX_NUMBER:,}")
    return value


@cache
def _adapter(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True))


def _with_tuples(hint: Any, value: Any) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is tuple and not isinstance(value, tuple):
        return tuple(value) if isinstance(value, list) else (value,)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {name: _with_tuples(parts[1], one) for name, one in value.items()}
    return value


def _is_bounded(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_bounded, value))
    if isinstance(value, Mapping):
        return all(map(_is_bounded, value.values()))
    return not isinstance(value, int) or abs(value) < MAX_NUMBER


def _in_words(hint: Any) -> str:
    """A type as a sentence names it: ``an int``, ``a list of float values``."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_in_words(part) for part in parts if part is not NoneType)
    if origin is tuple:
        numbers = " or ".join(part.__name__ for part in get_args(parts[0]) or (parts[0],))
        return f"a list of {numbers} values"
    if origin is not None or not isinstance(hint, type):
        return "a table of parameters with lists of values"
    return f"{'an' if hint.__name__[0] in 'aeio' else 'a'} {hint.__name__}"


def _fields(kind: type) -> "dict[str, dataclasses.Field[Any]]":
    return {f"--{f.name.replace('_', '-')}": f for f in dataclasses.fields(kind)}


def _converted(name: str, given: str, hint: Any, text: str) -> Any:
    """A word of the command line as the first of its parameter's types."""
    first = next((part for part in get_args(hint) if part is not NoneType), hint)
    try:
        return first(text) if first in (int, float) else text
    except ValueError:
        raise UsageError(f"{name}: {given} takes {_in_words(first)}, not {text!r}") from None


def _help_of(field: "dataclasses.Field[Any]") -> str:
    text = str(field.metadata.get("help", ""))
    return text if field.default in (dataclasses.MISSING, "") else f"{text} (default {field.default})"
