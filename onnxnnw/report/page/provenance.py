"""The trials behind each number of a page, as compact JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onnxnnw.report.fields import Numbers
from onnxnnw.report.settings import method_name, modification_name, setting_of
from onnxnnw.report.tables.table import TableEntry
from onnxnnw.report.trials import Detection, Injection, Scaling, Searched, Sharing, Trial, TrialVerdict, UnicityTrial

__all__ = ["TrialIndex"]

HEADER = ("trial", "what", "model", "payload", "the mark is there", "decision", "log10 p", "values", "quality", "cost")
_LISTED = (60, 24, 12, 6, 3, 1)
"""Trials that a number lists, at most; fewer where the page would grow beyond its budget."""


class TrialIndex:
    """Numbers of a page with the trials behind them; equal lists of trials are kept once."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], int] = {}
        self._trials: list[tuple[Trial, ...]] = []

    def number(self, entry: TableEntry) -> int | None:
        """Where the trials of an entry stand; None for one that has none."""
        if not entry.trials:
            return None
        key = tuple(trial.id for trial in entry.trials)
        if key not in self._groups:
            self._groups[key] = len(self._trials)
            self._trials.append(entry.trials)
        return self._groups[key]

    def to_json(self, budget: int = 3_000_000) -> str:
        """Trials and groups as compact JSON of at most about ``budget`` bytes, as long as one trial a number fits in."""
        content = ""
        for listed in _LISTED:
            content = json.dumps(self._content(listed), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            if len(content) <= budget:
                break
        return content

    def _content(self, listed: int) -> Mapping[str, Any]:
        texts: dict[str, int] = {}
        rows: dict[str, int] = {}
        table: list[list[Any]] = []
        groups = []
        for trials in self._trials:
            places = []
            for trial in _most_telling(trials, listed):
                if trial.id not in rows:
                    rows[trial.id] = len(table)
                    table.append([_indexed(cell, texts) for cell in _row(trial)])
                places.append(rows[trial.id])
            groups.append([len(trials), *places])
        return {"header": HEADER, "texts": list(texts), "rows": table, "groups": groups}


def _most_telling(trials: Sequence[Trial], listed: int) -> Iterable[Trial]:
    """The first ones; of many without the mark, those with the smallest p-values."""
    if len(trials) > listed and any(isinstance(t, Detection) and not t.truth for t in trials):
        return sorted(trials, key=_log10_p)[: min(listed, 20)]
    return trials[:listed]


def _log10_p(trial: Trial) -> float:
    verdict: TrialVerdict | None = getattr(trial, "verdict", None)
    return 0.0 if verdict is None or verdict.log10_p is None else verdict.log10_p


def _indexed(cell: Any, texts: dict[str, int]) -> Any:
    """Texts that come again are kept once: a cell is [index] then. Identities stay as they are."""
    return [texts.setdefault(cell[0], len(texts))] if isinstance(cell, tuple) else cell


def _row(trial: Trial) -> list[Any]:
    """Cells in the order of HEADER: plain ones, and texts that come again as tuples of one."""
    verdict: TrialVerdict | None = getattr(trial, "verdict", None)
    truth = trial.truth if isinstance(trial, Detection | UnicityTrial) else None
    return [
        trial.id,
        (_what(trial),),
        trial.model,
        trial.payload,
        ("" if truth is None else "yes" if truth else "no",),
        ("" if verdict is None else f"{verdict.decision}; {'' if verdict.retrieved else 'not '}retrieved",),
        None if verdict is None or verdict.log10_p is None else round(verdict.log10_p, 2),
        (_numbers(verdict.values if verdict else getattr(trial, "values", {}), skip=("log10_p",)),),
        (_quality(trial),),
        (_numbers(trial.cost),),
    ]


def _what(trial: Trial) -> str:
    setting = setting_of(trial)
    parts = [method_name(setting.method, setting.kind) if setting.method else "", setting.name]
    if isinstance(trial, Detection):
        parts += [modification_name(trial.modification), "" if trial.key is None else f"wrong key {trial.key}"]
    elif isinstance(trial, UnicityTrial):
        parts += [f"record of network {trial.record}, key {trial.key}", f"in network {trial.candidate}"]
    elif isinstance(trial, Searched):
        parts += [f"among {trial.records} records", "right" if trial.right else "wrong"]
    elif isinstance(trial, Sharing):
        parts += [f"mark {trial.number} {trial.role}", f"N = {trial.N}", f"{trial.share:.0%} replaced"]
    elif isinstance(trial, Scaling):
        parts += [f"N = {trial.N}"]
    elif isinstance(trial, Injection):
        parts += ["" if trial.iterations is None else f"inserted after {trial.iterations:g} batch iterations"]
    return ", ".join(part for part in parts if part)


def _quality(trial: Trial) -> str:
    if not isinstance(trial, Detection):
        return ""
    named = (("", trial.quality), ("unmodified: ", trial.unmodified), ("unmarked: ", trial.unmarked))
    return "; ".join(f"{name}{_numbers(numbers)}" for name, numbers in named if numbers)


def _numbers(numbers: Numbers, skip: Sequence[str] = ()) -> str:
    return ", ".join(f"{name} {value:.5g}" for name, value in numbers.items() if name not in skip)
