"""Several folders of results as one: a campaign that was run in parts, or several methods."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from onnxnnw.errors import UnreadableData
from onnxnnw.report.results import CampaignSteps, Results
from onnxnnw.report.settings import NO_MARK, Setting, setting_of
from onnxnnw.report.trials import Trial

__all__ = ["joined"]


def joined(parts: Sequence[Results]) -> Results:
    """All trials of these results.

    A trial that stands in several parts counts once, for the one that has most trials, whatever the order in which they are given.
    Where several parts answer to one setting – the same method, parameters and network, but other trainings – each keeps rows
    of its own, under its name: an average over both would be of nothing.

    Raises:
        UnreadableData: Two parts have different trials of one name.
    """
    parts = _told_apart(parts)
    if len(parts) == 1:
        return parts[0]
    trials: dict[str, Trial] = {}
    where: dict[tuple[Setting, str], set[str]] = {}
    for part in sorted(parts, key=lambda part: (-len(part.trials), part.name)):
        for trial in part.trials:
            known = trials.setdefault(trial.id, trial)
            if known is not trial and _content(known) != _content(trial):
                raise UnreadableData(f"trial {trial.id!r} is one thing in {known.part} and another in {trial.part}")
    for trial in trials.values():
        where.setdefault(_asked(trial), set()).add(trial.part)
    unknown = sum((Counter(part.unknown) for part in parts), Counter[str]())
    return Results(
        name=_shortly([part.name for part in parts], " + "),
        date=", ".join(sorted({part.date for part in parts if part.date})),
        cuts=tuple(dict.fromkeys(cut for part in parts for cut in part.cuts)),
        environment=_environments(parts),
        steps=CampaignSteps(
            sum(part.steps.count for part in parts),
            sum(part.steps.seconds for part in parts),
            sum(part.steps.overhead_seconds for part in parts),
            tuple(name for part in parts for name in part.steps.failed),
        ),
        trials=tuple(
            _named(trial, len(where[_asked(trial)]) > 1)
            for part in parts
            for trial in (trials[one.id] for one in part.trials)
            if trial.part == part.name
        ),
        unknown=dict(unknown),
        parts=tuple(one for part in parts for one in part.parts),
    )


def _content(trial: Trial) -> Trial:
    """What a trial says, wherever and whenever it was measured."""
    return replace(trial, part="", origin="", cost={}, environment=())


def _environments(parts: Sequence[Results]) -> tuple[tuple[str, str], ...]:
    """What the parts say of where they ran, each value once."""
    values: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, text in part.environment:
            values.setdefault(name, {})[text] = None
    return tuple((name, _shortly(list(texts), "; ")) for name, texts in values.items())


def _shortly(texts: Sequence[str], between: str) -> str:
    """Three of them at most, and how many more there are."""
    more = [f"{len(texts) - 2} more"] if len(texts) > 3 else []
    return between.join([*(texts[:2] if more else texts), *more])


def _asked(trial: Trial) -> tuple[Setting, str]:
    """The setting of a trial, and where it is of no one mark the study that it belongs to."""
    return setting_of(trial), "" if trial.mark is not None else trial.study


def _named(trial: Trial, several: bool) -> Trial:
    if not several:
        return trial
    mark = trial.mark or NO_MARK
    block = ", ".join(text for text in (mark.block, trial.part) if text)
    return replace(trial, mark=replace(mark, block=block))


def _told_apart(parts: Sequence[Results]) -> list[Results]:
    """Parts of one name get numbers: their networks and keys are not the same ones."""
    found: list[Results] = []
    for part in parts:
        names = {other.name for other in found}
        if part.name in names:
            name = next(one for n in count(2) if (one := f"{part.name} ({n})") not in names)
            trials = tuple(replace(trial, part=name) for trial in part.trials)
            part = replace(part, name=name, trials=trials, parts=(replace(part.parts[0], name=name),))
        found.append(part)
    return found
