"""What long work is doing just now, told to whoever listens: the command line shows it where the work takes seconds.

It is not ``logging``, which takes as long to import as a small network takes to verify.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["listening", "tell"]

_listeners: list[Callable[[str], None]] = []


def tell(step: str) -> None:
    """Say which step begins."""
    for listener in _listeners:
        listener(step)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Call ``listener`` with every step that begins inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
