"""The error at which a mark is first lost, per method and modification."""

from collections.abc import Hashable, Mapping, Sequence

from onnxnnw.report import counts
from onnxnnw.report.results import Results
from onnxnnw.report.settings import by_setting, modification_name, modifications_of, number, symbol
from onnxnnw.report.tables.measures import metrics_of
from onnxnnw.report.tables.table import Column, ReportTable, RowGroup, TableEntry, fixed, label, note
from onnxnnw.report.trials import Detection, Modified
from onnxnnw.report.units import key_of

__all__ = ["OUTLASTING", "outlasting_table"]

OUTLASTING = "outlasting"


def outlasting_table(results: Results) -> tuple[ReportTable, ...]:
    """The smallest error of a modified network in which the strict test lost the mark, and the largest in which it held."""
    marked = [t for t in results.of(Detection) if t.truth and t.key is None]
    groups = []
    for setting, own in by_setting(marked).items():
        metric = next(iter(metrics_of(own)), "")
        kinds: dict[tuple[str, tuple[tuple[str, float], ...]], list[Detection]] = {}
        before: dict[Hashable, bool] = {}
        for at, chosen in modifications_of(own).items():
            if at is not None:
                kinds.setdefault((at.name, at.settings), []).extend(chosen)
            else:
                before = {key_of(trial): trial.verdict.traced for trial in chosen}
        rows = [
            (label(modification_name(Modified(name, None, None, further))), *_entries(chosen, before, metric))
            for (name, further), chosen in kinds.items()
        ]
        if rows:
            groups.append(RowGroup(setting.full_name, tuple(rows)))
    if not groups:
        return ()
    columns = (
        Column("modification", numeric=False),
        Column("at", "first lost", numeric=False),
        Column("error there, %", "first lost"),
        Column("error, %", "still found at most at"),
        Column("log10 p", "still found at most at"),
    )
    notes = (
        "By the strict decision, over single networks. The error is that of the metric that is quoted, relative to the network "
        "before the modification [NNW-TEC Eq. 2]: a mark outlives the network where it is lost only at an error that leaves "
        "the network of no use. Only strengths that were tried are known. What is lost without any modification is not counted.",
    )
    title = "Does the mark outlive the network? The error at which it is first lost"
    return (ReportTable("outlasting", OUTLASTING, title, columns, tuple(groups), "First lost", notes=notes),)


def _entries(trials: Sequence[Detection], before: Mapping[Hashable, bool], metric: str) -> tuple[TableEntry, ...]:
    def error(trial: Detection) -> float:
        return counts.error(trial, metric) or 0.0

    kept = [trial for trial in trials if before.get(key_of(trial), True)]
    if trials and not kept:
        return (note("not found before, either"), *(note("–"),) * 3)
    known = [trial for trial in kept if counts.error(trial, metric) is not None]
    lost = sorted((t for t in known if not t.verdict.traced), key=error)
    found = sorted((t for t in known if t.verdict.traced), key=error)
    if not known:
        return (note("no error known"),) * 4
    first = (note(f"never, up to {_strongest(known)}"), note("–"))
    if lost:
        where = lost[0].modification
        assert where is not None
        first = (label(_at(where)), TableEntry(fixed(1)(error(lost[0])), "measured", error(lost[0]), trials=(lost[0],)))
    if not found:
        return (*first, note("never found"), note("–"))
    last = found[-1]
    p = last.verdict.log10_p
    return (
        *first,
        TableEntry(fixed(1)(error(last)), "measured", error(last), trials=(last,)),
        note("none claimed") if p is None else TableEntry(fixed(1)(p), "measured", p, trials=(last,)),
    )


def _strongest(trials: Sequence[Detection]) -> str:
    at = [modification for modification in modifications_of(trials) if modification is not None]
    return _at(at[-1])


def _at(at: Modified) -> str:
    return at.name if at.value is None else f"{symbol(at.name, at.parameter)} = {number(at.value)}"
