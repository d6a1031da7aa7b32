"""Steps that train: up to an epoch or on from there, with a mark written at one moment or inserted throughout."""

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from onnxnnw.campaign.environment import Memory
from onnxnnw.campaign.step import LATER, NETWORK, RECORD, Outcome, Place, Step, Work, key_of
from onnxnnw.campaign.steps.evaluated_network import NetworkSetup
from onnxnnw.methods.nct import REPLACED
from onnxnnw.network_file.writing import atomic_copy
from onnxnnw.parameters import from_table
from onnxnnw.recipes import adjusted, resumed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onnxnnw.exporters.base import Architecture
    from onnxnnw.methods.base import FileInsertion, Insertion
    from onnxnnw.recipes import Recipe
    from onnxnnw.training.hooks import Epoch

__all__ = [
    "InsertStep",
    "Settings",
    "TemplateStep",
    "TrainStep",
    "TrainingPlan",
    "WrittenByMethod",
    "WrittenMark",
    "inserted_as",
    "written_as",
]

_STATE = "state.pt"
Settings = tuple[tuple[str, int | float | str], ...]
"""Parameters by name, in a form that has an address."""


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained.

    Attributes:
        epochs: In all.
        resumed: As a finished training goes on (``recipes.resumed``), not as the network's own recipe has it.
        rate: Learning rate; 0 takes the usual one.
        shape: Name of the learning rate's schedule; empty takes the network's own.
    """

    epochs: int
    resumed: bool = False
    rate: float = 0.0
    shape: str = ""

    def recipe(self, architecture: "Architecture") -> "Recipe":
        """For this network."""
        if self.resumed:
            return resumed(architecture.recipe(), self.epochs, self.rate)
        return adjusted(architecture.recipe(), self.epochs, self.rate or None, self.shape or None)


@dataclass(frozen=True)
class TemplateStep(Step):
    """The network's graph as it is exported, with initial weights: others write theirs into copies of it."""

    network: str
    size: str

    kind: ClassVar[str] = "export"
    files: ClassVar[tuple[str, ...]] = (NETWORK,)

    def run(self, place: Place) -> Outcome:
        from onnxnnw.training.networks import export_network, find_network

        export_network(find_network(self.network, self.size), place.folder / NETWORK)
        return Outcome()

    def work(self) -> Work:
        return Work(
            f"{self.kind} {self.network}", 1, 15, 4 * NetworkSetup(self.network, self.size, "").assumed().parameters
        )


@dataclass(frozen=True)
class WrittenMark:
    """An NCT watermark that is written into the running network when ``epoch`` epochs are finished [NNW-TEC 7.2.3].

    Attributes:
        epoch: α in epochs of this schedule.
        key: Label of the secret.
        insertion: Whether the values replace weights, as in the standard's tables, or are added to them.
    """

    epoch: int
    positions: int
    strength: float
    key: str
    insertion: str = field(default=REPLACED, metadata=LATER)


@dataclass(frozen=True)
class WrittenByMethod:
    """The mark of another method that writes into files, written into the running network like ``WrittenMark``."""

    epoch: int
    method: str
    parameters: Settings
    key: str


@dataclass(frozen=True)
class TrainStep(Step):
    """A training, or a stretch of one: trajectories that share a beginning share its steps.

    Attributes:
        until: The epoch it ends with.
        after: The stretch before; None begins.
        start: A network whose weights it begins with, where nothing comes before; None initialises them.
        written: The mark that is written on this stretch.
    """

    setup: NetworkSetup
    template: TemplateStep
    schedule: TrainingPlan
    seed: int
    until: int
    after: "TrainStep | None" = None
    start: Step | None = None
    written: WrittenMark | WrittenByMethod | None = None

    kind: ClassVar[str] = "train"

    @property
    def files(self) -> tuple[str, ...]:  # type: ignore[override]
        """The network; the training's state where it may go on; the record where there is a mark."""
        state = (_STATE,) if self.until < self.schedule.epochs else ()
        return (NETWORK, *state, *((RECORD,) if self.written else ()))

    @property
    def title(self) -> str:
        what = f"train {self.setup.network} to epoch {self.until} of {self.schedule.epochs}"
        if self.written is None:
            return what
        mark = f"N = {self.written.positions}" if isinstance(self.written, WrittenMark) else self.written.method
        return f"{what}, marked at {self.written.epoch} with {mark}"

    def run(self, place: Place) -> Outcome:
        from onnxnnw.exporters.base import export
        from onnxnnw.training.hooks import Hooks
        from onnxnnw.training.loop import Trainer

        architecture = self.setup.architecture(place)
        state = place.folder / _STATE
        if self.after is not None and not state.exists():
            atomic_copy(place.input(self.after) / _STATE, state)
        template = place.input(self.template) / NETWORK
        trainer = Trainer(
            self.schedule.recipe(architecture),
            architecture.loss,
            self.seed,
            Hooks(self._mark(architecture, place, template)),
            checkpoint=state,
            until=self.until,
            threads=self.setup.threads,
            precision=self.setup.precision,
        )
        start = (
            architecture.build(self.seed)
            if self.start is None
            else architecture.load(place.input(self.start) / NETWORK)
        )
        with Memory() as memory:
            trained = trainer(
                start,
                architecture.task().training(place.folder),
                adversary=None if self.schedule.resumed else architecture.build_adversary(self.seed),
            )
        export(architecture, trained.module, place.folder / NETWORK, template)
        found = {} if self.written is None else {"iterations": 0}  # written at once
        if not state.exists():  # no epoch was trained
            return Outcome(found)
        return Outcome(found, {**_time(trained.history[self._begins() :]), "peak_memory_bytes": memory.bytes})

    def work(self) -> Work:
        assumed = self.setup.assumed()
        # nothing where only initial weights are written: what that takes says nothing of trainings
        amount = (self.until - self._begins()) * self.setup.training_samples()
        size = 4 * assumed.parameters * (3 if self.until < self.schedule.epochs else 1)
        unit = f"train {self.setup.network} {self.setup.size} {self.setup.precision}"
        return Work(unit, amount, assumed.train, size)

    def _begins(self) -> int:
        return 0 if self.after is None else self.after.until

    def _mark(self, architecture: "Architecture", place: Place, template: "Path") -> Any:
        if self.written is None:
            return None
        from onnxnnw.training.at_epoch import MethodAtEpoch, NctInsertion

        if isinstance(self.written, WrittenByMethod):
            insertion = written_as(self.written.method, dict(self.written.parameters))
            key = key_of(self.written.key)
            return MethodAtEpoch(
                architecture, self.written.epoch, place.folder / RECORD, insertion, key, template=template
            )
        return NctInsertion(
            architecture,
            self.written.epoch,
            place.folder / RECORD,
            self.written.positions,
            self.written.strength,
            key=key_of(self.written.key),
            template=template,
            insertion=self.written.insertion,
        )


