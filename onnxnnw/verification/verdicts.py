"""What ``verify`` gives back: the verdicts of one candidate, best first."""

from typing import NoReturn

from onnxnnw.verification.answer_text import html_of, refuse_truth
from onnxnnw.verification.verdict import Verdict

__all__ = ["Verdicts"]


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
