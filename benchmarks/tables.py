"""What every speed benchmark shares: its options, its folder, and a Markdown report that can replace itself."""

import argparse
import contextlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import machine

__all__ = [
    "Report",
    "Workplace",
    "corpus_options",
    "megabytes",
    "options_of",
    "parse_size",
    "progress",
    "seconds",
    "size_text",
    "within",
    "workplace",
]

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_RESERVE = 2 * 10**9


@dataclass
class Report:
    """Lines of Markdown under one name, with the command that made them.

    Attributes:
        name: Of the benchmark.
        arguments: It was called with.
        section: Of the page; the benchmark's name where it has only one.
    """

    name: str
    arguments: Sequence[str]
    section: str = ""
    lines: list[str] = field(default_factory=list)
    command: str = ""

    def __post_init__(self) -> None:
        shown = [_shown(self.arguments, i) for i in range(len(self.arguments)) if not _is_place(self.arguments, i)]
        command = self.command or " ".join(["python -m benchmarks", self.name, *shown])
        self.say(f"Command: `{command}`.", *machine.describe())

    def say(self, *paragraphs: str) -> None:
        """Add paragraphs."""
        for text in paragraphs:
            self.lines += [text, ""]

    def table(self, title: str, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table, in the place of one of this title that there was before: tables grow while they are measured."""
        lines = [f"**{title}**", "", f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
        start = self.lines.index(lines[0]) if lines[0] in self.lines else len(self.lines)
        end = self.lines.index("", start + 2) + 1 if start < len(self.lines) else start
        self.lines[start:end] = lines

    def publish(self, output: Path | None) -> None:
        """Print the report, and put it between its markers in a page (or at the end of it) where one is given."""
        text = "\n".join(self.lines).strip()
        print(text, flush=True)
        if output is None:
            return
        section = self.section or self.name
        begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
        page = output.read_text() if output.exists() else ""
        head, found, rest = page.partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            head, tail = page + ("\n" if page else ""), "\n"
        output.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def _is_place(arguments: Sequence[str], index: int) -> bool:
    """Whether an argument only says where files lie: a page for everybody does not repeat it."""
    places = ("--output", "--folder", "--section")
    return arguments[index] in places or (index > 0 and arguments[index - 1] in places)


def _shown(arguments: Sequence[str], index: int) -> str:
    """An argument as a page shows it: where a user's own material lies, it stands for the user's own place."""
    own = {"--data": "DIR", "--start": "FILE", "--rtw": "DIR", "--tbw": "DIR", "--before": "OLDER", "--place": "FOLDER"}
    return own.get(arguments[index - 1]) or shlex.quote(arguments[index]) if index else shlex.quote(arguments[index])


@dataclass(frozen=True)
class Workplace:
    """A folder for networks and records that is emptied afterwards."""

    folder: Path

    @contextlib.contextmanager
    def room(self, name: str, needed: int) -> Iterator[Path | None]:
        """A new folder inside, or None where the disk cannot hold ``needed`` bytes."""
        if shutil.disk_usage(self.folder).free < needed + _RESERVE:
            yield None
            return
        place = self.folder / name
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place)


@contextlib.contextmanager
def workplace(folder: Path | None) -> Iterator[Workplace]:
    """A temporary folder, below ``folder`` where one is given."""
    with tempfile.TemporaryDirectory(prefix="onnxnnw-benchmarks-", dir=folder) as place:
        machine.bytecode_in(Path(place) / "bytecode")
        yield Workplace(Path(place))


def options_of(name: str, description: str | None, arguments: list[str], **defaults: str) -> argparse.Namespace:
    """The options that all speed benchmarks have, and lists with a default each."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description)
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds; medians are shown (default 5)")
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    parser.add_argument("--section", default=name, help="its markers there, so that one row can be measured alone")
    parser.add_argument("--folder", type=Path, help="where large files may lie for the time of the measurement")
    for key, default in defaults.items():
        parser.add_argument(f"--{key}", default=default, help=f"separated by commas (default {default or 'none'})")
    return parser.parse_args(arguments)


def corpus_options(name: str, description: str | None, arguments: list[str]) -> argparse.Namespace:
    """Options of a benchmark that looks at a folder of networks; the page that is to be written has its folder."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description)
    parser.add_argument("--corpus", type=Path, required=True, help="a folder; every *.onnx below it is looked at")
    parser.add_argument("--output", type=Path, help="a Markdown page that the report is put into, between its markers")
    options = parser.parse_args(arguments)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
    return options


def listed(text: str) -> list[str]:
    """The parts of a list with commas."""
    return [part for part in text.split(",") if part]


def parse_size(text: str) -> int:
    """``1.9GB`` -> 1900000000."""
    number, unit = text.strip()[:-2], text.strip()[-2:].upper()
    return round(float(number) * _UNITS[unit])


def size_text(size: float) -> str:
    """1900000000 -> ``1.9 GB``."""
    unit = next(u for u in ("GB", "MB", "KB") if size >= _UNITS[u] or u == "KB")
    return f"{size / _UNITS[unit]:.3g} {unit}"


def seconds(measured: machine.Measured | None) -> str:
    """A median, or a dash."""
    if measured is None:
        return "–"
    return f"{measured.seconds:.3f}" if measured.seconds < 10 else f"{measured.seconds:.1f}"


def megabytes(measured: machine.Measured | None) -> str:
    """Median peak memory in MB (2^20), or a dash."""
    return "–" if measured is None else f"{measured.peak_mb:.0f}"


def within(value: float, limit: float, unit: str) -> str:
    """``holds`` or ``missed``, with both numbers."""
    if value <= limit:
        return f"holds: {value:.3g} ≤ {limit:.3g} {unit}"
    return f"**missed by {100 * (value / limit - 1):.0f} %**: {value:.3g} > {limit:.3g} {unit}"


def progress(text: str) -> None:
    """Say on stderr what is being measured."""
    print(text, file=sys.stderr, flush=True)
