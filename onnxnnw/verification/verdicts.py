"""What ``verify`` gives back: the verdicts of one candidate, best first."""

import math
from typing import NoReturn

from onnxnnw.verification.answer_text import html_of, refuse_truth
from onnxnnw.verification.verdict import Verdict

__all__ = ["COMPLETE", "Verdicts", "rank"]

COMPLETE = 20
"""Of so many records, the best first, findings are made and what they explain is measured; of the others where they are asked
for alone."""

_ORDER = ("identical", "traced", "inconclusive", "not traced")
_NEAREST = 0.9999
"""Effects above it are one: what is stored in half precision does not come second."""


def rank(verdict: Verdict) -> tuple[int, float, bool, float, float, float, str]:
    """Sort key, best first: among significant records the effect decides, to a tenth: p-values depend on N.

    Then marks come before fingerprints, which prove less, and among those of one kind Fisher's z decides, rounded to quarters:
    .97 is told from .99, so that a network's own record comes before its parent's or child's.
    """
    significant = verdict.decision in ("identical", "traced")
    effect = verdict.effect if significant and math.isfinite(verdict.effect) else 0.0
    nearness = -round(effect, 1), verdict.kind != "watermark" and significant, -_fisher(effect)
    return _ORDER.index(verdict.decision), *nearness, verdict.log10_p, -verdict.effect, verdict.record


def _fisher(effect: float) -> float:
    """Fisher's z of an effect, in quarters; its standard error is one over the root of N, .04 for 512 positions."""
    return round(4 * math.atanh(max(-_NEAREST, min(effect, _NEAREST)))) / 4


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
