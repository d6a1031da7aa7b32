"""One trial of a campaign as a line of trials.jsonl says it: checked field by field, because a file is input.

Seeds and whatever else a line holds are not taken over: what is not read here cannot appear in a report.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxnnw.errors import UnreadableData

__all__ = [
    "DECISIONS",
    "TRIAL_FORMAT",
    "Detection",
    "Injection",
    "Mark",
    "Modified",
    "Numbers",
    "Retrieval",
    "Scaling",
    "Searched",
    "Sharing",
    "Trial",
    "Unicity",
    "Verdict",
    "read_trial",
    "visible",
]

TRIAL_FORMAT = "onnxnnw/trial/1"
DECISIONS = ("identical", "traced", "not traced", "inconclusive")
MAX_TEXT = 200
MAX_NUMBERS = 64
_ZERO = -9999.0
"""How the logarithm of zero is written [docs/verdict-format.md]."""

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Mark:
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
    """A modification with the value of its parameter; both None of the latter where it has none."""

    name: str
    parameter: str | None
    value: float | None


@dataclass(frozen=True)
class Verdict:
    """What verification said; ``retrieved`` is the standard's own decision, ``log10_p`` None where no p is claimed."""

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
    """What every trial has: ``model`` is one of 0 … M - 1, ``payload`` one of 0 … D - 1."""

    id: str
    study: str
    network: str
    size: str
    model: int
    payload: int | None
    mark: Mark | None
    environment: tuple[tuple[str, str], ...]
    cost: Numbers


@dataclass(frozen=True)
class Detection(Trial):
    """One record asked of one network.

    Attributes:
        truth: Whether the network carries this record's mark.
        quality: Of the network; ``unmodified`` of the same before the modification, ``unmarked`` of its unmarked counterpart.
        key: Number of the wrong key; None where the record is a right one.
    """

    truth: bool
    modification: Modified | None
    quality: Numbers
    unmodified: Numbers | None
    unmarked: Numbers | None
    verdict: Verdict
    key: int | None


@dataclass(frozen=True)
class Unicity(Trial):
    """The record of network ``record`` under key ``key``, asked of network ``candidate``."""

    record: int
    key: int
    candidate: int
    verdict: Verdict

    @property
    def truth(self) -> bool:
        """Whether the candidate is the recorded network."""
        return self.record == self.candidate


@dataclass(frozen=True)
class Searched(Trial):
    """One network looked up among ``records`` records."""

    records: int
    right: bool
    verdict: Verdict | None


@dataclass(frozen=True)
class Sharing(Trial):
    """Figure 4: a share of the mark's Weights is replaced by another mark."""

    number: int
    role: str
    N: int
    share: float
    verdict: Verdict


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


class Fields:
    """The fields of a JSON object, each asked for with the type it has to have.

    Args:
        content: The object.
        place: Where it stands, for messages.

    Raises:
        UnreadableData: It is no object.
    """

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, dict):
            raise UnreadableData(f"{place}: an object is wanted here, not {_shown(content)}")
        self.content: dict[str, Any] = content
        self.place = place

    def wrong(self, name: str, wanted: str) -> UnreadableData:
        """The error that says what was wanted of a field and what came."""
        came = _shown(self.content[name]) if name in self.content else "nothing"
        return UnreadableData(f"{self.place}: {name!r} has to be {wanted}, not {came}")

    def text(self, name: str, default: str | None = None) -> str:
        """A short text."""
        value = self.content.get(name, default)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self.wrong(name, f"a text of at most {MAX_TEXT} characters")
        return visible(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.content.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        value = self.maybe(name)
        if value is None:
            raise self.wrong(name, "a number")
        return value

    def maybe(self, name: str) -> float | None:
        """A finite number, or None where there is null or nothing."""
        value = self.content.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise self.wrong(name, "a number")
        return float(value)

    def count(self, name: str) -> int:
        """A whole number from 0."""
        value = self.maybe_count(name)
        if value is None:
            raise self.wrong(name, "a whole number from 0")
        return value

    def maybe_count(self, name: str) -> int | None:
        """A whole number from 0, or None where there is null or nothing."""
        value = self.content.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
            raise self.wrong(name, "a whole number from 0")
        return value

    def inner(self, name: str) -> "Fields":
        """The object in a field."""
        return Fields(self.content.get(name), f"{self.place}: {name!r}")

    def has(self, name: str) -> bool:
        """Whether there is something, null not counted."""
        return self.content.get(name) is not None

    def numbers(self, name: str, strict: bool = True) -> Numbers:
        """An object of numbers; nothing is an empty one. Unless strict, all that is no number is left out."""
        if not self.has(name):
            return {}
        inner = self.inner(name)
        if len(inner.content) > MAX_NUMBERS or any(len(key) > MAX_TEXT for key in inner.content):
            raise self.wrong(name, f"an object of at most {MAX_NUMBERS} numbers")
        kept = {k: v for k, v in inner.content.items() if strict or _is_number(v)}
        return {visible(key): inner.number(key) for key, value in kept.items() if value is not None}

    def texts(self, name: str) -> tuple[tuple[str, str], ...]:
        """An object of short texts, as pairs in order; a text may stand alone."""
        value = self.content.get(name)
        if value is None:
            return ()
        if isinstance(value, str):
            return (("environment", self.text(name)),)
        inner = self.inner(name)
        if len(inner.content) > MAX_NUMBERS:
            raise self.wrong(name, f"an object of at most {MAX_NUMBERS} texts")
        pairs = ((key[:MAX_TEXT], str(text)[:MAX_TEXT]) for key, text in inner.content.items() if text)
        return tuple(sorted((visible(key), visible(text)) for key, text in pairs))


def visible(text: str) -> str:
    """Text from a file with everything unprintable made visible: control characters, lone surrogates, turned direction."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def read_trial(content: Any, place: str) -> Trial | str:
    """The trial in a decoded line, or the name of its study where this version does not know it.

    Args:
        place: Where it stands, for messages, e.g. ``trials.jsonl: line 3``.

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
    }
    return reader(base, fields)


def _mark(fields: Fields) -> Mark | None:
    if not fields.has("mark"):
        return None
    mark = fields.inner("mark")
    return Mark(
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
    return Modified(inner.text("name"), inner.text("parameter", "") or None, inner.maybe("value"))


def _verdict(fields: Fields) -> Verdict:
    inner = fields.inner("verdict")
    decision = inner.text("decision")
    if decision not in DECISIONS:
        raise inner.wrong("decision", " or ".join(DECISIONS))
    log10_p = inner.maybe("log10_p")
    if log10_p is not None and log10_p > 0:
        raise inner.wrong("log10_p", "a logarithm of a probability, at most 0")
    return Verdict(
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
    )


def _unicity(base: Mapping[str, Any], fields: Fields) -> Trial:
    record, candidate = fields.inner("record"), fields.inner("candidate")
    return Unicity(
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
    mark = fields.inner("mark")
    share = fields.number("share")
    if not 0 <= share <= 1:
        raise fields.wrong("share", "a number from 0 to 1")
    return Sharing(
        **base,
        mark=_mark(fields),
        number=mark.count("number"),
        role=mark.text("role", ""),
        N=mark.count("N"),
        share=share,
        verdict=_verdict(fields),
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
