"""Trials become entries: impact, error, the measure of the mark, and whether it was found."""

from collections.abc import Iterable, Mapping, Sequence

from onnxnnw.report import counts
from onnxnnw.report.counts import STANDARD, STRICT, Decision
from onnxnnw.report.tables.table import Format, TableEntry, averaged, fixed, note, shared
from onnxnnw.report.trials import Detection
from onnxnnw.report.units import TRAININGS

__all__ = [
    "error_entry",
    "form_of",
    "found_entries",
    "impact_entry",
    "metrics_of",
    "quality_entry",
    "value_entry",
    "values_of",
]

_FORMATS: Mapping[str, Format] = {
    "percent": fixed(1),
    "psnr": fixed(2),
    "miou": fixed(2),
    "top1": fixed(2),
    "classification-error": fixed(2),
}
_BESIDE = {"top1": "classification-error"}
"""Qualities that are reported beside another one, and have no impact of their own there [NNW-TEC 6.1]."""
_NO_VALUE = ("log10_p",)
_CORR = "pearson"
"""What is printed as corr [NNW-TEC 7.2.5]; Spearman's stands beside it and decides."""


_NOTHING = "of 0: no relative change"


def form_of(name: str) -> Format:
    """How many digits a quantity is worth."""
    return _FORMATS.get(name, fixed(3))


def metrics_of(trials: Iterable[Detection]) -> tuple[str, ...]:
    """Metrics of which an impact or an error can be given, in the order in which they come."""
    names = dict.fromkeys(name for trial in trials for name in trial.quality)
    return tuple(name for name in names if _BESIDE.get(name) not in names)


def values_of(trials: Iterable[Detection]) -> tuple[str, ...]:
    """What the methods' decisions rest on, by name, in the order in which it comes."""
    names = dict.fromkeys(name for trial in trials for name in trial.verdict.values)
    return tuple(name for name in names if name not in _NO_VALUE)


def impact_entry(trials: Sequence[Detection], metric: str) -> TableEntry:
    """Mean impact in % [NNW-TEC Eq. 1]."""
    kept = [trial for trial in trials if counts.impact(trial, metric) is not None]
    if not kept and any((trial.unmarked or {}).get(metric) == 0 for trial in trials):
        return note(_NOTHING)
    return averaged(counts.mean(kept, lambda trial: counts.impact(trial, metric), TRAININGS), fixed(2), kept)


def error_entry(trials: Sequence[Detection], metric: str) -> TableEntry:
    """Mean error in % [NNW-TEC Eq. 2]."""
    kept = [trial for trial in trials if counts.error(trial, metric) is not None]
    if not kept and any((trial.unmodified or {}).get(metric) == 0 for trial in trials):
        return note(_NOTHING)
    return averaged(counts.mean(kept, lambda trial: counts.error(trial, metric), TRAININGS), fixed(2), kept)


def quality_entry(trials: Sequence[Detection], metric: str, of: str = "quality") -> TableEntry:
    """Mean quality of the networks, or (``of``) of their ``unmarked`` counterparts."""

    def quality(trial: Detection) -> float | None:
        return ((trial.unmarked if of == "unmarked" else trial.quality) or {}).get(metric)

    kept = [trial for trial in trials if quality(trial) is not None]
    return averaged(counts.mean(kept, quality, TRAININGS), form_of(metric), kept)


def value_entry(trials: Sequence[Detection], name: str) -> TableEntry:
    """Mean of a number that the standard's decision rests on; ``corr`` is Pearson's correlation."""
    name = _CORR if name == "corr" else name
    kept = [trial for trial in trials if name in trial.verdict.values]
    return averaged(counts.mean(kept, lambda trial: trial.verdict.values[name]), form_of(name), kept)


def found_entries(trials: Sequence[Detection]) -> tuple[TableEntry, TableEntry]:
    """In how many networks the mark was found: by the standard's decision, by the strict one."""
    return _found(trials, STANDARD), _found(trials, STRICT)


def _found(trials: Sequence[Detection], decision: Decision) -> TableEntry:
    return shared(counts.share(trials, lambda trial: counts.found(trial.verdict, decision)), trials)
