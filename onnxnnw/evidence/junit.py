"""Answers as a JUnit test report: a file is a test case, a no a failure, what could not be looked at an error."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from onnxnnw.evidence.answer import Answer
from onnxnnw.evidence.rules import NO, UNSURE
from onnxnnw.texts import visible

__all__ = ["junit_of"]

MAX_TEXT = 4_000
_BEYOND = 0xFFFE


def junit_of(answers: Sequence[Answer], suite: str = "onnxnnw") -> str:
    """The report as XML 1.0."""
    failures = sum(answer.code == NO for answer in answers)
    errors = sum(answer.code == UNSURE for answer in answers)
    counts = f'tests="{len(answers)}" failures="{failures}" errors="{errors}" skipped="0"'
    seconds = sum(_seconds(answer) for answer in answers)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name={_attribute(suite)} {counts} time="{seconds:.3f}">',
        f'  <testsuite name={_attribute(suite)} {counts} time="{seconds:.3f}">',
        *(line for answer in answers for line in _case(answer)),
        "  </testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _case(answer: Answer) -> list[str]:
    of = _attribute(answer.unit or "onnxnnw")
    begin = f'    <testcase name={_attribute(answer.name)} classname={of} time="{_seconds(answer):.3f}"'
    lines = [f"{begin}>"]
    for code, element in ((UNSURE, "error"), (NO, "failure")):
        problems = [problem for problem in answer.problems if problem.rule.code == code]
        if answer.code == code and problems:
            text = "\n".join(f"{p.rule.id} {p.rule.name}: {p.sentence}\n{p.rule.advice}" for p in answer.problems)
            head = f"      <{element} type={_attribute(problems[0].rule.name)} message={_attribute(answer.sentence)}>"
            lines.append(f"{head}{escape(_xml(text))}</{element}>")
    lines += [f"      <system-out>{escape(_xml(_told(answer)))}</system-out>", "    </testcase>"]
    return lines


def _told(answer: Answer) -> str:
    best = answer.best
    said = [f"wanted: {answer.asked}", *answer.notes]
    if not answer.enforced and answer.problems:
        said += ["the policy only warns:", *(problem.sentence for problem in answer.problems)]
    if best is not None:
        said += [f"{best.decision} against {best.record}: log10 p {best.log10_p:.1f}, effect {best.effect:.3f}"]
        said += [f"{finding.id}: {finding.sentence}" for finding in best.findings]
    return "\n".join(said)


def _seconds(answer: Answer) -> float:
    return answer.search.seconds_per_record * len(answer.search.verdicts) if answer.search is not None else 0.0


def _attribute(text: str) -> str:
    return quoteattr(_xml(text))


def _xml(text: str) -> str:
    """Text with what XML 1.0 cannot hold, or what would move it, made visible; lines stay lines."""
    lines = [visible(line) for line in text.split("\n")]
    return "".join(c if ord(c) & 0xFFFE != _BEYOND else f"\\x{ord(c):02x}" for c in "\n".join(lines))[:MAX_TEXT]
