"""One trial of a campaign, read from a line of trials.jsonl with every field checked.

Seeds and whatever else a line holds are not taken over: what is not read here cannot appear in a report.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from onnxnnw.errors import UnreadableData
from onnxnnw.report.fields import Fields, Numbers

__all__ = [
    "DECISIONS",
    "TRIAL_FORMAT",
    "Detection",
    "Injection",
    "MarkSetting",
    "Modified",
    "Retrieval",
    "Scaling",
    "Searched",
    "Sharing",
    "Trial",
    "TrialVerdict",
    "UnicityTrial",
    "read_trial",
]

TRIAL_FORMAT = "onnxnnw/trial/1"
DECISIONS = ("identical", "traced", "not traced", "inconclusive")
_ZERO = -9999.0
"""How the logarithm of zero is written [docs/reference/verdict-format.md]."""


@dataclass(frozen=True)
class MarkSetting:
    """What was inserted or enrolled.

    Attributes:
        published: The method's parameters in the standard's own terms, e.g. alpha and N.
        parameters: The numbers among those that were really used.
        block: Title of the block of the campaign that asked for it.
    """

    method: str
    kind: str
    published: tuple[tuple[str, float], ...]
    parameters: tuple[tuple[str, float], ...]
    symbols: int | None
    block: str


@dataclass(frozen=True)
class Modified:
    """A modification with the value of its parameter; both None of the latter where it has none.

    Attributes:
        settings: Further parameters that are not as usual; the standard's tables are about usual ones.
    """

    name: str
    parameter: str | None
    value: float | None
    settings: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class TrialVerdict:
    """The verdict of a trial; ``retrieved`` is the standard's own decision, ``log10_p`` None where no p is claimed."""

    decision: str
    log10_p: float | None
    rate: float
    effect: float | None
    coverage: float | None
    retrieved: bool
    values: Numbers
    symbols: int | None
    errors: int | None

    @property
    def traced(self) -> bool:
        """The strict decision."""
        return self.decision in ("traced", "identical")


@dataclass(frozen=True)
class Trial:
    """What every trial has: ``model`` is one of 0 … M - 1, ``payload`` one of 0 … D - 1, ``part`` the campaign's name.

    Attributes:
        origin: What decides the trainings: the campaign's seed, and what it says of the network. Parts of one campaign have one.
    """

    id: str
    study: str
    network: str
    size: str
    model: int
    payload: int | None
    mark: MarkSetting | None
    environment: tuple[tuple[str, str], ...]
    cost: Numbers
    part: str
    origin: str


@dataclass(frozen=True)
class Detection(Trial):
    """One record asked of one network.

    Attributes:
        truth: Whether the network carries this record's mark.
        quality: Of the network; ``unmodified`` of the same before the modification, ``unmarked`` of its unmarked counterpart.
        key: Number of the wrong key; None where the record is a right one.
        marked: Whether a network that is asked with a wrong key carries another mark.
    """

    truth: bool
    modification: Modified | None
    quality: Numbers
    unmodified: Numbers | None
    unmarked: Numbers | None
    verdict: TrialVerdict
    key: int | None
    marked: bool


@dataclass(frozen=True)
class UnicityTrial(Trial):
    """The record of network ``record`` under key ``key``, asked of network ``candidate``."""

    record: int
    key: int
    candidate: int
    verdict: TrialVerdict

    @property
    def truth(self) -> bool:
        """Whether the candidate is the recorded network."""
        return self.record == self.candidate


@dataclass(frozen=True)
class Searched(Trial):
    """One network looked up among ``records`` records."""

    records: int
    right: bool
    verdict: TrialVerdict | None


@dataclass(frozen=True)
class Sharing(Trial):
    """Figure 4: a share of the mark's Weights is replaced by another mark; ``values`` and ``retrieved`` as in a verdict.

    Attributes:
        at_epoch_0: Whether the network was trained after all marks were in.
    """

    number: int
    role: str
    N: int
    at_epoch_0: bool
    share: float
    values: Numbers
    retrieved: bool


@dataclass(frozen=True)
class Scaling(Trial):
    """Figure 5: what marks of N Weights cost."""

    N: int


@dataclass(frozen=True)
class Injection(Trial):
    """What inserting cost; ``iterations`` is None where the mark is not inserted by training, or never was."""

    iterations: float | None


@dataclass(frozen=True)
class Retrieval(Trial):
    """What reading the mark cost."""


