"""Detect when a mark is inserted while a network trains."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnreadableData
from onnxnnw.files import read_regular
from onnxnnw.methods.base import Hooks
from onnxnnw.network_file.writing import write_whole

__all__ = ["Watch"]

WATCH_EVERY = 5
"""Batches between two looks at whether the mark is in."""


@dataclass
class Watch:
    """Looks every few batches whether all Symbols are right, until they are; then it looks no more.

    Attributes:
        inserted_after: Batch iterations until all were right for the first time; None before, and where the first look came
            too late to tell (a training that was resumed without a note).
        notes: A file that keeps that number, for the same training when it is resumed.
    """

    hooks: Hooks
    every: int = WATCH_EVERY
    inserted_after: int | None = None
    notes: Path | None = None
    _missing: bool = field(default=False, repr=False)
    _done: bool = field(default=False, repr=False)

    def resume(self) -> None:
        """Restore the state of an interrupted run; without a note of it, the mark was not inserted yet."""
        if self.notes is None:
            return
        if not self.notes.exists():
            self._missing = True
            return
        try:
            self.inserted_after = int(read_regular(self.notes, UnreadableData, 100))
            self._done = True
        except ValueError:
            raise UnreadableData(f"{self.notes} is not the note of a training; remove it") from None

    def __call__(self, module: Any, iteration: int) -> None:
        if self._done or iteration % self.every or self.hooks.correct is None:
            return
        if self.hooks.correct(module) < 1:
            self._missing = True
            return
        self._done = True
        if self._missing or iteration == self.every:
            self.inserted_after = iteration
            if self.notes is not None:
                write_whole(self.notes, str(iteration).encode())
