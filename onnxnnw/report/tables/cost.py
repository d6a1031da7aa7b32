"""Computational cost [NNW-NNT], and the environment in which it was measured."""

from collections.abc import Iterable, Sequence

from onnxnnw.report import counts
from onnxnnw.report.results import Results
from onnxnnw.report.settings import by_setting, network_name
from onnxnnw.report.tables.standard_tables import WITHHELD, increase_entry, iterations_entry, paired
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
    seconds,
)
from onnxnnw.report.trials import Detection, Injection, Retrieval, Scaling, Trial
from onnxnnw.report.units import TRAININGS

__all__ = ["cost_entry", "cost_tables", "environment_table"]

COST = "cost"


def cost_entry(trials: Sequence[Trial], name: str) -> TableEntry:
    """Mean of one duration in seconds, or of one memory figure in MB (10^6 bytes)."""
    kept = [trial for trial in trials if name in trial.cost]
    form, scale = (fixed(1), 1e-6) if name.endswith("_bytes") else (seconds, 1.0)
    return averaged(counts.mean(kept, lambda trial: trial.cost[name], TRAININGS), form, kept, scale)


_INJECTION = (
    "seconds_per_batch",
    "unmarked_seconds_per_batch",
    "peak_memory_bytes",
    "unmarked_peak_memory_bytes",
)


def cost_tables(results: Results) -> tuple[ReportTable, ...]:
    """Injection, retrieval, verification: seconds and memory, means with 95 % limits [NNW-NNT]."""
    return (
        *_injection(results.of(Injection)),
        *_retrieval(results.of(Retrieval)),
        *_verification(results.of(Detection)),
        *_scaling(results.of(Scaling)),
    )


def _injection(trials: Sequence[Injection]) -> Iterable[ReportTable]:
    if not trials:
        return
    rows = [
        (
            label(setting.full_name),
            iterations_entry(own),
            *(_of_pairs(own, name) for name in _INJECTION),
            increase_entry(own),
        )
        for setting, own in by_setting(trials).items()
    ]
    overs = ("seconds per batch", "peak memory, MB")
    pairs = [(over, title) for over in overs for title in ("marked", "unmarked")]
    columns = (
        Column("setting", numeric=False),
        Column("batch iterations until inserted"),
        *(Column(title, over) for over, title in pairs),
        Column("a batch takes longer by, %"),
    )
    notes = (
        "Time and memory are those of trainings with and without the mark by turns, each in a process of its own (costs.pairs "
        "of the campaign); what steps took that ran beside other work compares with nothing, and is withheld.",
    )
    yield ReportTable(
        "injection", COST, "Injection: time and memory", columns, (RowGroup("", tuple(rows)),), "Injection", notes=notes
    )


def _of_pairs(trials: Sequence[Injection], name: str) -> TableEntry:
    kept = [trial for trial in trials if paired(trial)]
    return cost_entry(kept, name) if kept else missing(WITHHELD)


def _retrieval(trials: Sequence[Retrieval]) -> Iterable[ReportTable]:
    if not trials:
        return
    rows = [
        (
            label(setting.full_name),
            cost_entry(own, "seconds"),
            cost_entry(own, "command_seconds"),
            cost_entry(own, "memory_bytes"),
        )
        for setting, own in by_setting(trials).items()
    ]
    columns = (
        Column("setting", numeric=False),
        Column("seconds"),
        Column("as a command, seconds"),
        Column("peak memory, MB"),
    )
    yield ReportTable(
        "retrieval",
        COST,
        "Detection, decoding, matching: time and memory",
        columns,
        (RowGroup("", tuple(rows)),),
        "Retrieval",
    )


def _verification(trials: Sequence[Detection]) -> Iterable[ReportTable]:
    names = ("verify_seconds", "modify_seconds", "measure_seconds")
    timed = [trial for trial in trials if trial.cost.keys() & set(names)]
    if not timed:
        return
    rows = [
        (label(setting.full_name), counted(len(own), own), *(cost_entry(own, name) for name in names))
        for setting, own in by_setting(timed).items()
    ]
    columns = (
        Column("setting", numeric=False),
        Column("trials"),
        Column("verify", "seconds per trial"),
        Column("modify", "seconds per trial"),
        Column("measure the quality", "seconds per trial"),
    )
    yield ReportTable("trial-cost", COST, "What the trials themselves took", columns, (RowGroup("", tuple(rows)),))


def _scaling(trials: Sequence[Scaling]) -> Iterable[ReportTable]:
    if not trials:
        return
    groups = []
    for network in dict.fromkeys((trial.network, trial.size) for trial in trials):
        own = [trial for trial in trials if (trial.network, trial.size) == network]
        rows = []
        for N in sorted({trial.N for trial in own}):
            kept = [trial for trial in own if trial.N == N]
            insertion, detection = (cost_entry(kept, n) for n in ("insertion_seconds", "detection_seconds"))
            rows.append((label(f"{N:,}"), insertion, detection))
        groups.append(RowGroup(network_name(*network), tuple(rows)))
    columns = (Column("N"), Column("insertion, seconds"), Column("detection, seconds"))
    yield ReportTable(
        "figure-5", COST, "Figure 5 in numbers: time against N", columns, tuple(groups), "Figure 5", "scaling"
    )


def environment_table(results: Results) -> ReportTable:
    """The testing environment, which the standard asks to be stated; trials done elsewhere name theirs."""
    groups = [RowGroup("Campaign", _pairs(results.environment) or ((label("environment"), missing("not stated")),))]
    others = dict.fromkeys(
        t.environment for t in results.trials if t.environment and t.environment != results.environment
    )
    groups += [
        RowGroup(f"Trials, environment {number}", _pairs(own)) for number, own in enumerate(list(others)[:20], 1)
    ]
    columns = (Column("what", numeric=False), Column("", numeric=False))
    return ReportTable("environment", COST, "Testing environment", columns, tuple(groups))


def _pairs(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[TableEntry, ...], ...]:
    return tuple((label(name), label(text)) for name, text in pairs)
