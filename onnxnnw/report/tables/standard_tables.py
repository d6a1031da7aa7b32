"""The standard's Tables 2 to 23: published figures, and beside them what the campaign measured.

Where several settings of a campaign answer to one printed configuration (two blocks, two sizes of a network), each gets rows
of its own: averages over different things would compare with nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from onnxnnw.report import counts
from onnxnnw.report.results import Results
from onnxnnw.report.settings import (
    Setting,
    by_setting,
    method_name,
    modification_name,
    network_name,
    number,
    published_name,
    symbol,
    unit_of,
)
from onnxnnw.report.tables.measures import error_entry, found_entries, impact_entry, quality_entry, value_entry
from onnxnnw.report.tables.table import (
    Column,
    ReportTable,
    RowGroup,
    TableEntry,
    averaged,
    fixed,
    label,
    missing,
    note,
    published,
)
from onnxnnw.report.trials import Detection, Injection
from onnxnnw.report.units import TRAININGS
from onnxnnw.standard.tables import TABLES, Cell, Table

__all__ = ["RETRIEVED", "WITHHELD", "cuts_of", "increase_entry", "iterations_entry", "paired", "standard_tables"]

RETRIEVED = "mark found in"
WITHHELD = "withheld: no interleaved pairs"
_BOTH = (Column("standard's decision", RETRIEVED), Column("strict decision", RETRIEVED))
_READING = "± is half of the 95 % confidence interval of the mean over the networks; no ± means one network."


@dataclass(frozen=True)
class _Case:
    """One printed configuration and one setting that answers to it, or none."""

    network: str
    published: Mapping[str, float]
    setting: Setting | None
    alone: bool

    @property
    def name(self) -> str:
        """For people: what is printed, and what tells several settings apart."""
        network = network_name(self.network, self.setting.size if self.setting else "reference")
        block = "" if self.alone or not self.setting else self.setting.block
        return ", ".join(part for part in (network, self.parameters, block) if part)

    @property
    def within(self) -> str:
        """The same under a heading that names the network."""
        size = self.setting.size if self.setting and self.setting.size != "reference" else ""
        block = "" if self.alone or not self.setting else self.setting.block
        return ", ".join(part for part in (self.parameters, size, block) if part)

    @property
    def parameters(self) -> str:
        """Of the setting where there is one; printed ones may be incomplete."""
        return published_name(dict(self.setting.published) if self.setting else self.published)


def standard_tables(results: Results) -> tuple[ReportTable, ...]:
    """All tables of results, in the order of print."""
    marked = by_setting(trial for trial in results.of(Detection) if trial.truth and trial.key is None)
    injections = by_setting(results.of(Injection))
    makers: Mapping[str, Callable[[Table], ReportTable]] = {
        "robustness": lambda table: _robustness(table, marked),
        "imperceptibility": lambda table: _imperceptibility(table, marked),
        "computational cost": lambda table: _cost(table, injections),
    }
    return tuple(
        _with_cuts(makers[table.property](table), results) for table in TABLES.values() if table.property in makers
    )


def cuts_of(results: Results, number: int) -> tuple[str, ...]:
    """The reductions of the campaign that concern one table."""
    return tuple(cut.sentence for cut in results.cuts if number in cut.tables)


def _with_cuts(report_table: ReportTable, results: Results) -> ReportTable:
    return replace(report_table, cuts=cuts_of(results, report_table.number or 0))


def _report_table(
    table: Table, columns: Iterable[Column], groups: Iterable[RowGroup], notes: tuple[str, ...] = (_READING,)
) -> ReportTable:
    chapter = f"{table.method} watermark" if table.method else "samples"
    return ReportTable(
        id=f"table-{table.number}",
        chapter=chapter,
        title=table.title,
        short=_short(table),
        topic=table.modification or table.property,
        columns=tuple(columns),
        groups=tuple(groups),
        number=table.number,
        clause=table.clause,
        flags=table.flags,
        notes=notes,
    )


def _short(table: Table) -> str:
    """What the title says, for the contents."""
    if not table.modification:
        return table.property.capitalize()
    only = f", {network_name(table.networks[0])}" if len(table.networks) == 1 else ""
    return f"{modification_name(table.modification)}{only}"


def _cases(cells: Iterable[Cell], settings: Iterable[Setting], method: str) -> list[_Case]:
    """Printed configurations in the order of print, each with the settings that answer to it."""
    known = list(settings)
    found = []
    for network, items in dict.fromkeys((cell.network, tuple(cell.published.items())) for cell in cells):
        answering = [setting for setting in known if setting.agrees(network, method, dict(items))]
        found += [_Case(network or s.network, dict(items), s, len(answering) == 1) for s in answering]
        if not answering:
            found.append(_Case(network, dict(items), None, True))
    return found


def _with(
    marked: Mapping[Setting, list[Detection]], wanted: Callable[[Detection], bool]
) -> Mapping[Setting, list[Detection]]:
    """The settings that have such trials, and only these: a part that asked nothing of a table has no rows in it."""
    kept = {setting: [trial for trial in trials if wanted(trial)] for setting, trials in marked.items()}
    return {setting: trials for setting, trials in kept.items() if trials}


def _printed(cells: Iterable[Cell], case: _Case, quantity: str, value: float | None, metric: str = "") -> TableEntry:
    for cell in cells:
        same = (cell.quantity, cell.value, dict(cell.published)) == (quantity, value, dict(case.published))
        if same and cell.network in ("", case.network) and metric in ("", cell.metric):
            return published(cell)
    return note("not printed")


def _is_value(trial: Detection, modification: str, value: float) -> bool:
    at = trial.modification
    if at is None or at.value is None or at.settings:
        return False
    return at.name == modification and abs(at.value - value) < 1e-9


def _mark_columns(quantity: str) -> tuple[Column, ...]:
    over = unit_of(quantity)
    if quantity == "corr":
        return Column("published", over), Column("Pearson", over), Column("Spearman", over)
    return Column("published", over), Column("measured", over)


def _mark_entries(trials: Sequence[Detection], quantity: str) -> tuple[TableEntry, ...]:
    names = ("pearson", "spearman") if quantity == "corr" else (quantity,)
    return tuple(value_entry(trials, name) for name in names)


def _robustness(table: Table, marked: Mapping[Setting, list[Detection]]) -> ReportTable:
    quantity = next(cell.quantity for cell in table.cells if cell.quantity != "error")
    metric = next(cell.metric for cell in table.cells if cell.quantity == "error")
    asked = _with(
        marked, lambda trial: trial.modification is not None and trial.modification.name == table.modification
    )
    groups = []
    for case in _cases(table.cells, asked, table.method):
        rows = []
        for value in table.values:
            at = asked.get(case.setting, []) if case.setting else []
            trials = [trial for trial in at if _is_value(trial, table.modification, value)]
            rows.append(
                (
                    label(number(value)),
                    _printed(table.cells, case, quantity, value),
                    *_mark_entries(trials, quantity),
                    _printed(table.cells, case, "error", value),
                    error_entry(trials, metric),
                    quality_entry(trials, "top1"),
                    *found_entries(trials),
                )
            )
        groups.append(RowGroup(case.name, tuple(rows)))
    errors = (Column("published", "error, %"), Column("measured", "error, %"), Column("measured", "Top-1, %"))
    columns = (Column(symbol(table.modification)), *_mark_columns(quantity), *errors, *_BOTH)
    return _report_table(table, columns, groups)


def _imperceptibility(table: Table, marked: Mapping[Setting, list[Detection]]) -> ReportTable:
    """Rows of configurations, one for each metric, under a heading for each network (or method, where several are compared)."""
    marks = tuple(dict.fromkeys(cell.quantity for cell in table.cells if cell.quantity != "impact"))
    promised = ("corr",) if table.method == "nct" and not marks else ()
    metrics = tuple(dict.fromkeys(cell.metric for cell in table.cells if cell.metric))
    asked = _with(marked, lambda trial: trial.modification is None)
    groups: dict[str, list[tuple[TableEntry, ...]]] = {}
    for method in dict.fromkeys(cell.method for cell in table.cells):
        own = [cell for cell in table.cells if cell.method == method]
        for case in _cases(own, asked, method):
            trials = asked.get(case.setting, []) if case.setting else []
            printed = {cell.metric for cell in own if (cell.network, cell.quantity) == (case.network, "impact")}
            for metric in (metric for metric in metrics if metric in printed):
                row = [label(case.within if table.method else case.name)]
                row += [label(unit_of(metric))] if len(metrics) > 1 else []
                row += [_printed(own, case, "impact", None, metric), impact_entry(trials, metric)]
                row += [quality_entry(trials, metric, "unmarked"), quality_entry(trials, metric)]
                row += [quality_entry(trials, "top1")] if metrics == ("classification-error",) else []
                for mark in marks:
                    row += [_printed(own, case, mark, None), *_mark_entries(trials, mark)]
                row += [entry for mark in promised for entry in _mark_entries(trials, mark)]
                title = network_name(case.network) if table.method else method_name(method)
                groups.setdefault(title, []).append((*row, *found_entries(trials)))
    columns = [Column("setting", numeric=False)]
    columns += [Column("metric", numeric=False)] if len(metrics) > 1 else []
    columns += [Column("published", "impact, %"), Column("measured", "impact, %")]
    columns += [Column("unmarked", "quality"), Column("marked", "quality")]
    columns += [Column("marked", "Top-1, %")] if metrics == ("classification-error",) else []
    columns += [column for mark in marks for column in _mark_columns(mark)]
    columns += [column for mark in promised for column in _mark_columns(mark)[1:]]
    return _report_table(table, (*columns, *_BOTH), [RowGroup(title, tuple(rows)) for title, rows in groups.items()])


def _cost(table: Table, injections: Mapping[Setting, list[Injection]]) -> ReportTable:
    groups = []
    for method in dict.fromkeys(cell.method for cell in table.cells):
        own = [cell for cell in table.cells if cell.method == method]
        rows = []
        for case in _cases(own, injections, method):
            trials = injections[case.setting] if case.setting else []
            rows.append(
                (
                    label(case.name or "no network is named"),
                    _printed(own, case, "iterations", None),
                    iterations_entry(trials),
                    _printed(own, case, "increase", None),
                    increase_entry(trials),
                )
            )
        groups.append(RowGroup(method_name(method), tuple(rows)))
    over = "batch iterations until inserted", "increase of the time of a batch, %"
    columns = [Column(title, name) for name in over for title in ("published", "measured")]
    return _report_table(table, (Column("setting", numeric=False), *columns), groups)


def iterations_entry(trials: Sequence[Injection]) -> TableEntry:
    """Mean batch iterations until the mark was in; where it never was, or training does not insert it, a word."""
    kept = [trial for trial in trials if trial.iterations is not None]
    if trials and not kept:
        at_one_moment = all(trial.mark is not None and "alpha" in dict(trial.mark.published) for trial in trials)
        return note("not by training" if at_one_moment else f"never complete (0 of {len(trials)})")
    if not kept:
        return missing()
    entry = averaged(counts.mean(kept, lambda trial: trial.iterations), fixed(0), kept)
    return (
        entry
        if len(kept) == len(trials)
        else replace(entry, text=f"{entry.text} ({len(kept)} of {len(trials)} complete)")
    )


def increase_entry(trials: Sequence[Injection]) -> TableEntry:
    """By how much a batch takes longer, in %: of interleaved pairs only, since whatever else a machine does comes and goes."""
    kept = [trial for trial in trials if paired(trial)]
    if trials and not kept:
        return missing(WITHHELD)
    return averaged(counts.mean(kept, lambda trial: trial.cost.get("increase_percent"), TRAININGS), fixed(1), kept)


def paired(trial: Injection) -> bool:
    """Whether time and memory were measured with and without the mark by turns, each in a process of its own."""
    return trial.cost.get("pairs", 0.0) >= 1
