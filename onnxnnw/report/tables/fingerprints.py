"""Fingerprints and marks compared with others: unicity, search, and Figure 4's sharing of Weights."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby

from onnxnnw.report import counts
from onnxnnw.report.results import Results
from onnxnnw.report.settings import by_setting
from onnxnnw.report.tables.cost import cost_entry
from onnxnnw.report.tables.table import (
    Column,
    ReportTable,
    RowGroup,
    TableEntry,
    averaged,
    fixed,
    label,
    missing,
    shared,
)
from onnxnnw.report.trials import Searched, Sharing, UnicityTrial

__all__ = ["fingerprint_tables", "sharing_tables"]


def fingerprint_tables(results: Results) -> tuple[ReportTable, ...]:
    """Unicity and search [NNW-TEC 5.3.1]."""
    return (*_unicity(results.of(UnicityTrial)), *_search(results.of(Searched)))


def _unicity(trials: Sequence[UnicityTrial]) -> Iterable[ReportTable]:
    if not trials:
        return
    rows = []
    for setting, own in by_setting(trials).items():
        same, other = [t for t in own if t.truth], [t for t in own if not t.truth]
        closest = max((t.verdict.effect for t in other if t.verdict.effect is not None), default=None)
        rows.append(
            (
                label(setting.full_name),
                shared(counts.share(same, lambda t: t.verdict.traced), same),
                shared(counts.share(other, lambda t: t.verdict.traced), other),
                shared(counts.share(other, lambda t: t.verdict.retrieved), other),
                missing("no pair")
                if closest is None
                else TableEntry(fixed(3)(closest), "measured", closest, trials=tuple(other)),
            )
        )
    columns = (
        Column("setting", numeric=False),
        Column("own network traced"),
        Column("another network traced", "strict decision"),
        Column("another network retrieved", "standard's decision"),
        Column("largest effect in another"),
    )
    notes = (
        "Every record asked of every network. Limits count records, each with the share of networks in which it was found.",
    )
    yield ReportTable(
        "unicity",
        "fingerprints",
        "Unicity: records against networks",
        columns,
        (RowGroup("", tuple(rows)),),
        "Unicity",
        "unicity",
        notes=notes,
    )


def _search(trials: Sequence[Searched]) -> Iterable[ReportTable]:
    if not trials:
        return
    groups = []
    for setting, own in by_setting(trials).items():
        rows = []
        for size in sorted({trial.records for trial in own}):
            kept = [trial for trial in own if trial.records == size]
            right = counts.share(kept, lambda trial: trial.right)
            rows.append((label(f"{size:,}"), shared(right, kept), cost_entry(kept, "seconds_per_record")))
        groups.append(RowGroup(setting.full_name, tuple(rows)))
    columns = (Column("records"), Column("best match was the right one"), Column("seconds per record"))
    yield ReportTable(
        "search", "fingerprints", "Search: one network among many records", columns, tuple(groups), "Search"
    )


def _value(trial: Sharing, name: str) -> float | None:
    return trial.values.get(name)


def sharing_tables(results: Results) -> tuple[ReportTable, ...]:
    """The numbers behind Figure 4."""
    trials = results.of(Sharing)
    if not trials:
        return ()
    groups = []
    settings = by_setting(trials)
    for setting, of_setting in settings.items():
        where = f"{setting.full_name}: " if len(settings) > 1 else ""
        groups += [_of_mark(where, own) for own in _by_mark(of_setting)]
    columns = (
        Column("replaced"),
        Column("Spearman"),
        Column("Pearson"),
        Column("retrieved, standard's decision"),
    )
    title = "Figure 4 in numbers: a mark whose Weights are replaced by another mark"
    return (ReportTable("figure-4", "nct watermark", title, columns, tuple(groups), "Figure 4", "sharing"),)


def _by_mark(trials: Sequence[Sharing]) -> Iterable[list[Sharing]]:
    """Trials mark by mark, those inserted at epoch 0 apart."""

    def mark(trial: Sharing) -> tuple[int, bool, int, str]:
        return trial.N, trial.at_epoch_0, trial.number, trial.role

    for _, own in groupby(sorted(trials, key=mark), key=mark):
        yield list(own)


def _of_mark(where: str, trials: Sequence[Sharing]) -> RowGroup:
    rows = []
    for share in sorted({trial.share for trial in trials}):
        kept = [trial for trial in trials if trial.share == share]
        values = [
            averaged(counts.mean(kept, partial(_value, name=name)), fixed(3), kept) for name in ("spearman", "pearson")
        ]
        rows.append((label(f"{100 * share:.4g} %"), *values, shared(counts.share(kept, lambda t: t.retrieved), kept)))
    first = trials[0]
    inserted = ", inserted at epoch 0, trained afterwards" if first.at_epoch_0 else ""
    role = f", {first.role}" if first.role else ""
    return RowGroup(f"{where}Mark {first.number}{role}, N = {first.N}{inserted}", tuple(rows))
