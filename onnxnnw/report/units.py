"""Independent units of a confidence limit: trials with the same key or training count as one draw."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from onnxnnw.report.trials import Detection, Searched, Trial, UnicityTrial

__all__ = ["KEYS", "NOUNS", "TRAININGS", "Unit", "by_unit", "key_of", "training_of"]

Unit = Callable[[Trial], Hashable]
Kind = TypeVar("Kind", bound=Trial)


def training_of(trial: Trial) -> Hashable:
    """The training that a network comes from: one of the M, in one campaign or in parts of one."""
    return trial.origin or trial.part, trial.network, trial.size, trial.model


def key_of(trial: Trial) -> Hashable:
    """The key that a network was asked with; of a network that carries the mark, the marked network itself.

    Marks of one key under several parameters are different networks, but a wrong key stays the one that it is: a lucky one
    is lucky after each modification, and at each parameter.
    """
    if isinstance(trial, UnicityTrial):
        return trial.origin or trial.part, trial.network, trial.size, trial.record, trial.key
    if isinstance(trial, Searched) or trial.mark is None:
        return training_of(trial)
    mark = trial.mark
    asked: tuple[Hashable, ...] = (training_of(trial), mark.method, mark.kind, trial.payload)
    if not isinstance(trial, Detection) or trial.truth:
        return *asked, mark.published, mark.parameters, mark.block
    if trial.key is None:
        return asked
    return *asked[:3], trial.payload if trial.marked else None, trial.marked, trial.key


KEYS: Unit = key_of
TRAININGS: Unit = training_of
NOUNS = {KEYS: "keys", TRAININGS: "trainings"}


def by_unit(trials: Iterable[Kind], unit: Unit) -> dict[Hashable, list[Kind]]:
    """Trials grouped by independent unit."""
    found: dict[Hashable, list[Kind]] = {}
    for trial in trials:
        found.setdefault(unit(trial), []).append(trial)
    return found
