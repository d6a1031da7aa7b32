"""Methods by name: the files of this folder, and what installed packages bring."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnknownName, UsageError
from onnxnnw.methods.base import FileInsertion, Insertion, Method

__all__ = [
    "file_insertion_names",
    "find_file_insertion",
    "find_insertion",
    "find_method",
    "insertion_names",
    "method_names",
]

_NO_METHODS = ("base", "control_reads", "discovery", "effects", "payload", "triggers")
"""Modules of this folder that methods share."""

NCT = "nct"
"""The method that ``embed`` itself writes."""

ENTRY_POINTS = "onnxnnw.methods"
"""Group of entry points by which other packages bring methods: a name, and a module as a file of this folder is one."""


def method_names() -> list[str]:
    """Names of all methods: the files of this folder, and what installed packages bring."""
    return sorted({*_own_names(), *_brought()})


def find_method(name: str) -> Method:
    """A method by name.

    Raises:
        UnknownName: There is none, or (UsageError) not in the package that says so; the message lists those there are.
    """
    (method,) = _classes(name, Method)
    return method()  # type: ignore[no-any-return]


def insertion_names() -> list[str]:
    """Names of the methods that are inserted in training."""
    return _names_with(Insertion)


def find_insertion(name: str) -> type[Insertion]:
    """How the method of this name is inserted in training; the dataclass's fields are its parameters.

    Raises:
        UnknownName: There is none; the message lists those there are.
    """
    found: type[Insertion] = _found(name, Insertion, "method that is inserted in training")
    return found


def file_insertion_names() -> list[str]:
    """Names of the methods that are written into a file; NCT is ``embed``'s own and not among them."""
    return _names_with(FileInsertion)


def find_file_insertion(name: str) -> type[FileInsertion]:
    """How the method of this name is written into a file; the dataclass's fields are its parameters.

    Raises:
        UnknownName: There is none; the message lists those there are.
        UsageError: The method marks a network in another way; the message names the command.
    """
    if name not in file_insertion_names():
        if name in insertion_names():
            raise UsageError(f"{name} is inserted while a network is trained: onnxnnw train NETWORK --method {name}")
        if name == NCT:
            raise UsageError(f"{name} is what embed writes by itself: leave out --method {name}")
    found: type[FileInsertion] = _found(name, FileInsertion, "method that is written into a file")
    return found


def _names_with(kind: type) -> list[str]:
    """Methods whose module defines a class of this kind."""
    own = [name for name in _own_names() if _classes(name, kind)]
    return sorted([*own, *(name for name in _brought() if _has(name, kind))])


def _found(name: str, kind: type, what: str) -> Any:
    if name not in _names_with(kind):
        raise UnknownName(what, name, _names_with(kind))
    (found,) = _classes(name, kind)
    return found


def _own_names() -> list[str]:
    return [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name not in _NO_METHODS]


@cache
def _brought() -> dict[str, str]:
    """Name -> module of the methods of other packages; none of these takes the name of one of ours."""
    from importlib.metadata import entry_points

    found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return {name: module for name, module in found.items() if name not in _own_names()}


def _has(name: str, kind: type) -> bool:
    try:
        return bool(_classes(name, kind))
    except UsageError:  # a broken package is named where its method is asked for, and hinders no other
        return False


def _module(name: str) -> Any:
    """The module of a method; packages are only looked through for what is none of ours."""
    if name in _own_names():
        return importlib.import_module(f"onnxnnw.methods.{name}")
    if name not in _brought():
        raise UnknownName("method", name, method_names())
    try:
        return importlib.import_module(_brought()[name])
    except (Exception, SystemExit) as error:  # of a stranger's code: whatever it raises
        raise UsageError(
            f"method {name}: the package that brings it cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _classes(name: str, kind: type) -> list[Any]:
    """The concrete subclasses that a method's file defines."""
    module = _module(name)
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    found = [v for v in own if issubclass(v, kind) and not getattr(v, "__abstractmethods__", None)]
    named = "name" if kind is Method else "method"
    if len(found) > 1 or (kind is Method and not found) or any(getattr(v, named, "") != name for v in found):
        raise UsageError(f"method {name}: {module.__name__} has to define one {kind.__name__} of the name {name!r}")
    return found
