"""A sequential test: a p-value that is valid at any stopping time, and two stopping rules.

Without the key each answer is right with probability 1/C, whatever came before. The likelihood of a mixture of marks over that of
chance is then a martingale, so it exceeds 1/a at any time with probability a at most: p = 1 / (the largest so far) is valid
whenever one stops [Ville 1939; Wald 1945; Robbins 1970]. Stopping for want of a mark is the other half of Wald's test: the
likelihood of chance over that of a mark which is half there exceeds 20 with probability 5 % at most where there is such a mark.
"""

import math
from dataclasses import dataclass, field

__all__ = ["MISSED", "SequentialTest"]

MISSED = 0.05
"""How often a mark that is half there may be called absent."""

_SHARES = (0.1, 0.25, 0.5, 0.75, 0.95)
"""Marks of the mixture: shares of what is above chance that are answered rightly; each has the same weight."""


@dataclass
class SequentialTest:
    """The state of the test after each answer.

    Attributes:
        chance: Probability of a right answer without the key.
        log10_rate: The false-positive rate of ``found``.
        asked: Answers so far.
        right: Right ones among them.
    """

    chance: float
    log10_rate: float
    asked: int = 0
    right: int = 0
    _logs: list[float] = field(default_factory=lambda: [0.0] * len(_SHARES), repr=False)
    _largest: float = field(default=0.0, repr=False)
    _against: float = field(default=0.0, repr=False)

    def add(self, right: bool) -> None:
        """One more answer; each question counts once, however often it had to be asked."""
        self.asked += 1
        self.right += right
        for number, share in enumerate(_SHARES):
            self._logs[number] += self._gain(right, share)
        top = max(self._logs)
        mixed = top + math.log(sum(math.exp(each - top) for each in self._logs) / len(_SHARES))
        self._largest = max(self._largest, mixed)
        self._against -= self._gain(right, 0.5)

    def _gain(self, right: bool, share: float) -> float:
        """Logarithm of one answer's likelihood under a mark over that under chance."""
        marked = self.chance + share * (1 - self.chance)
        return math.log(marked / self.chance) if right else math.log((1 - marked) / (1 - self.chance))

    @property
    def log10_p(self) -> float:
        """Valid at any time; never above 0."""
        return -self._largest / math.log(10)

    @property
    def found(self) -> bool:
        """Whether the mark is there."""
        return self.log10_p <= self.log10_rate

    @property
    def absent(self) -> bool:
        """Whether the mark is absent: one with half of its effect would have shown by now."""
        return not self.found and self._against >= -math.log(MISSED)

    @property
    def effect(self) -> float:
        """1 where all answers are right, 0 where as many as by chance."""
        return (self.right / self.asked - self.chance) / (1 - self.chance) if self.asked else 0.0
