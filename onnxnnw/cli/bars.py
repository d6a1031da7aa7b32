"""Progress on standard error: rich's bar on a terminal that can redraw it, occasional lines elsewhere."""

import atexit
import sys
import time
from typing import TYPE_CHECKING

from onnxnnw.texts import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bar", "Counted"]

_EVERY_S = 10.0
"""Seconds between two lines where there is no terminal."""


class Bar:
    """One line that redraws itself on a terminal; nothing elsewhere, where whoever shows it writes lines.

    Args:
        keep: Whether the last state of the bar stays when it is closed.
    """

    def __init__(self, keep: bool = True) -> None:
        self.keep = keep
        self._drawn: tuple[Progress, TaskID] | None = None

    @property
    def on_terminal(self) -> bool:
        """Whether standard error is a terminal."""
        return sys.stderr.isatty()

    def show(self, text: str, done: int, of: int) -> None:
        """Draw the bar with a text beside it."""
        progress, task = self._begun()
        progress.update(task, completed=done, total=max(1, of), description=visible(text, 200), refresh=True)

    def say(self, sentence: str) -> None:
        """A line above the bar, or alone."""
        if self._drawn is None:
            print(sentence, file=sys.stderr, flush=True)
        else:
            self._drawn[0].console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the line."""
        if self._drawn is not None:
            self._drawn[0].stop()
            self._drawn = None
            atexit.unregister(self.close)

    def _begun(self) -> "tuple[Progress, TaskID]":
        if self._drawn is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn
            from rich.table import Column

            text = TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
            )
            progress = Progress(
                BarColumn(20),
                text,
                console=Console(file=sys.stderr),
                auto_refresh=False,
                transient=not self.keep,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            progress.start()
            atexit.register(self.close)  # or the terminal's cursor stays hidden
            self._drawn = progress, progress.add_task("", total=1)
        return self._drawn


class Counted:
    """How many of many things are done: a bar on a terminal, else a line every ten seconds.

    Args:
        what: What they are.
    """

    def __init__(self, what: str) -> None:
        self.what, self.bar = what, Bar()
        self.begun = self.said = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        """Say so, unless that was just said."""
        now, terminal = time.monotonic(), self.bar.on_terminal
        if done < of and now - self.said < (0.2 if terminal else _EVERY_S):
            return
        if done == of and self.said == self.begun:  # all of it was brief
            return
        self.said = now
        left = (now - self.begun) / max(1, done) * (of - done)
        line = f"{done:,} of {of:,} {self.what}" + (f", about {left:,.0f} s left" if 0 < done < of else "")
        if not terminal:
            print(line, file=sys.stderr, flush=True)
            return
        self.bar.show(line, done, of)
        if done == of:
            self.bar.close()
