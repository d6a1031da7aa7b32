"""What all commands share: --quiet and --verbose, progress of long work, closed pipes."""

import contextlib
import errno
import functools
import inspect
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import typer

from onnxnnw.notices import listening
from onnxnnw.texts import visible

__all__ = ["outlive_readers", "with_manners"]

SLOW_S = 2.0
"""Seconds of work after which a terminal is told what is being done."""

OWN_PROGRESS = ("evaluate", "train", "demo")
"""Commands that show progress in their own way."""

_QUIET = typer.Option(False, "--quiet", "-q", help="Print nothing but errors; the exit code is the answer.")
_VERBOSE = typer.Option(False, "--verbose", "-v", help="Say each step, with the seconds since the start.")


def with_manners(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with --quiet and --verbose, and with progress on a terminal where it takes long."""

    @functools.wraps(command)
    def mannered(quiet: bool = False, verbose: bool = False, **values: Any) -> Any:
        with contextlib.ExitStack() as stack:
            stack.enter_context(listening(notes=lambda sentence: _line(f"note: {sentence}")))
            if quiet:
                nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123 - no path but a device's name
                vars(nowhere)["behind"] = sys.stderr  # where ``show.error`` writes all the same
                stack.enter_context(contextlib.redirect_stderr(nowhere))
                if not values.get("as_json"):
                    stack.enter_context(contextlib.redirect_stdout(nowhere))
            elif verbose:
                start = time.monotonic()
                stack.enter_context(listening(lambda step: _line(f"{time.monotonic() - start:7.2f} s  {step}")))
            elif command.__name__ not in OWN_PROGRESS and sys.stderr is not None and sys.stderr.isatty():
                stack.enter_context(_progress(sys.stderr))
            return command(**values)

    signature = inspect.signature(command)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=bool)
        for name, option in (("quiet", _QUIET), ("verbose", _VERBOSE))
    ]
    mannered.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]
    mannered.__annotations__ = {**command.__annotations__, "quiet": bool, "verbose": bool}
    return mannered


def _line(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads; the work goes on
        print(visible(text, 400), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _progress(terminal: TextIO) -> Iterator[None]:
    """One line that redraws itself while work takes longer than two seconds; it is gone before anything else is written."""
    step, done, lock = [""], threading.Event(), threading.Lock()
    start = time.monotonic()

    def redraw() -> None:
        drawn = False
        wait = SLOW_S
        while not done.wait(wait):
            wait = 0.5
            with lock:
                if not done.is_set():
                    drawn = True
                    _write(terminal, f"\r\x1b[K{time.monotonic() - start:.0f} s  {visible(step[0], 60)}")
        if drawn:
            _write(terminal, "\r\x1b[K")

    thread = threading.Thread(target=redraw, daemon=True)

    def stop() -> None:
        with lock:
            done.set()
        if thread.is_alive() and threading.current_thread() is not thread:
            thread.join()

    def note(text: str) -> None:
        step[0] = text

    thread.start()
    try:
        with (
            listening(note),
            contextlib.redirect_stdout(_First(sys.stdout, stop)),
            contextlib.redirect_stderr(_First(sys.stderr, stop)),
        ):
            yield
    finally:
        stop()


def _write(terminal: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        terminal.write(text)
        terminal.flush()


class _First:
    """A stream that calls something before the first text is written to it."""

    def __init__(self, stream: TextIO, before: Callable[[], None]) -> None:
        self._stream, self._before = stream, before

    def write(self, text: str) -> int:
        """Write, after what has to be done before."""
        self._before()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive_readers() -> None:
    """Discard output to a pipe that was closed, so that ``| head`` leaves the exit code as it is."""
    stream = sys.stdout
    if stream is not sys.__stdout__ or not isinstance(stream, io.TextIOWrapper):
        return
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if isinstance(raw, io.FileIO):
        buffer = io.BufferedWriter(_UntilNobodyReads(raw))
        sys.stdout = io.TextIOWrapper(
            buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            newline=None,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )


class _UntilNobodyReads(io.RawIOBase):
    """A file of which what nobody reads any more is thrown away; a full disk stays an error."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._raw.isatty()

    def fileno(self) -> int:
        return self._raw.fileno()

    def write(self, content: Any) -> int:
        """All of the content where nobody reads, else what the file takes."""
        try:
            return self._raw.write(content) or 0
        except OSError as error:
            left = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)
            if error.errno not in left:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._raw.fileno())
            return len(content)
