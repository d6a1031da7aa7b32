"""The progress of a campaign, as callbacks."""

from typing import Protocol

from onnxnnw.campaign.step import Step

__all__ = ["CampaignProgress", "Silent"]


class CampaignProgress(Protocol):
    """Receives the progress of a campaign: what begins, what is done, and how much is left."""

    def begin(self, steps: int, done: int, seconds_left: float) -> None:
        """How many steps there are, and how many of them were done before."""

    def started(self, step: Step) -> None:
        """A worker started this step."""

    def finished(self, step: Step, seconds: float, seconds_left: float) -> None:
        """This step is done."""

    def failed(self, step: Step, reason: str) -> None:
        """This step failed."""

    def noticed(self, sentence: str) -> None:
        """A notice for people."""


class Silent:
    """Shows nothing."""

    def begin(self, steps: int, done: int, seconds_left: float) -> None: ...

    def started(self, step: Step) -> None: ...

    def finished(self, step: Step, seconds: float, seconds_left: float) -> None: ...

    def failed(self, step: Step, reason: str) -> None: ...

    def noticed(self, sentence: str) -> None: ...
