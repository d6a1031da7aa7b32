"""How much may be asked of servers during one look, and how much was."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from onnxnnw.errors import CannotLook, UsageError

__all__ = ["MAX_DOWNLOAD", "Budget", "budget", "bytes_of", "limited"]

MAX_DOWNLOAD = 2**30
"""Bytes that one look reads from servers unless the user allows more."""

_MAX_REQUESTS, _MAX_SECONDS = 200_000, 3600.0
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass
class Budget:
    """Requests, bytes and seconds of one look; safe to use from many threads.

    Attributes:
        max_bytes: Bytes of bodies that may be read.
        max_requests: Requests that may be sent, retries among them.
        max_seconds: Seconds from the first request on.
        requests: Requests sent so far.
        received: Bytes of bodies read so far.
        said: What whoever reads the answer should know of where it was read.
    """

    max_bytes: int = MAX_DOWNLOAD
    max_requests: int = _MAX_REQUESTS
    max_seconds: float = _MAX_SECONDS
    requests: int = 0
    received: int = 0
    said: list[str] = field(default_factory=list)
    _promised: int = field(default=0, repr=False)
    _start: float = field(default=0.0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self, length: int) -> None:
        """Count a request for so many bytes before it is sent.

        Raises:
            CannotLook: It would exceed what is allowed.
        """
        with self._lock:
            self._start = self._start or time.monotonic()
            if self.received + self._promised + length > self.max_bytes:
                raise CannotLook(
                    f"more than {self.max_bytes:,} bytes would have to be read from the server, of which "
                    f"{self.received:,} were; allow more with --max-download, or download the file"
                )
            if self.requests >= self.max_requests:
                raise CannotLook(f"more than {self.max_requests:,} requests would be needed; download the file")
            if time.monotonic() - self._start > self.max_seconds:
                raise CannotLook(f"the server took longer than {self.max_seconds:,.0f} seconds; download the file")
            self.requests += 1
            self._promised += length

    def settle(self, asked: int, received: int) -> None:
        """Account for a finished request: bytes that came against bytes that were asked for."""
        with self._lock:
            self._promised -= asked
            self.received += received

    def say(self, sentence: str) -> None:
        """Keep a sentence about where something was read, once."""
        with self._lock:
            if sentence not in self.said:
                self.said.append(sentence)

    @property
    def sentence(self) -> str:
        """What was read, for people; empty where nothing was."""
        read = [f"read {self.received:,} bytes in {self.requests:,} requests"] if self.requests else []
        return "\n".join([*self.said, *read])


_current: ContextVar[Budget | None] = ContextVar("onnxnnw_budget", default=None)


def budget() -> Budget:
    """The budget of the look that is going on; a new one outside of any."""
    return _current.get() or Budget()


@contextmanager
def limited(allowed: Budget) -> Iterator[Budget]:
    """Everything that is read from servers inside the block is charged to one budget."""
    token = _current.set(allowed)
    try:
        yield allowed
    finally:
        _current.reset(token)


def bytes_of(text: str) -> int:
    """``200MB`` or ``1GiB`` as bytes.

    Raises:
        UsageError: It is no such number.
    """
    number = text.strip().upper().rstrip("BIKMG")
    unit = text.strip().upper()[len(number) :]
    if not number.strip().isdecimal() or unit not in _UNITS or not number.isascii():
        raise UsageError(f"a number of bytes such as 500MB or 1GiB was wanted, not {text[:40]!r}")
    return int(number) * _UNITS[unit]
