"""Files that are input: regular, of bounded size, and never waited for."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onnxnnw.errors import TraceabilityError

__all__ = ["open_descriptor", "open_regular", "read_regular"]

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_descriptor(path: Path, error: type[TraceabilityError], shown: str = "") -> tuple[int, os.stat_result]:
    """A descriptor of a regular file and its status; a pipe or a device would block, or never end.

    Args:
        error: What is raised where the file cannot be opened, or is something else.
        shown: What the message calls it; its path by default.
    """
    shown = shown or str(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as reason:
        text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        raise error(f"{shown}: cannot be opened: {text}") from reason
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "something else")
        raise error(f"{shown}: is not a regular file but {kind}")
    return descriptor, status


@contextmanager
def open_regular(path: Path, error: type[TraceabilityError], limit: int) -> Iterator[BinaryIO]:
    """A regular file of bounded size, open for reading.

    Args:
        error: What is raised where it cannot be opened, is something else, or larger.
        limit: Bytes that it may have.
    """
    descriptor, status = open_descriptor(path, error)
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > limit:
            raise error(f"{path}: has {status.st_size:,} bytes, and at most {limit:,} are read")
        yield file


def read_regular(path: Path, error: type[TraceabilityError], limit: int) -> bytes:
    """The content of a regular file of bounded size; see ``open_regular``."""
    with open_regular(path, error, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it grew, or has no size, as in /proc
        raise error(f"{path}: has more than {limit:,} bytes, which is all that is read")
    return content
