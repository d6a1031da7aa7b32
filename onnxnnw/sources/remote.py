"""A remote file as the reader of networks sees it: bytes at an offset, kept once they came, fetched ahead where that pays.

The walk over headers is sequential, so each step is a round trip; what is read ahead doubles while the walk goes straight on.
Positions are known beforehand: they are fetched together, exactly, and read from memory afterwards.
"""

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from onnxnnw.sources.addresses import Address, address_of
from onnxnnw.sources.http_ranges import HttpRanges
from onnxnnw.sources.hub_cache import cached
from onnxnnw.sources.limits import budget
from onnxnnw.sources.protocol import RandomAccess

__all__ = ["RemoteHandle", "RemoteSource", "open_remote", "sha256_behind"]

_LEAST, _MOST = 2**14, 2**20
_SMALL = 4 * 2**20
"""A file up to that size is read whole: its parts would be asked for one after the other."""

_KEPT = 64 * 2**20
_PIECE = 2**18
_AT_ONCE = 8 * 2**20
"""Bytes of a file that is read whole which are in memory at once."""


class RemoteHandle:
    """Reads from a remote file; what came stays, up to 64 MiB, the oldest goes first."""

    def __init__(self, ranges: RandomAccess) -> None:
        self.ranges, self.size = ranges, ranges.size
        self._starts: list[int] = []
        self._pieces: dict[int, bytes] = {}
        self._order: list[int] = []
        self._kept = 0
        self._next, self._width = -1, _LEAST
        self._lock = threading.RLock()
        self._keep(0, ranges.head)

    def read(self, length: int, offset: int) -> bytes:
        """Bytes of the file; fewer where it ends."""
        with self._lock:
            stop = min(offset + length, self.size)
            if stop <= offset:
                return b""
            piece = self._held(offset, stop)
            if piece is not None:
                return piece
            if stop - offset > _MOST:  # a payload: it comes in pieces side by side, and is read once
                return self.ranges.read_many([(offset, stop)])[0]
            self._width = min(self._width * 2, _MOST) if offset == self._next else _LEAST
            end = min(max(stop, offset + self._width), self.size)
            self._next = end
            (content,) = self.ranges.read_many([(offset, end)])
            self._keep(offset, content)
            return content[: stop - offset]

    def ahead(self, places: Sequence[int], lengths: Sequence[int]) -> None:
        """Fetch many pieces at once that will be read next."""
        with self._lock:
            wanted = sorted({(p, p + n) for p, n in zip(places, lengths, strict=True) if p + n <= self.size and n})
            missing = [each for each in wanted if self._held(*each) is None]
            missing = _merged(missing)
            while missing:
                chosen: list[tuple[int, int]] = []
                room = _KEPT // 2
                while missing and (not chosen or missing[0][1] - missing[0][0] <= room):
                    chosen.append(missing.pop(0))
                    room -= chosen[-1][1] - chosen[-1][0]
                for (start, _), content in zip(chosen, self.ranges.read_many(chosen), strict=True):
                    self._keep(start, content)
                if room <= 0 and missing:
                    return  # the rest would push out what was fetched for now

    def _held(self, start: int, stop: int) -> bytes | None:
        index = bisect_right(self._starts, start) - 1
        for at in range(index, max(-1, index - 3), -1):
            base = self._starts[at]
            piece = self._pieces[base]
            if stop <= base + len(piece):
                return piece[start - base : stop - base]
        return None

    def _keep(self, start: int, content: bytes) -> None:
        known = self._pieces.get(start)
        if known is not None:
            if len(known) >= len(content):
                return
            self._drop(start)
        while self._order and self._kept + len(content) > _KEPT:
            self._drop(self._order[0])
        self._starts.insert(bisect_right(self._starts, start), start)
        self._pieces[start] = content
        self._order.append(start)
        self._kept += len(content)

    def _drop(self, start: int) -> None:
        self._kept -= len(self._pieces.pop(start))
        self._order.remove(start)
        del self._starts[bisect_right(self._starts, start) - 1]


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted ranges, overlapping ones as one: no byte is asked for twice."""
    out: list[tuple[int, int]] = []
    for start, stop in ranges:
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return out


class RemoteSource:
    """A remote file that holds weights; what ``network_file.source.Source`` is for a file on this disk.

    Attributes:
        path: Where it is, as it may be shown.
        size: Bytes.
        identity: What tells this version of it from others.
        is_remote: Whether each read is a request; not so of what lies in a hub's cache.
    """

    __slots__ = ("_handle", "_ranges", "identity", "is_remote", "path", "size")

    def __init__(self, address: Address, ranges: RandomAccess) -> None:
        self.path, self.size, self.identity = address, ranges.size, ranges.identity
        self._ranges, self._handle, self.is_remote = ranges, RemoteHandle(ranges), ranges.is_remote
        if len(ranges.head) < self.size <= _SMALL:
            starts = range(len(ranges.head), self.size, _PIECE)
            parts = ranges.read_many([(at, min(at + _PIECE, self.size)) for at in starts])
            self._handle._keep(0, b"".join([ranges.head, *parts]))

    @contextmanager
    def opened(self) -> Iterator[RemoteHandle]:
        """What reads from it."""
        yield self._handle

    def close(self) -> None:
        """Nobody will read any more."""
        self._ranges.close()

    def unchanged(self) -> bool:
        """Whether what was read is what is still there."""
        return self._ranges.unchanged()

    def beside(self, location: str) -> "RemoteSource":
        """A file in the same folder."""
        return open_remote(self.path.beside(location), self._ranges)


def open_remote(address: str | Address, near: RandomAccess | None = None) -> RemoteSource:
    """Open a file behind an address: one request, which brings its size, its version and its beginning; or a hub's cache.

    Args:
        address: Where it is.
        near: A file beside it, whose connections and limits it shares.

    Raises:
        CannotLook: It cannot be read by range, or not as much of it as is needed.
        UsageError: The address is none.
    """
    place = address_of(address)
    allowed, connections = (near.budget, near.connections) if isinstance(near, HttpRanges) else (budget(), None)
    ranges: RandomAccess = cached(place, allowed) or HttpRanges(place, allowed, connections)
    try:
        return RemoteSource(place, ranges)
    except BaseException:
        ranges.close()
        raise


def sha256_behind(address: str | Address) -> str:
    """SHA-256 of all bytes behind an address, in hexadecimal: all are read, and every answer is of one version.

    Raises:
        CannotLook: It cannot be read by range, or is larger than may be read.
        UsageError: The address is none.
    """
    ranges = HttpRanges(address_of(address), budget())
    try:
        total = hashlib.sha256(ranges.head)
        for start in range(len(ranges.head), ranges.size, _AT_ONCE):
            for content in ranges.read_many([(start, min(start + _AT_ONCE, ranges.size))]):
                total.update(content)
        return total.hexdigest()
    finally:
        ranges.close()
