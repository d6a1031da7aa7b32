"""What a campaign tells while it runs."""

from typing import Protocol

from onnxnnw.campaign.step import Step

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Whoever shows a campaign: told what begins, what is done, and how much is left."""

    def begin(self, steps: int, done: int, seconds_left: float) -> None:
        """How many steps there are, and how many of them were done before."""

    def started(self, step: Step) -> None:
        """A worker has it."""

    def finished(self, step: Step, seconds: float, seconds_left: float) -> None:
        """It is done."""

    def failed(self, step: Step, reason: str) -> None:
        """It cannot be done."""

    def noticed(self, sentence: str) -> None:
        """Something that people should know of."""


class Silent:
    """Shows nothing."""

    def begin(self, steps: int, done: int, seconds_left: float) -> None: ...

    def started(self, step: Step) -> None: ...

    def finished(self, step: Step, seconds: float, seconds_left: float) -> None: ...

    def failed(self, step: Step, reason: str) -> None: ...

    def noticed(self, sentence: str) -> None: ...