@dataclass(frozen=True)
class InsertStep(Step):
    """A training in which a method marks the network all along [NNW-TEC 7.3, 7.4].

    Attributes:
        start: The trained network that is trained on; None begins with initial weights.
        parameters: Of the method's insertion, by name.
        key: Label of the secret.
    """

    setup: NetworkSetup
    template: TemplateStep
    schedule: TrainingPlan
    seed: int
    start: Step | None
    method: str
    parameters: Settings
    key: str

    kind: ClassVar[str] = "insert"
    files: ClassVar[tuple[str, ...]] = (NETWORK, RECORD)

    @property
    def title(self) -> str:
        settings = "".join(f", {name} {value}" for name, value in self.parameters)
        return f"mark {self.setup.network} with {self.method} in {self.schedule.epochs} epochs{settings}"

    def run(self, place: Place) -> Outcome:
        from onnxnnw.training.insertion import Training, train_marked

        architecture = self.setup.architecture(place)
        record = place.folder / RECORD
        record.unlink(missing_ok=True)  # of a run that was killed before it could tell
        start = None if self.start is None else place.input(self.start) / NETWORK
        recipe = self.schedule.recipe(architecture)
        state, template = place.folder / _STATE, place.input(self.template) / NETWORK
        threads, precision = self.setup.threads, self.setup.precision
        training = Training(recipe, self.seed, start, threads, state, template=template, precision=precision)
        insertion = inserted_as(self.method, dict(self.parameters))
        with Memory() as memory:
            done = train_marked(
                architecture, place.folder, place.folder / NETWORK, record, insertion, training, key=key_of(self.key)
            )
        found = {"iterations": done.inserted_after, "correct": done.correct}
        return Outcome(found, {**_time(done.trained.history), "peak_memory_bytes": memory.bytes})

    def work(self) -> Work:
        assumed = self.setup.assumed()
        amount = self.schedule.epochs * self.setup.training_samples()
        unit = f"insert {self.method} {self.setup.network} {self.setup.size} {self.setup.precision}"
        return Work(unit, amount, 1.2 * assumed.train, 4 * assumed.parameters)


def inserted_as(method: str, parameters: "Mapping[str, int | float | str]") -> "Insertion":
    """A method's insertion with these parameters.

    Raises:
        UnknownName: No such method, or it has no such parameter; the message lists those there are.
        UsageError: A value that the method refuses.
    """
    from onnxnnw.methods.discovery import find_insertion

    return from_table(find_insertion(method), parameters, method)


def written_as(method: str, parameters: "Mapping[str, int | float | str]") -> "FileInsertion":
    """How a method is written into a file, with these parameters.

    Raises:
        UnknownName: No such method, or it has no such parameter; the message lists those there are.
        UsageError: A value that the method refuses.
    """
    from onnxnnw.methods.discovery import find_file_insertion

    return from_table(find_file_insertion(method), parameters, method)


def _time(history: "tuple[Epoch, ...]") -> dict[str, Any]:
    """Time per batch iteration as the standard normalises it: an epoch's time over its batches, median of the epochs."""
    if not history:
        return {}
    return {"seconds_per_batch": statistics.median(epoch.seconds / epoch.batches for epoch in history)}
