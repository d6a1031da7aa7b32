"""Tables built from the trials alone, for methods and settings that the standard has no table for."""

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from onnxnnw.report import counts
from onnxnnw.report.counts import STANDARD, STRICT
from onnxnnw.report.results import Results
from onnxnnw.report.settings import (
    Setting,
    by_setting,
    method_name,
    modification_name,
    modifications_of,
    network_name,
    number,
    running,
    symbol,
    unit_of,
)
from onnxnnw.report.tables.measures import (
    error_entry,
    form_of,
    found_entries,
    impact_entry,
    metrics_of,
    quality_entry,
    value_entry,
    values_of,
)
from onnxnnw.report.tables.standard_tables import RETRIEVED
from onnxnnw.report.tables.table import (
    Column,
    ReportTable,
    RowGroup,
    TableEntry,
    averaged,
    counted,
    fixed,
    label,
    missing,
    note,
)
from onnxnnw.report.trials import Detection, Modified
from onnxnnw.standard.tables import TABLES

__all__ = ["count_tables", "other_imperceptibility", "other_robustness"]

_BOTH = (Column("standard's decision", RETRIEVED), Column("strict decision", RETRIEVED))


def other_imperceptibility(results: Results, shown: Collection[str]) -> tuple[ReportTable, ...]:
    """Impact of marks whose trials no table of the standard has shown; fingerprints change nothing and have none."""
    found = []
    for (method, kind), settings in _families(results, shown):
        kept = {s: [t for t in trials if t.modification is None] for s, trials in settings if s.kind == "watermark"}
        trials = [trial for group in kept.values() for trial in group]
        if not trials:
            continue
        values, groups = values_of(trials), []
        for network, inner in groupby(kept.items(), key=lambda item: network_name(item[0].network, item[0].size)):
            rows = [
                (
                    label(_row_name(setting)),
                    label(unit_of(metric)),
                    impact_entry(own, metric),
                    quality_entry(own, metric, "unmarked"),
                    quality_entry(own, metric),
                    *(value_entry(own, name) for name in values),
                    *found_entries(own),
                )
                for setting, own in inner
                for metric in metrics_of(own)
            ]
            groups.append(RowGroup(network, tuple(rows)))
        columns = (
            Column("setting", numeric=False),
            Column("metric", numeric=False),
            Column("impact, %"),
            Column("unmarked", "quality"),
            Column("marked", "quality"),
            *(Column(unit_of(name)) for name in values),
            *_BOTH,
        )
        printed = method in {table.method for table in TABLES.values()}
        title = f"Imperceptibility of {method_name(method, kind)}{', other settings' if printed else ''}"
        table_id = f"imperceptibility-{_slug(method)}-{_slug(kind)}"
        short = "Imperceptibility, other settings" if printed else "Imperceptibility"
        found.append(
            ReportTable(table_id, f"{method} {kind}", title, columns, tuple(groups), short, "imperceptibility")
        )
    return tuple(found)


def other_robustness(results: Results, shown: Collection[str]) -> tuple[ReportTable, ...]:
    """Robustness against each modification, of trials that no table of the standard has shown."""
    found = []
    for (method, kind), settings in _families(results, shown):
        every = [trial for _, trials in settings for trial in trials if trial.modification is not None]
        names = dict.fromkeys(at.name for at in modifications_of(every) if at is not None)
        for name in names:
            chosen = [t for t in every if t.modification is not None and t.modification.name == name]
            found.append(_robustness(method, kind, name, chosen))
    return tuple(found)


def _robustness(method: str, kind: str, name: str, trials: Sequence[Detection]) -> ReportTable:
    values, metrics = values_of(trials), metrics_of(trials)
    decoder = any(trial.verdict.errors is not None for trial in trials) and "ber" not in values
    groups = []
    for setting, own in by_setting(trials).items():
        rows = [
            (
                label(_strength(at)),
                *(value_entry(chosen, value) for value in values),
                *((_ser(chosen),) if decoder else ()),
                *(_or_nothing(error_entry(chosen, metric), chosen, metric) for metric in metrics),
                *found_entries(chosen),
            )
            for at, chosen in modifications_of(own).items()
        ]
        groups.append(RowGroup(", ".join(p for p in (setting.name, setting.block) if p), tuple(rows)))
    parameter = next((t.modification.parameter for t in trials if t.modification), None)
    columns = (
        Column(symbol(name, parameter)),
        *(Column(unit_of(value)) for value in values),
        *((Column("SER"),) if decoder else ()),
        *(Column(unit_of(metric), "error, %") for metric in metrics),
        *_BOTH,
    )
    printed = kind == "watermark" and (method, name) in {(t.method, t.modification) for t in TABLES.values()}
    short = f"{modification_name(name)}{', other settings' if printed else ''}"
    title = f"Robustness of {method_name(method, kind)} against {running(name)}{', other settings' if printed else ''}"
    table_id = f"robustness-{_slug(method)}-{_slug(kind)}-{_slug(name)}"
    return ReportTable(table_id, f"{method} {kind}", title, columns, tuple(groups), short, name)


