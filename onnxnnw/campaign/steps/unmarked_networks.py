"""The unmarked networks of a campaign as steps: trained in stretches that trajectories share, or given as files."""

from dataclasses import dataclass

from onnxnnw.campaign.settings import Campaign, EvaluatedNetwork
from onnxnnw.campaign.step import Step
from onnxnnw.campaign.steps.evaluated_network import GeneratedImagesStep, NetworkSetup
from onnxnnw.campaign.steps.given_network import given_network
from onnxnnw.campaign.steps.own_network import own_network
from onnxnnw.campaign.steps.trajectories import (
    InsertStep,
    Settings,
    TemplateStep,
    TrainingPlan,
    TrainStep,
    WrittenByMethod,
    WrittenMark,
)
from onnxnnw.errors import UsageError
from onnxnnw.recipes import Precision
from onnxnnw.standard.grids import ALPHA

__all__ = ["UnmarkedNetworks"]


@dataclass(frozen=True)
class UnmarkedNetworks:
    """The networks of a campaign before they are marked.

    Attributes:
        data: What the user's data is known by.
        precision: What trainings compute in.
    """

    campaign: Campaign
    data: str
    precision: Precision

    def setup_of(self, network: EvaluatedNetwork) -> NetworkSetup:
        if network.own:
            return NetworkSetup(
                network.name,
                network.size,
                "",
                precision=self.precision,
                own=own_network(network),
                provider=self.campaign.provider,
            )
        made = self.campaign.generated
        data = self.data if made is None else GeneratedImagesStep(made.training, made.testing, made.seed)
        return NetworkSetup(
            network.name,
            network.size,
            data,
            network.training,
            precision=self.precision,
            provider=self.campaign.provider,
        )

    def seed(self, model: int) -> int:
        return 1000 * self.campaign.seed + model

    def schedule(self, network: EvaluatedNetwork) -> TrainingPlan:
        return TrainingPlan(network.epochs, rate=network.rate, shape=network.schedule)

    def scaled(self, network: EvaluatedNetwork, alpha: int) -> int:
        """α in epochs of this schedule."""
        return min(network.epochs, round(alpha * network.epochs / network.published_epochs))

    def stretch(self, network: EvaluatedNetwork, model: int, epoch: int) -> TrainStep | None:
        """The unmarked network's training up to an epoch, in stretches between the moments at which marks are written."""
        moments = {self.scaled(network, alpha) for alpha in ALPHA}
        moments |= {self.scaled(network, alpha) for marks in self.campaign.marks for alpha in marks.alpha}
        after: TrainStep | None = None
        for until in sorted({m for m in moments if 0 < m < epoch} | {epoch} - {0}):
            after = self.train(network, self.schedule(network), self.seed(model), until, after)
        return after

    def train(
        self,
        network: EvaluatedNetwork,
        schedule: TrainingPlan,
        seed: int,
        until: int,
        after: TrainStep | None = None,
        start: Step | None = None,
        written: WrittenMark | WrittenByMethod | None = None,
    ) -> TrainStep:
        template = TemplateStep(network.name, network.size)
        return TrainStep(self.setup_of(network), template, schedule, seed, until, after, start, written)

    def insert(
        self,
        network: EvaluatedNetwork,
        schedule: TrainingPlan,
        seed: int,
        start: Step | None,
        method: str,
        settings: Settings,
        label: str,
    ) -> InsertStep:
        template = TemplateStep(network.name, network.size)
        return InsertStep(self.setup_of(network), template, schedule, seed, start, method, settings, label)

    def base(self, network: EvaluatedNetwork, model: int) -> Step:
        """The unmarked, trained network."""
        if network.file:
            if model >= len(network.file):
                raise UsageError(f"{network.name}: {len(network.file)} file(s), but a network {model + 1} is asked for")
            return given_network(network.name, network.file[model])
        trained = self.stretch(network, model, network.epochs)
        assert trained is not None
        return trained
