"""The entry point: every command, and exit codes that keep their documented meaning.

0 yes · 1 no (not traced, or the gate not met) · 2 wrong usage · 3 could not look or could not finish · 130 interrupted ·
143 terminated.
Python's own exit code for an uncaught exception is 1, which would read as "not traced", so everything is caught here.
"""

import contextlib
import gc
import importlib
import inspect
import os
import pkgutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

import typer
from typer.models import CommandInfo

from onnxnnw.cli.manners import outlive_readers, with_manners
from onnxnnw.errors import TraceabilityError
from onnxnnw.texts import visible

__all__ = ["build_app", "main"]

INTERRUPTED = 130
TERMINATED = 143
BRIEF = ("digest", "embed", "fingerprint", "inspect", "verify")
YOUNG = 100_000
"""New objects between two searches for cycles in brief commands. Python searches after 700, a hundred times in a start, and
finds next to nothing: what a start makes is made to stay."""

BY_USE = "verify check compare fingerprint embed sign inspect digest modify demo evaluate report train export measure".split()
"""Commands as help lists them: what most people come for stands first; those that are not named here stand last."""

TRACEBACK = "ONNXNNW_TRACEBACK"
"""Set this environment variable to see where an error comes from."""


def build_app(only: str | None = None) -> typer.Typer:
    """The application with the commands of every file of this folder that has a ``register``.

    Args:
        only: Where a command has this name, leave out all others: typer builds each parameter of each command at every
            start, which takes longer than verifying a network.
    """
    app = typer.Typer(
        name="onnxnnw",
        help="Mark or fingerprint a neural network once, and prove from an ONNX file alone where it comes from.",
        no_args_is_help=True,
        add_completion=only is None or only.startswith("-"),
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 yes, 1 no, 2 wrong usage, 3 could not look or could not finish, 130 interrupted, "
        "143 terminated.",
    )
    app.callback()(_version)
    package = importlib.import_module("onnxnnw.cli")
    for info in pkgutil.iter_modules(package.__path__):
        register = getattr(importlib.import_module(f"onnxnnw.cli.{info.name}"), "register", None)
        if register is not None:
            register(app)
    wanted = [c for c in app.registered_commands if c.callback is not None and (c.name or c.callback.__name__) == only]
    app.registered_commands = sorted(wanted or app.registered_commands, key=_by_use)
    app.registered_groups = [] if wanted else app.registered_groups
    groups = [group.typer_instance for group in app.registered_groups if group.typer_instance is not None]
    for command in [*app.registered_commands, *(command for group in groups for command in group.registered_commands)]:
        _leave_reading_to_the_library(command.callback)
        command.callback = with_manners(command.callback) if command.callback is not None else None
    return app


def _by_use(command: CommandInfo) -> tuple[int, str]:
    name = command.name or str(getattr(command.callback, "__name__", ""))
    return BY_USE.index(name) if name in BY_USE else len(BY_USE), name


def _leave_reading_to_the_library(command: Callable[..., Any] | None) -> None:
    """Typer would call a file that may not be read wrong usage; that it could not be looked at is the library's to say."""
    for parameter in inspect.signature(command).parameters.values() if command is not None else ():
        for info in (parameter.default, *getattr(parameter.annotation, "__metadata__", ())):
            if hasattr(info, "readable"):
                info.readable = False


def _print_version(wanted: bool) -> None:
    if wanted:
        from onnxnnw import __version__

        print(f"onnxnnw {__version__}")
        raise typer.Exit


def _version(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_print_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Mark or fingerprint a neural network once, and prove from an ONNX file alone where it comes from."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; nothing leaves as a traceback unless ONNXNNW_TRACEBACK is set."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows few characters still gets the answer
    outlive_readers()
    with _terminable():
        try:
            code = _run(arguments)
        except BrokenPipeError:
            code = TraceabilityError.exit_code
    if not _is_written(sys.stdout):
        code = TraceabilityError.exit_code
    _is_written(sys.stderr)
    sys.exit(code)


class Terminated(BaseException):
    """SIGTERM came: whatever is open cleans up on the way out."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end what runs as Ctrl-C does; a second one does not disturb the cleaning up."""

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_written(stream: TextIO | None) -> bool:
    """Whether all that was printed left, or nobody wanted it; else the stream is closed, or Python would complain at exit."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):  # the reader left, or the disk is full
        assert stream is not None
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def _run(arguments: Sequence[str] | None) -> int:
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        if given and given[0] in BRIEF:
            gc.set_threshold(YOUNG, *gc.get_threshold()[1:])  # and never back: that would start a search at once
        result = build_app(given[0] if given else None)(given, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except Terminated:
        return _say("terminated", TERMINATED)
    except BrokenPipeError:
        raise
    except TraceabilityError as error:
        return _say(str(error), error.exit_code)
    except MemoryError:
        return _say("out of memory", TraceabilityError.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{error.strerror or error}", TraceabilityError.exit_code)
    except BaseException as error:
        if type(error).__name__ == "Abort":
            return _say("interrupted", INTERRUPTED)
        if isinstance(error.__context__, BrokenPipeError):
            raise error.__context__ from None  # typer ends with 1 when the reader leaves, which would read as "no"
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else 0
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # typer's own usage errors
            with contextlib.suppress(OSError):
                error.show()
            return int(error.exit_code)
        reason = " ".join(str(error).split())[:300]
        return _say(
            f"internal error: {type(error).__name__}: {reason} (set {TRACEBACK}=1 to see where)",
            TraceabilityError.exit_code,
        )


def _say(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # an answer that cannot be explained is still that answer
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        print(f"onnxnnw: {visible(message)}", file=sys.stderr)
    return code