def _strength(at: Modified | None) -> str:
    """The value of a modification's parameter, and of further ones that are not as usual."""
    if at is None:
        return "–"
    further = (f"{key.replace('_', ' ')} {number(value)}" for key, value in at.settings)
    return ", ".join(("–" if at.value is None else number(at.value), *further))


def _or_nothing(entry: TableEntry, trials: Sequence[Detection], metric: str) -> TableEntry:
    """A metric of another task is no gap of this network."""
    measured = any(metric in trial.quality for trial in trials)
    return entry if measured or not any(trial.quality for trial in trials) else note("another metric")


def _ser(trials: Sequence[Detection]) -> TableEntry:
    kept = [trial for trial in trials if counts.symbol_error_rate(trial) is not None]
    return averaged(counts.mean(kept, counts.symbol_error_rate), form_of("ser"), kept) if kept else missing()


def count_tables(results: Results) -> tuple[ReportTable, ...]:
    """TP, TN, FP, FN over M (D + 1) networks, for each mark, network and modification [NNW-NNT]."""
    trials = [trial for trial in results.of(Detection) if trial.key is None]
    over = {STANDARD: "standard's decision", STRICT: "strict decision"}
    names = ("TP", "TN", "FP", "FN", "FP ratio", "FN ratio")
    columns = (
        Column("modification", numeric=False),
        Column("networks"),
        *(Column(name, over[decision]) for decision in over for name in names),
    )
    found = []
    for (method, kind), inner in groupby(by_setting(trials).items(), key=lambda item: item[0].family):
        groups = []
        for setting, own in inner:
            rows = []
            for at, chosen in modifications_of(own).items():
                both = [counts.counts(chosen, decision) for decision in over]
                entries = [entry for count in both for entry in _count_entries(count, chosen)]
                rows.append((label(modification_name(at)), counted(both[0].networks, chosen), *entries))
            groups.append(RowGroup(", ".join(p for p in (setting.name, setting.block) if p), tuple(rows)))
        title = f"Detections of {method_name(method, kind)} per modification"
        notes = (
            "Networks are counted: a marked one by its own record, an unmarked one as FP where any of its D records finds "
            "itself in it. Ratios are over all M (D + 1) networks [NNW-NNT].",
        )
        table_id = f"detections-{_slug(method)}-{_slug(kind)}"
        short = "Detections per modification"
        found.append(
            ReportTable(table_id, f"{method} {kind}", title, columns, tuple(groups), short, "detections", notes=notes)
        )
    return tuple(found)


def _count_entries(count: counts.Counts, trials: Sequence[Detection]) -> tuple[TableEntry, ...]:
    marked, unmarked = [t for t in trials if t.truth], [t for t in trials if not t.truth]
    ratio = fixed(3)
    return (
        counted(count.true_positives, marked),
        counted(count.true_negatives, unmarked),
        counted(count.false_positives, unmarked),
        counted(count.false_negatives, marked),
        TableEntry(ratio(count.false_positive_ratio), "measured", count.false_positive_ratio, trials=tuple(trials)),
        TableEntry(ratio(count.false_negative_ratio), "measured", count.false_negative_ratio, trials=tuple(trials)),
    )


def _families(
    results: Results, shown: Collection[str]
) -> Iterable[tuple[tuple[str, str], list[tuple[Setting, list[Detection]]]]]:
    """(Method, kind) with the settings of its right keys' marked networks that were not shown yet."""
    kept = [t for t in results.of(Detection) if t.truth and t.key is None and t.id not in shown]
    for family, inner in groupby(by_setting(kept).items(), key=lambda item: item[0].family):
        yield family, list(inner)


def _row_name(setting: Setting) -> str:
    return ", ".join(part for part in (setting.name, setting.block) if part)


def _slug(text: str) -> str:
    """What is safe in a file name and an anchor, and different for different names."""
    if text and all(c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in text) and len(text) <= 40:
        return text
    import hashlib

    return f"x-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
