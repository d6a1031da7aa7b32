"""A verdict in a sentence, for a prompt, and as a table for notebooks."""

from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:
    from onnxnnw.verification.verdict import Verdict

__all__ = ["Decision", "Requirement", "html_of", "refuse_truth", "sentence_of", "short"]

Decision = Literal["identical", "traced", "not traced", "inconclusive"]
Requirement = Literal["traced", "identical"]

_COLOURS = {"identical": "#1a7f37", "traced": "#1a7f37", "not traced": "#cf222e", "inconclusive": "#9a6700"}
_SHOWN_FINDINGS = 10


def refuse_truth(name: str, example: str) -> NoReturn:
    """Raise TypeError: there are four answers, and ``if verdict`` would count all of them as yes.

    Raises:
        TypeError: Always; it says what to ask instead.
    """
    raise TypeError(
        f"{name} is neither true nor false: 'inconclusive' is no answer to either; ask {example}.meets() for a gate, "
        f"or compare {example}.decision"
    )


def short(verdict: "Verdict") -> str:
    """What a prompt shows."""
    findings = len(verdict.findings)
    return (
        f"<Verdict {verdict.decision} by {verdict.record!r}: log10 p {_number(verdict.log10_p)}, "
        f"explained {verdict.explained:.3f}, {findings} finding{'' if findings == 1 else 's'}>"
    )


def sentence_of(verdict: "Verdict") -> str:
    """The verdict as one sentence; texts from files in it are visible already."""
    parts = [
        f"{verdict.decision} by {verdict.record}",
        f"log10 p {_number(verdict.log10_p)} at the false-positive rate {verdict.rate:g}",
        f"{verdict.coverage:.0%} of {verdict.positions:,} {verdict.unit} read",
        f"{verdict.explained:.1%} explained at least",
        verdict.evidence.sentence,
    ]
    names = [finding.name for finding in verdict.findings]
    return "; ".join([*parts, f"findings: {', '.join(names)}"] if names else parts)


def html_of(verdict: "Verdict") -> str:
    """The verdict as a table; every text is escaped, and it needs nothing from elsewhere."""
    from html import escape

    who = " ".join(part for part in (verdict.role, verdict.actor) if part)
    rows = [
        ("record", f"{verdict.record} ({verdict.method} {verdict.kind}{', ' + who if who else ''})"),
        ("log10 p", f"{_number(verdict.log10_p)} (false-positive rate {verdict.rate:g})"),
        ("effect", f"{verdict.effect:.3f}"),
        ("read", f"{verdict.coverage:.0%} of {verdict.positions:,} {verdict.unit}"),
        ("explained", f"{verdict.explained:.1%} at least"),
        ("evidence", verdict.evidence.sentence),
        *(("finding", finding.sentence) for finding in verdict.findings[:_SHOWN_FINDINGS]),
    ]
    if len(verdict.findings) > _SHOWN_FINDINGS:
        rows.append(("", f"and {len(verdict.findings) - _SHOWN_FINDINGS} more findings"))
    if verdict.not_understood:
        rows.append(("not read", f"{len(verdict.not_understood)} parts, the largest: {verdict.not_understood[0]}"))
    lines = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in rows
    )
    style = f"color:{_COLOURS[verdict.decision]};font-weight:bold;text-align:left"
    return f'<table><caption style="{style}">{escape(verdict.decision)}</caption>{lines}</table>'


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"
