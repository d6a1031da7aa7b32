"""Callbacks for the steps of long work, and for notices that do not change the answer.

It is not ``logging``, which takes as long to import as a small network takes to verify.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["listening", "note", "tell"]

Listener = Callable[[str], None]

_steps: list[Listener] = []
_notes: list[Listener] = []


def tell(step: str) -> None:
    """Say which step begins."""
    for listener in _steps:
        listener(step)


def note(sentence: str) -> None:
    """Say something that changes no answer, and that whoever reads the answer should know."""
    for listener in _notes:
        listener(sentence)


@contextmanager
def listening(steps: Listener | None = None, notes: Listener | None = None) -> Iterator[None]:
    """Call ``steps`` with every step that begins inside the block, and ``notes`` with every notice."""
    added = [(kind, listener) for kind, listener in ((_steps, steps), (_notes, notes)) if listener is not None]
    for kind, listener in added:
        kind.append(listener)
    try:
        yield
    finally:
        for kind, listener in added:
            kind.remove(listener)
