"""Input files on any system: regular, of bounded size, opened without blocking; and bytes at an offset of an open file.

Windows has neither ``pread`` nor flags against waiting, and translates line ends unless told otherwise; macOS lacks ``preadv``.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onnxnnw.errors import TraceabilityError

__all__ = ["NEW", "open_descriptor", "open_regular", "read_at", "read_into_at", "read_regular", "write_some_at"]


def _flags(*names: str) -> int:
    """Flags of ``os.open`` together; those that a system lacks are nothing."""
    together = 0
    for name in names:
        together |= getattr(os, name, 0)
    return together


_NOT_WAITING = hasattr(os, "O_NONBLOCK")
_INPUT = _flags("O_RDONLY", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
NEW = _flags("O_RDWR", "O_CREAT", "O_EXCL", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
"""How a file is opened that must not exist yet."""

_seeking = threading.Lock()
"""Where there is no reading at a place, threads that share a descriptor would move each other's."""

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
    try:
        if not _NOT_WAITING:  # opening a pipe would wait, and opening a folder is "permission denied" on Windows
            _refuse_irregular(path.stat(), error, shown)
        descriptor = os.open(path, _INPUT)
    except (OSError, ValueError) as reason:
        text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        raise error(f"{shown}: cannot be opened: {text}") from reason
    status = os.fstat(descriptor)
    try:
        _refuse_irregular(status, error, shown)
    except error:
        os.close(descriptor)
        raise
    return descriptor, status


def _refuse_irregular(status: os.stat_result, error: type[TraceabilityError], shown: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "something else")
        raise error(f"{shown}: is not a regular file but {kind}")


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


def _seek_and_read(descriptor: int, length: int, offset: int) -> bytes:
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)


def _seek_and_write(descriptor: int, content: bytes | memoryview, offset: int) -> int:
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, content)


def _read_and_copy(descriptor: int, target: memoryview, offset: int) -> int:
    piece = read_at(descriptor, len(target), offset)
    target[: len(piece)] = piece
    return len(piece)


def _read_into(descriptor: int, target: memoryview, offset: int) -> int:
    return os.preadv(descriptor, [target], offset)


read_at = getattr(os, "pread", _seek_and_read)
"""``read_at(descriptor, length, offset)``: at most so many bytes from a place of an open file; empty at its end."""

write_some_at = getattr(os, "pwrite", _seek_and_write)
"""``write_some_at(descriptor, content, offset)``: how many bytes of the content were written at a place of an open file."""

read_into_at = _read_into if hasattr(os, "preadv") else _read_and_copy
"""``read_into_at(descriptor, target, offset)``: how many bytes of ``target`` were filled; 0 at the file's end."""
