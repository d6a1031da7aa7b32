"""Every error that the package raises on purpose.

    TraceabilityError
    ├── UsageError              the request itself is wrong                     exit 2
    │   └── UnknownName         no such modification, method, network …         exit 2
    └── CannotLook              the request is fine, the material is not        exit 3
        ├── UnreadableNetwork   not an ONNX network, damaged or hostile
        │   ├── UnreadableExternalData
        │   └── FileChanged     the file changed while it was read
        ├── UnsupportedNetwork  sound, but not something this version can do
        │   └── CapacityError   too few eligible weights for the mark
        ├── UnreadableRecord    not a record, damaged, or not the one announced
        ├── UnreadableRegistry  no registry, of another version, damaged, or not to be reached
        ├── UnreadableData      a data set, checkpoint or results file is unusable
        │   └── MissingData     nothing found at the places that were searched
        └── MissingExtra        an optional dependency is not installed

"The mark is not there" is a result, never an error.
"""

import copyreg
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CannotLook",
    "CapacityError",
    "FileChanged",
    "MissingData",
    "MissingExtra",
    "TraceabilityError",
    "UnknownName",
    "UnreadableData",
    "UnreadableExternalData",
    "UnreadableNetwork",
    "UnreadableRecord",
    "UnreadableRegistry",
    "UnsupportedNetwork",
    "UsageError",
    "meant",
]


class TraceabilityError(Exception):
    """Root of all errors raised on purpose; ``exit_code`` is what the command line ends with."""

    exit_code = 3

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the constructor with the message, which fails where that takes anything else, in whichever
        # process the error came from a worker
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(TraceabilityError):
    """The request itself is wrong: a parameter out of range, output = input, a record that would be overwritten."""

    exit_code = 2


class UnknownName(UsageError):
    """No plug-in has this name; the message lists the known ones.

    Args:
        kind: What was looked for, e.g. ``"modification"``.
        name: The name that is not known.
        known: All names that are.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(f"no {kind} named {name!r}; there are {', '.join(names) or 'none'}{meant(name, names)}")


def meant(name: str, known: Iterable[str]) -> str:
    """The known name that is most similar to a misspelt one, as a question; empty if none is similar."""
    import difflib

    plain = {known_name.lower().replace("_", "-"): known_name for known_name in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name[:100].lower().replace("_", "-"), plain, 1)
    if not close:
        close = [plain_name for plain_name in plain if len(name) > 2 and plain_name.startswith(name.lower())][:1]
    return f" (did you mean {plain[close[0]]}?)" if close else ""


class CannotLook(TraceabilityError):
    """The request is fine but the material cannot be examined, or the work cannot be finished."""


class UnreadableNetwork(CannotLook):
    """Not an ONNX network, damaged, or built to mislead."""


class UnreadableExternalData(UnreadableNetwork):
    """A weight lies in another file that is missing, outside the allowed folders, too short, or no regular file."""


class FileChanged(UnreadableNetwork):
    """The file changed while it was read: nothing that was read can be relied on."""


class UnsupportedNetwork(CannotLook):
    """A sound network with which this version cannot do what was asked."""


class CapacityError(UnsupportedNetwork):
    """Too few eligible weights for the mark; the message names the capacity."""


class UnreadableRecord(CannotLook):
    """Not a record, damaged, of a format this version does not know, or not the one whose commitment was announced."""


class UnreadableRegistry(CannotLook):
    """No registry, one of another version, damaged or open to others, or a server that does not answer."""


class UnreadableData(CannotLook):
    """A data set, checkpoint, campaign or results file is unusable."""


class MissingData(UnreadableData):
    """Nothing was found at the places that were searched; the message lists them and says where to get the data."""


class MissingExtra(CannotLook):
    """An optional dependency is not installed.

    Args:
        package: The package whose import failed.
        extra: The extra that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is needed for this; install it with: pip install 'onnxnnw[{extra}]'")
