"""Networks without the mark: how often it was "found" nevertheless, with exact limits."""

from collections.abc import Iterable, Sequence

from onnxnnw.report import counts
from onnxnnw.report.results import Results
from onnxnnw.report.settings import by_setting, method_name, modification_name, modifications_of
from onnxnnw.report.tables.table import Column, ReportTable, RowGroup, TableEntry, counted, label, missing, shared
from onnxnnw.report.trials import Detection

__all__ = ["false_positive_table"]

FALSE_POSITIVES = "false positives"


def false_positive_table(results: Results) -> tuple[ReportTable, ...]:
    """Unmarked networks and wrong keys: how often the mark was "found" that is not there, with exact limits."""
    absent = [trial for trial in results.of(Detection) if not trial.truth]
    if not absent:
        return ()
    families = dict.fromkeys(setting.family for setting in by_setting(absent))
    together = [_false_positive_row("every trial without the mark", absent)] if len(families) > 1 else []
    together += [_false_positive_row(method_name(*family), _of_family(absent, family)) for family in families]
    groups = [RowGroup("All together", tuple(together))]
    for setting, own in by_setting(absent).items():
        unmarked = [trial for trial in own if trial.key is None]
        rows = [_false_positive_row("unmarked, all modifications", unmarked)] if unmarked else []
        for at, chosen in modifications_of(trial for trial in own if trial.key is not None).items():
            rows.append(_false_positive_row(f"wrong keys, {modification_name(at)}", chosen))
        groups.append(RowGroup(setting.full_name, tuple(rows)))
    over = "strict test"
    columns = (
        Column("asked", numeric=False),
        Column("trials"),
        Column("traced", over),
        Column("95 % limits", over),
        Column("p ≤ 5 %", over),
        Column("95 % limits", over),
        Column("p ≤ 1 %", over),
        Column("95 % limits", over),
        Column("retrieved", "standard's decision"),
        Column("95 % limits", "standard's decision"),
    )
    notes = (
        "Limits are exact ones (Clopper and Pearson) by different keys, each with the share of its trials: a key that is asked "
        "again after each modification is one draw. A calibrated p-value is at most 5 % in at most 5 % of these trials. NCT's "
        "standard decision is two-sided at 5 % and positive: nominally 2.5 %.",
    )
    title = "Networks without the mark: unmarked ones asked with right records, and wrong keys"
    return (
        ReportTable(
            "false-positives",
            FALSE_POSITIVES,
            title,
            columns,
            tuple(groups),
            "Unmarked networks and wrong keys",
            notes=notes,
        ),
    )


def _of_family(trials: Iterable[Detection], family: tuple[str, str]) -> list[Detection]:
    return [trial for trial in trials if trial.mark and (trial.mark.method, trial.mark.kind) == family]


def _false_positive_row(name: str, trials: Sequence[Detection]) -> tuple[TableEntry, ...]:
    row = [label(name), counted(len(trials), trials)]
    claimed = counts.claims(trials)
    shares = (
        counts.share(trials, lambda trial: trial.verdict.traced),
        counts.share(claimed, counts.at_most(0.05)),
        counts.share(claimed, counts.at_most(0.01)),
        counts.share(trials, lambda trial: trial.verdict.retrieved),
    )
    for share in shares:
        row += [shared(share, trials), _limits(share)]
    return tuple(row)


def _limits(share: counts.Share | None) -> TableEntry:
    if share is None:
        return missing("no p is claimed")
    return label(f"{100 * share.low:.3g} … {100 * share.high:.3g} %")
