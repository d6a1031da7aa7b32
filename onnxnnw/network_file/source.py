"""An open file whose descriptor may be closed and reopened when there are too many; a replaced file is noticed."""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import FileChanged, UnreadableNetwork
from onnxnnw.files import open_descriptor
from onnxnnw.network_file.wire import Handle

__all__ = ["KEPT_OPEN", "ONE_PIECE", "Source", "groups", "identity_of", "will_need"]

KEPT_OPEN = 64
"""Files with weights that one process keeps open: macOS allows 256 by default, Linux 1,024, and others need some too."""

ONE_PIECE = 2**15
"""Reading that much takes less time than finding out what could be left out."""

_MERGE_GAP = 4096

_idle: "OrderedDict[Source, None]" = OrderedDict()
"""Open files that nobody reads just now, the longest unused first."""

_lock = threading.RLock()


class Source:
    """A file that holds weights: the model itself or external data.

    Its descriptor may be closed while nobody reads, and is then opened again for the next reader. What is opened then has the
    device, inode, size and modification time of what was opened first, or nothing is read.

    Attributes:
        path: Where the network says it is.
        size: Bytes, when it was first opened.
        identity: Size, modification time, inode and device, when it was first opened.
    """

    __slots__ = ("_closed", "_descriptor", "_real", "_users", "identity", "path", "size")

    is_remote = False

    def __init__(self, path: Path, real: Path, error: type[UnreadableNetwork], shown: str) -> None:
        """Open a regular file.

        Args:
            path: Where the network says it is.
            real: Where that leads.
            error: What is raised where it cannot be opened.
            shown: What the message calls it.
        """
        self.path, self._real = path, real
        self._descriptor, status = _open(real, error, shown)
        self.size, self.identity = status.st_size, identity_of(status)
        self._users, self._closed = 0, False
        with _lock:
            _idle[self] = None
            _close_some(KEPT_OPEN)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor that stays open inside the block.

        Raises:
            FileChanged: It had to be opened again, and what is there now is another file, or a changed one.
        """
        with _lock:
            if self._closed:
                raise ValueError(f"{self.path}: read after its network was closed")
            if self._descriptor < 0:
                self._descriptor = self._again()
            self._users += 1
            _idle.pop(self, None)
        try:
            yield self._descriptor
        finally:
            self._leave()

    def _leave(self) -> None:
        with _lock:
            self._users -= 1
            if self._users:
                return
            if self._closed:
                self._release()
                return
            _idle[self] = None
            _close_some(KEPT_OPEN)

    def _again(self) -> int:
        changed = FileChanged(f"{str(self.path)!r}: the file changed while it was read")
        try:
            descriptor, status = _open(self._real, FileChanged, str(self.path))
        except FileChanged:
            raise changed from None
        if identity_of(status) != self.identity:
            os.close(descriptor)
            raise changed
        return descriptor

    def close(self) -> None:
        """Close the file once its last reader is done."""
        with _lock:
            self._closed = True
            if not self._users:
                self._release()

    def unchanged(self) -> bool:
        """Whether size, modification time and inode are as they were when it was opened, and the path still leads here."""
        try:
            with _lock:  # a closed descriptor was of this file, and the next one will be: the path says the rest
                still = self._descriptor < 0 or identity_of(os.fstat(self._descriptor)) == self.identity
            return still and identity_of(self.path.stat()) == self.identity
        except OSError:
            return False

    def _release(self) -> None:
        _idle.pop(self, None)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _close_some(kept: int) -> None:
    """Close idle files, the longest unused first, until so many are left."""
    while len(_idle) > kept:
        next(iter(_idle))._release()


def _open(path: Path, error: type[UnreadableNetwork], shown: str) -> tuple[int, os.stat_result]:
    """A descriptor, even where so many files are open already that none is left."""
    try:
        return open_descriptor(path, error, shown)
    except error as reason:
        if getattr(reason.__cause__, "errno", None) not in (errno.EMFILE, errno.ENFILE):
            raise
    with _lock:
        _close_some(0)
    return open_descriptor(path, error, shown)


def will_need(descriptor: int | Handle, places: Sequence[int], lengths: Sequence[int]) -> None:
    """Let the kernel or a server fetch pieces while others are asked for: both answer many questions at once."""
    if not isinstance(descriptor, int):
        descriptor.ahead(places, lengths)
    elif hasattr(os, "posix_fadvise"):
        for place, length in zip(places, lengths, strict=True):
            os.posix_fadvise(descriptor, place, length, os.POSIX_FADV_WILLNEED)


def groups(ascending: NDArray[np.int64], itemsize: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where groups of near neighbours begin and end among positions: each is read as one piece."""
    starts = np.concatenate(([0], np.flatnonzero(np.diff(ascending) * itemsize > _MERGE_GAP) + 1))
    return starts, np.append(starts[1:], ascending.size)


def identity_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Size, modification time, inode and device."""
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
