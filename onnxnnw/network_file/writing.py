"""Atomic writing: a file appears whole or not at all, and inputs are never overwritten."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from onnxnnw.errors import UsageError
from onnxnnw.files import NEW, write_some_at

__all__ = ["COPIED_AT_ONCE", "PAGE", "atomic_copy", "atomic_file", "refuse_place", "write_at", "write_whole"]

COPIED_AT_ONCE = 2**24

PAGE = b"<!doctype html"
"""How pages begin, in lower case."""

_RECORD = b'{"bound":'
"""How every record begins."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What goes wrong while writing, and names no file."""

_BEGINNING = 4096
_SECRETS = (
    (_RECORD, "a record, the only copy of a secret"),
    (b"SQLite format 3\0", "a registry or another database"),
    (b"-----BEGIN ", "a key or a certificate"),
)


def refuse_place(path: Path, begins: bytes = b"", text: bool = False) -> None:
    """Refuse an output path that cannot or must not be written.

    Records, databases and keys are never replaced, whatever is written.

    Args:
        begins: How a file that may be replaced begins, in lower case; one that begins otherwise is of another kind.
        text: Whether a text is written, which replaces no network and nothing else that is no text.

    Raises:
        UsageError: There is no such folder, or something else than a plain file that may be replaced stands there.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, not a file to write")
    if not path.exists():
        return
    if not path.is_file():
        raise UsageError(f"{path}: is a device or a pipe, not a file to write")
    try:
        with path.open("rb") as file:
            begin = file.read(_BEGINNING)
    except OSError:
        return  # it can be replaced without being read
    for secret, what in _SECRETS:
        if begin.startswith(secret):
            raise UsageError(f"{path}: is {what}; it is never overwritten")
    other = not begin.lower().startswith(begins) or (text and not _is_text(begin))
    if begin and other:
        raise UsageError(f"{path}: is a file of another kind, which is not replaced; give another place")


def _is_text(begin: bytes) -> bool:
    return not any(byte < 9 for byte in begin)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[int]:
    """A descriptor of a new file that takes its name only when the block ends well and its bytes are on the disk.

    Raises:
        UsageError: What stands there must not be replaced: a folder, a device, a record.
    """
    refuse_place(path)
    partial = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.partial")
    try:
        descriptor = os.open(partial, NEW, 0o666)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.filename == str(partial) or error.errno in _FULL):
            error.filename, error.filename2 = str(path), None  # the name that the user knows
        raise


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file that appears whole or not at all; an older one of this name stays until then."""
    with atomic_file(path) as descriptor, os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)


def atomic_copy(source: Path, out: Path) -> None:
    """Copy a finished file to its place, atomically."""
    with source.open("rb") as file, atomic_file(out) as target:
        position = 0
        while chunk := file.read(COPIED_AT_ONCE):
            write_at(target, chunk, position)
            position += len(chunk)


def write_at(target: int, content: bytes | memoryview, offset: int) -> None:
    """All of the content, from an offset of an open file on."""
    view = memoryview(content)
    while view:
        done = write_some_at(target, view, offset)
        view, offset = view[done:], offset + done
