"""A table before rendering: columns, groups of rows, and entries with the trials they were computed from."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from onnxnnw.report.counts import Mean, Share
from onnxnnw.report.trials import Trial
from onnxnnw.standard.tables import Cell

__all__ = [
    "NOT_MEASURED",
    "Column",
    "ReportTable",
    "RowGroup",
    "TableEntry",
    "averaged",
    "counted",
    "fixed",
    "label",
    "missing",
    "note",
    "published",
    "seconds",
    "shared",
]

LONG = 30
RETOLD = ("detections", "sharing", "scaling")
"""Topics that a table above or a figure tells already."""
NOT_MEASURED = "not measured in this campaign"


@dataclass(frozen=True)
class TableEntry:
    """One cell of a table.

    Attributes:
        text: What is shown; limits are beside it.
        role: ``label``, ``published``, ``measured``, ``missing`` or ``note``.
        value: The number itself, where it is one.
        margin: Half the width of the confidence interval of a mean, as shown.
        low, high: Its confidence limits.
        trials: What it was computed from.
        cell: Of the standard, where it is a published figure.
    """

    text: str
    role: str
    value: float | None = None
    margin: str = ""
    low: float | None = None
    high: float | None = None
    trials: tuple[Trial, ...] = field(default=(), repr=False)
    cell: Cell | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Column:
    """A column; neighbours with the same ``over`` share a heading above."""

    title: str
    over: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class RowGroup:
    """Rows under a heading of their own; an empty title has none."""

    title: str
    rows: tuple[tuple[TableEntry, ...], ...]

    @property
    def measured(self) -> bool:
        """Whether anything was measured."""
        return any(entry.role == "measured" for row in self.rows for entry in row)


@dataclass(frozen=True)
class ReportTable:
    """A table.

    Attributes:
        id: Short and unique: file name and anchor.
        chapter: The heading it stands under; ``topic`` what it stands beside there: a modification, a property.
        short: For the contents.
        number: Of the standard's table; None for ours.
        flags: Contradictions in the standard that touch it; ``cuts``: what the campaign did with less than was asked for.
        notes: Sentences that say how to read it.
    """

    id: str
    chapter: str
    title: str
    columns: tuple[Column, ...]
    groups: tuple[RowGroup, ...]
    short: str = ""
    topic: str = ""
    number: int | None = None
    clause: str = ""
    flags: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def entries(self) -> Iterable[TableEntry]:
        """All cells, row by row."""
        return (entry for group in self.groups for row in group.rows for entry in row)

    @property
    def measured(self) -> bool:
        """Whether anything was measured."""
        return any(group.measured for group in self.groups)

    @property
    def folded(self) -> bool:
        """Whether the page shows only the heading at first: a long table whose content is summarised above."""
        return self.topic in RETOLD and sum(len(group.rows) for group in self.groups) > LONG

    @property
    def heading(self) -> str:
        """Number and title as in print."""
        return self.title if self.number is None else f"Table {self.number}. {self.title}"

    @property
    def entry(self) -> str:
        """For the contents."""
        short = self.short or self.title
        return short if self.number is None else f"Table {self.number}. {short}"


Format = Callable[[float], str]


def fixed(digits: int) -> Format:
    """So many digits behind the point; a minus only where something is left of the number."""

    def text(value: float) -> str:
        shown = f"{value:.{digits}f}"
        return shown.removeprefix("-") if float(shown) == 0 else shown

    return text


def seconds(value: float) -> str:
    """Three significant digits."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 9)}f}"


def label(text: str) -> TableEntry:
    """What a row is about."""
    return TableEntry(text, "label")


def published(cell: Cell) -> TableEntry:
    """A figure of the standard, exactly as printed."""
    return TableEntry(cell.printed, "published", cell.number, cell=cell)


def missing(text: str = NOT_MEASURED) -> TableEntry:
    """Something that was not measured."""
    return TableEntry(text, "missing")


def note(text: str) -> TableEntry:
    """A word where a number would mislead."""
    return TableEntry(text, "note")


def averaged(mean: Mean | None, form: Format, trials: Sequence[Trial], scale: float = 1.0) -> TableEntry:
    """A mean with its limits; without one, the entry says that nothing was measured."""
    if mean is None:
        return missing()
    value = mean.value * scale
    if mean.low is None or mean.high is None:
        return TableEntry(form(value), "measured", value, trials=tuple(trials))
    half = (mean.high - mean.low) / 2 * scale
    text = form(value)
    margin = fixed(len(text.partition(".")[2]))(half)
    return TableEntry(text, "measured", value, margin, mean.low * scale, mean.high * scale, tuple(trials))


def shared(share: Share | None, trials: Sequence[Trial]) -> TableEntry:
    """k of n trials, and the number of keys; the limits are those of the share."""
    if share is None:
        return missing()
    text = f"{share.hits:,} of {share.count:,}"
    if share.units < share.count:
        text += f" ({share.units:,} {'key' if share.units == 1 else 'keys'})"
    return TableEntry(text, "measured", share.value, "", share.low, share.high, tuple(trials))


def counted(count: int, trials: Sequence[Trial]) -> TableEntry:
    """A bare count."""
    return TableEntry(f"{count:,}", "measured", float(count), trials=tuple(trials))
