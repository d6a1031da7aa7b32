"""What ``verify`` gives back: the verdicts of one candidate, best first."""

from typing import NoReturn

from onnxnnw.verification.answer_text import html_of, refuse_truth
from onnxnnw.verification.verdict import Verdict

__all__ = ["COMPLETE", "Verdicts", "rank"]

COMPLETE = 20
"""Of so many records, the best first, findings are made and what they explain is measured; of the others where they are asked
for alone."""

_ORDER = ("identical", "traced", "inconclusive", "not traced")


def rank(verdict: Verdict) -> tuple[int, float, float, float, str]:
    """Sort key, best first: among significant records the effect decides, to a tenth: p-values depend on N."""
    likeness = round(verdict.effect, 1) if verdict.decision in ("identical", "traced") else 0.0
    return _ORDER.index(verdict.decision), -likeness, verdict.log10_p, -verdict.effect, verdict.record


class Verdicts(tuple[Verdict, ...]):
    """The verdicts of one candidate against each of some records, best first; a tuple that is neither true nor false."""

    __slots__ = ()

    @property
    def best(self) -> Verdict:
        """The best match."""
        return self[0]

    def __bool__(self) -> NoReturn:
        refuse_truth("the result of verify()", "verdicts.best")

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return "".join(map(html_of, self))
