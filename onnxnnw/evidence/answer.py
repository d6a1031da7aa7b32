"""One answer about one file: what was asked, what was found, and why the gate stays shut, if it does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxnnw.errors import CannotLook, UnreadableRecord, UnreadableRegistry
from onnxnnw.evidence.rules import NO, RULES, UNSURE, YES, Problem, Rule, worst
from onnxnnw.verification.verdict import FORMAT, SearchResult, Verdict
from onnxnnw.verification.visible import visible

if TYPE_CHECKING:
    from onnxnnw.evidence.subject import NetworkFiles, Signed

__all__ = ["WORDS", "Answer", "could_not_look", "document_of", "judge", "summary"]

WORDS = {YES: "yes", NO: "no", UNSURE: "unsure"}
"""An exit code in JSON."""


@dataclass(frozen=True)
class Answer:
    """The answer about one file: what was asked, the verdicts, and the problems.

    Attributes:
        path: The file or its address, as it was given.
        asked: What the gate wanted, as a sentence that follows "wanted: ".
        search: Its verdicts, best first; None where it could not be examined, or was not held against records.
        problems: Why the gate stays shut; empty where it opens.
        subject: The file by digest, where evidence is written of it.
        enforced: Whether problems shut the gate, or are shown only.
        notes: What else should be said.
        unit: What the answer is one of: an entry or a bundle of a policy; empty on its own.
        parent: The network that the matching record was made of, where that was asked and holds.
    """

    path: Path | str
    asked: str
    search: SearchResult | None = None
    problems: tuple[Problem, ...] = ()
    subject: "NetworkFiles | None" = None
    enforced: bool = True
    notes: tuple[str, ...] = ()
    parent: "Signed | None" = None
    unit: str = ""

    @property
    def found(self) -> int:
        """The exit code that the problems ask for, whether it is enforced or not."""
        return worst([problem.rule.code for problem in self.problems])

    @property
    def code(self) -> int:
        """The exit code: 0 yes, 1 no, 3 could not look."""
        return self.found if self.enforced else YES

    @property
    def best(self) -> Verdict | None:
        """The best verdict."""
        return self.search.best if self.search is not None else None

    @property
    def name(self) -> str:
        """The file as it may be shown."""
        text = str(self.path)
        if "://" in text:  # it may hold credentials
            from onnxnnw.sources.addresses import shown_place

            text = shown_place(text)
        return visible(text)

    @property
    def sentence(self) -> str:
        """The answer in one line."""
        best = self.best
        held = f"{best.decision}, {best.record}" if best is not None else "examined against no record"
        if not self.problems:
            return held
        return "; ".join(dict.fromkeys(problem.sentence for problem in self.problems))


def could_not_look(path: Path | str, asked: str, error: CannotLook, subject: "NetworkFiles | None" = None) -> Answer:
    """The answer of a file, or of records, that cannot be examined."""
    return Answer(path, asked, None, (Problem(RULES[_rule(path, error)], _line(str(error))),), subject)


def _rule(path: Path | str, error: CannotLook) -> str:
    """What could not be looked at."""
    if isinstance(error, UnreadableRecord):
        return "UnreadableRecord"
    if isinstance(error, UnreadableRegistry):
        return "UnreadableRegistry"
    if isinstance(path, str) and "://" in path:
        from onnxnnw.sources.answers import Refused

        if isinstance(error, Refused) or type(error) is CannotLook:
            return "AddressUnreachable"
    return "UnreadableNetwork"


def judge(
    path: Path | str, search: SearchResult, require: str, min_explained: float, subject: "NetworkFiles | None" = None
) -> Answer:
    """The answer of a gate: yes where one verdict meets it; no only where none does and all could be decided.

    Args:
        require: ``traced`` or ``identical``.
        min_explained: Share of the weights that a record must explain.
    """
    asked = f"{require}, explained {min_explained:g} or more" if min_explained else require
    if search.meets(require, min_explained):
        return Answer(path, asked, search, (), subject)
    best = search.best
    problems = [Problem(*_reason(best, require, min_explained))]
    unsure = [v for v in search.verdicts if v.decision == "inconclusive" and v is not best]
    problems += [Problem(RULES["Inconclusive"], _said(v)) for v in unsure[:1]]
    problems += [Problem(RULES["UnreadableRecord"], f"not searched: {_line(why)}") for why in search.unreadable]
    return Answer(path, asked, search, tuple(problems), subject)


def _reason(verdict: Verdict, require: str, min_explained: float) -> tuple[Rule, str]:
    if verdict.decision == "inconclusive":
        return RULES["Inconclusive"], _said(verdict)
    if verdict.decision == "not traced":
        return RULES["NotTraced"], _said(verdict)
    if require == "identical" and verdict.decision != "identical":
        return RULES["NotIdentical"], f"{_said(verdict)}, not identical"
    least = f"the record {verdict.record} explains {verdict.explained:.1%} of what is stored, not {min_explained:.1%}"
    return RULES["TooLittleExplained"], least


def _said(verdict: Verdict) -> str:
    return f"{verdict.decision} to {verdict.record}".replace("inconclusive to", "inconclusive against")


def _line(text: str) -> str:
    return " ".join(visible(text).split())


def summary(answers: Sequence[Answer]) -> str:
    """Which answers there were, and which of them decides: 3 wins over 1 wins over 0."""
    counts = {code: sum(answer.code == code for answer in answers) for code in WORDS}
    shown = sum(not answer.enforced and answer.found > YES for answer in answers)
    parts = [f"{counts[YES] - shown} passed", f"{counts[NO]} failed", f"{counts[UNSURE]} could not be told"]
    parts += [f"{shown} would not pass, and the policy only warns"] if shown else []
    code = worst([answer.code for answer in answers])
    deciding = next((answer for answer in answers if answer.code == code), None)
    why = f", because of {deciding.name}" if code != YES and deciding is not None else ""
    return f"{', '.join(parts)}: exit code {code}{why}"


def document_of(answers: Sequence[Answer]) -> dict[str, Any]:
    """The JSON of ``verify``: one shape, whether of one candidate or many; see docs/reference/verdict-format.md.

    The best verdict of the candidate that decides stands at the top, all verdicts in ``records``, each with its candidate.
    """
    code = worst([answer.code for answer in answers])
    searched = [(answer, answer.search) for answer in answers if answer.search is not None]
    examined = [answer for answer, _ in searched]
    deciding = next((answer for answer in examined if answer.code == code), examined[0] if examined else None)
    top = _verdict(deciding, deciding.search.best) if deciding is not None and deciding.search is not None else {}
    return {
        "format": FORMAT,
        "answer": WORDS[code],
        "exit_code": code,
        **top,
        "records": [_verdict(answer, verdict) for answer, search in searched for verdict in search.verdicts],
        "unreadable_records": list(dict.fromkeys(why for _, search in searched for why in search.unreadable)),
        "seconds_per_record": round(max((search.seconds_per_record for _, search in searched), default=0.0), 6),
        "candidates": [_candidate(answer) for answer in answers],
    }


def _verdict(answer: Answer, verdict: Verdict) -> dict[str, Any]:
    return {**verdict.to_json(), "candidate": answer.name}


def _candidate(answer: Answer) -> dict[str, Any]:
    best = answer.best
    return {
        "candidate": answer.name,
        "answer": WORDS[answer.code],
        "exit_code": answer.code,
        "decision": best.decision if best is not None else None,
        "record": best.record if best is not None else None,
        "problems": [{"rule": p.rule.id, "name": p.rule.name, "sentence": p.sentence} for p in answer.problems],
    }