def read_trial(
    content: Any, place: str, part: str = "", origins: Mapping[str, str] = MappingProxyType({})
) -> Trial | str:
    """The trial in a decoded line, or the name of its study where this version does not know it.

    Args:
        place: Where it stands, for messages, e.g. ``trials.jsonl: line 3``.
        part: Name of the campaign.
        origins: Of the trainings of each network, see ``Trial``; the campaign's name where nothing is said.

    Raises:
        UnreadableData: It is none, or of another format.
    """
    fields = Fields(content, place)
    form = fields.text("format", "")
    if form != TRIAL_FORMAT:
        raise UnreadableData(f"{place}: format {form!r} is not known; this version reads {TRIAL_FORMAT}")
    study = fields.text("study")
    reader = _STUDIES.get(study)
    if reader is None:
        return study
    base = {
        "id": fields.text("trial"),
        "study": study,
        "network": fields.text("network"),
        "size": fields.text("size", "reference"),
        "model": fields.maybe_count("model") or 0,
        "payload": fields.maybe_count("payload"),
        "environment": fields.texts("environment"),
        "cost": fields.numbers("cost", strict=False),
        "part": part,
        "origin": origins.get(fields.text("network"), part),
    }
    return reader(base, fields)


def _mark(fields: Fields) -> MarkSetting | None:
    if not fields.has("mark"):
        return None
    mark = fields.inner("mark")
    return MarkSetting(
        mark.text("method", "nct"),
        mark.text("kind", "watermark"),
        tuple(sorted(mark.numbers("published").items())),
        tuple(sorted(mark.numbers("parameters", strict=False).items())),
        mark.maybe_count("symbols"),
        mark.text("block", ""),
    )


def _modified(fields: Fields) -> Modified | None:
    if not fields.has("modification"):
        return None
    inner = fields.inner("modification")
    settings = tuple(sorted(inner.numbers("settings").items()))
    return Modified(inner.text("name"), inner.text("parameter", "") or None, inner.maybe("value"), settings)


def _verdict(fields: Fields) -> TrialVerdict:
    inner = fields.inner("verdict")
    decision = inner.text("decision")
    if decision not in DECISIONS:
        raise inner.wrong("decision", " or ".join(DECISIONS))
    log10_p = inner.maybe("log10_p")
    if log10_p is not None and log10_p > 0:
        raise inner.wrong("log10_p", "a logarithm of a probability, at most 0")
    return TrialVerdict(
        decision,
        None if log10_p is None else max(log10_p, _ZERO),
        inner.number("rate"),
        inner.maybe("effect"),
        inner.maybe("coverage"),
        inner.flag("retrieved"),
        inner.numbers("values", strict=False),
        inner.maybe_count("symbols"),
        inner.maybe_count("errors"),
    )


def _detection(base: Mapping[str, Any], fields: Fields) -> Trial:
    wrong = base["study"] == "wrong key"
    mark = _mark(fields)
    if mark is None:
        raise fields.wrong("mark", "what was inserted")
    return Detection(
        **base,
        mark=mark,
        truth=False if wrong else fields.flag("truth"),
        modification=_modified(fields),
        quality=fields.numbers("quality"),
        unmodified=fields.numbers("unmodified") if fields.has("unmodified") else None,
        unmarked=fields.numbers("unmarked") if fields.has("unmarked") else None,
        verdict=_verdict(fields),
        key=fields.count("key") if wrong else None,
        marked=fields.flag("marked") if wrong and fields.has("marked") else not wrong,
    )


def _unicity(base: Mapping[str, Any], fields: Fields) -> Trial:
    record, candidate = fields.inner("record"), fields.inner("candidate")
    return UnicityTrial(
        **base,
        mark=_mark(fields),
        record=record.count("model"),
        key=record.maybe_count("key") or 0,
        candidate=candidate.count("model"),
        verdict=_verdict(fields),
    )


def _searched(base: Mapping[str, Any], fields: Fields) -> Trial:
    verdict = _verdict(fields) if fields.has("verdict") else None
    return Searched(
        **base, mark=_mark(fields), records=fields.count("records"), right=fields.flag("right"), verdict=verdict
    )


def _sharing(base: Mapping[str, Any], fields: Fields) -> Trial:
    mark, verdict = fields.inner("mark"), fields.inner("verdict")
    share = fields.number("share")
    if not 0 <= share <= 1:
        raise fields.wrong("share", "a number from 0 to 1")
    return Sharing(
        **base,
        mark=_mark(fields),
        number=mark.count("number"),
        role=mark.text("role", ""),
        N=mark.count("N"),
        at_epoch_0=mark.has("alpha"),
        share=share,
        values=verdict.numbers("values", strict=False),
        retrieved=verdict.flag("retrieved"),
    )


def _scaling(base: Mapping[str, Any], fields: Fields) -> Trial:
    return Scaling(**base, mark=_mark(fields), N=fields.count("N"))


def _injection(base: Mapping[str, Any], fields: Fields) -> Trial:
    return Injection(**base, mark=_mark(fields), iterations=fields.maybe("iterations"))


def _retrieval(base: Mapping[str, Any], fields: Fields) -> Trial:
    return Retrieval(**base, mark=_mark(fields))


_STUDIES: Mapping[str, Callable[[Mapping[str, Any], Fields], Trial]] = {
    "detection": _detection,
    "wrong key": _detection,
    "unicity": _unicity,
    "search": _searched,
    "sharing": _sharing,
    "scaling": _scaling,
    "injection": _injection,
    "retrieval": _retrieval,
}
