"""The networks of a campaign as steps: trained, marked, and at every point of the grid."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from onnxnnw.campaign.settings import EvaluatedNetwork, Fingerprints, Marks, Shares, Value
from onnxnnw.campaign.step import Step
from onnxnnw.campaign.steps.enrolling import EmbedStep, WriteStep
from onnxnnw.campaign.steps.evaluated_network import identity_of
from onnxnnw.campaign.steps.examining import AppliedModification, RecordFile
from onnxnnw.campaign.steps.figures_of_nct import ReadSharedMarksStep, SharedMarksStep
from onnxnnw.campaign.steps.trajectories import (
    Settings,
    TrainingPlan,
    TrainStep,
    WrittenByMethod,
    WrittenMark,
    inserted_as,
    written_as,
)
from onnxnnw.campaign.steps.unmarked_networks import UnmarkedNetworks
from onnxnnw.errors import UnknownName, UsageError
from onnxnnw.methods.discovery import file_insertion_names, insertion_names, method_names
from onnxnnw.methods.nct import ADDED, REPLACED
from onnxnnw.modifications.base import find_modification
from onnxnnw.parameters import from_table
from onnxnnw.standard.grids import ROLES

__all__ = ["GridPoint", "MarkedSubject", "Subjects"]

FINE_TUNING, OVERWRITING = "fine-tuning", "overwriting-in-training"
OVERWRITING_IN_FILE = "watermark-overwriting"
OVERWRITING_EPOCHS = 2
"""Epochs per further mark where the mark itself was inserted during the whole training."""


@dataclass(frozen=True)
class GridPoint:
    """A network at one point of the grid: unmodified, or after a modification."""

    step: Step
    change: AppliedModification | None
    modification: Mapping[str, Any] | None


@dataclass(frozen=True)
class MarkedSubject:
    """A marked network with its record, and the unmarked network that it is compared with.

    Attributes:
        fields: As trials have them.
        settings: The method's own parameters.
        further: How further marks of its method are inserted.
    """

    model: int
    payload: int
    step: Step
    record: RecordFile
    unmarked: Step
    fields: Mapping[str, Any]
    settings: Settings
    further: TrainingPlan

    @property
    def epoch(self) -> int | None:
        """When the mark is written; None where it is inserted all along, or in a finished network."""
        epoch: int | None = self.fields["parameters"].get("epoch")
        return epoch


@dataclass(frozen=True)
class Subjects(UnmarkedNetworks):
    """What is evaluated: the networks, marked, and after modifications."""

    def mark(
        self,
        network: EvaluatedNetwork,
        marks: Marks,
        alpha: int | None,
        parameters: Mapping[str, Value],
        model: int,
        payload: int,
    ) -> MarkedSubject:
        label = f"{self.campaign.seed}/{network.name}/{model}/{payload}/{marks.method}"
        label += "".join(f"/{name} {identity_of(Path(str(v)))}" for name, v in parameters.items() if _is_folder(v))
        published = {name: parameters[parameter] for parameter, name in marks.published.items()}
        used: dict[str, Any] = dict(parameters)
        epoch = None if alpha is None else self.scaled(network, alpha)
        if alpha is not None:
            published["alpha"] = alpha
            used["epoch"] = epoch
        if parameters.get("insertion") == ADDED:
            published["added"] = parameters["strength"]  # the standard's marks replace: these are none of its tables
        if marks.epochs:
            used["epochs"] = marks.epochs
        if marks.rate:
            used["rate"] = marks.rate
        head = {"method": marks.method, "kind": "watermark", "published": published, "parameters": used}
        if self.told_apart(marks):
            head["block"] = marks.title
        settings: Settings = tuple(sorted(parameters.items()))
        step, unmarked = self.inserted(network, marks, settings, epoch, model, label)
        return MarkedSubject(
            model, payload, step, RecordFile(step), unmarked, head, settings, self.resumed(network, marks)
        )

    def told_apart(self, marks: Marks) -> bool:
        """Whether another block inserts the same method with another schedule, so that their trials are different settings."""
        return any(_way(other) != _way(marks) for other in self.campaign.marks if other.method == marks.method)

    def resumed(self, network: EvaluatedNetwork, marks: Marks) -> TrainingPlan:
        """How a finished network is trained on while a mark is inserted."""
        return TrainingPlan(marks.epochs or OVERWRITING_EPOCHS, resumed=True, rate=marks.rate or network.rate)

    def inserted(
        self,
        network: EvaluatedNetwork,
        marks: Marks,
        settings: Settings,
        epoch: int | None,
        model: int,
        label: str,
    ) -> tuple[Step, Step]:
        """The marked network and its unmarked counterpart, which was trained as long.

        Args:
            epoch: When the mark is written; None where it is inserted all along.
        """
        base, seed, parameters = self.base(network, model), self.seed(model), dict(settings)
        if marks.rate and not marks.epochs:
            raise UsageError(f"{marks.title}: a rate is that of the epochs in which a finished network is trained on")
        trains = marks.method in insertion_names() and not self.written_into_files(network, marks, epoch)
        if network.own and trains:
            raise UsageError(
                f"{marks.title}: {marks.method} marks in training, and {network.name} is a file that is not trained"
            )
        if trains:
            if epoch is not None:
                raise UsageError(f"{marks.title}: {marks.method} marks during the whole training, so it has no alpha")
            inserted_as(marks.method, parameters)  # refuses what the method refuses
            if not marks.epochs:
                schedule = self.schedule(network)
                return self.insert(network, schedule, seed, None, marks.method, settings, label), base
            schedule = self.resumed(network, marks)
            step = self.insert(network, schedule, seed, base, marks.method, settings, label)
            return step, self.train(network, schedule, seed, marks.epochs, start=base)
        return self.written(network, marks, settings, epoch, model, label)

    def written_into_files(self, network: EvaluatedNetwork, marks: Marks, epoch: int | None) -> bool:
        """Whether the method marks by writing into a file, where it could also mark in training."""
        if marks.method not in file_insertion_names():
            return False
        finished = bool(network.file) and not marks.epochs
        return epoch is not None or network.own or finished or marks.method not in insertion_names()

    def written(
        self, network: EvaluatedNetwork, marks: Marks, settings: Settings, epoch: int | None, model: int, label: str
    ) -> tuple[Step, Step]:
        """The network with a mark that is written at one moment, and its unmarked counterpart.

        Args:
            epoch: The moment; None in a finished network.
        """
        base, parameters, wanted = self.base(network, model), dict(settings), ""
        if marks.method in file_insertion_names():
            written_as(marks.method, parameters)  # refuses what the method refuses
        elif marks.method not in method_names():
            raise UnknownName("method", marks.method, method_names())
        elif set(parameters) - {"insertion"} != {"positions", "strength"}:
            wanted = ", and the parameters positions and strength, and insertion if they are to be added"
        if wanted or (epoch is None) != bool(network.file):
            when = "no alpha in a finished network" if network.file else "alpha"
            raise UsageError(f"{marks.title}: {marks.method} has {when}{wanted}")
        if marks.epochs:
            raise UsageError(f"{marks.title}: {marks.method} is written at one moment, so it has no epochs of its own")
        finished: Step
        mark: WrittenMark | WrittenByMethod
        if marks.method in file_insertion_names():
            finished = WriteStep(base, marks.method, settings, label)
            mark = WrittenByMethod(epoch or 0, marks.method, settings, label)
        else:
            insertion = str(parameters.get("insertion", REPLACED))
            if insertion not in (ADDED, REPLACED):
                raise UnknownName("insertion", insertion, (ADDED, REPLACED))
            positions, strength = int(parameters["positions"]), float(parameters["strength"])
            mark = WrittenMark(epoch or 0, positions, strength, label, insertion)
            finished = EmbedStep(base, positions, strength, label, insertion)
        if mark.epoch == network.epochs:
            return finished, base
        before, schedule = self.stretch(network, model, mark.epoch), self.schedule(network)
        return self.train(network, schedule, self.seed(model), network.epochs, before, written=mark), base

    def with_shared_marks(
        self, network: EvaluatedNetwork, shares: Shares, share: float, label: str
    ) -> ReadSharedMarksStep:
        """The marks of Figure 4, at one share of common positions, as the network holds them in the end."""
        if shares.at_epoch_0 and network.file:
            raise UsageError(f"sharing: {network.name} is a finished network; it has no epoch 0")
        schedule, host = self.schedule(network), self.base(network, 0)
        if shares.at_epoch_0:
            host = self.train(network, replace(schedule, epochs=0), self.seed(0), 0)
        setup = self.setup_of(network)
        shared = SharedMarksStep(setup, host, shares.positions, shares.strength, ROLES, share, label)
        if not shares.at_epoch_0:
            return ReadSharedMarksStep(shared, shared)
        return ReadSharedMarksStep(shared, self.train(network, schedule, self.seed(0), network.epochs, start=shared))

    # --- modifications

    def points(
        self, network: EvaluatedNetwork, block: Marks | Fingerprints, step: Step, model: int, mark: MarkedSubject | None
    ) -> Iterator[GridPoint]:
        """The network as it is, then after each modification of the block."""
        yield GridPoint(step, None, None)
        for name in block.modifications:
            (parameter, usual), *others = self.campaign.modifications[name].items()
            values = block.values.get(name, usual)
            for further in itertools.product(*(some for _, some in others)):
                settings = tuple(zip((other for other, _ in others), further, strict=True))
                yield from self.modified(network, name, parameter, values, settings, step, model, mark)

    def modified(
        self,
        network: EvaluatedNetwork,
        name: str,
        parameter: str,
        values: tuple[Value, ...],
        settings: Settings,
        step: Step,
        model: int,
        mark: MarkedSubject | None,
    ) -> Iterator[GridPoint]:
        """The network after one modification, at each value of its parameter."""
        if network.own and name in (FINE_TUNING, OVERWRITING):
            raise UsageError(f"modification {name} trains, and {network.name} is a file that is not trained")
        tuning, overwriting = (name, parameter) == (FINE_TUNING, "epochs"), (name, parameter) == (OVERWRITING, "marks")
        unusual = {other: value for other, value in settings if value != _usual(name, other)}
        if tuning:
            if {other for other, _ in settings} - {"rate"}:
                raise UsageError(f"{name}: a campaign sets its epochs and its rate; the rest is the network's")
            values = tuple(sorted(values, key=float))  # each training goes on from the one before
        tuned: TrainStep | None = None
        for number, value in enumerate(values):
            said = {"name": name, "parameter": parameter, "value": value, **({"settings": unusual} if unusual else {})}
            seed = self.seed(model) + 100 * (number + 1)
            if tuning:
                rate = float(unusual.get("rate", network.rate))
                schedule = TrainingPlan(max(int(v) for v in values), resumed=True, rate=rate)
                start = step if tuned is None else None
                tuned = self.train(network, schedule, self.seed(model) + 7, int(value), tuned, start)
                yield GridPoint(tuned, None, said)
            elif overwriting and mark is not None:
                yield GridPoint(self.overwritten(network, step, mark, int(value), model), None, said)
            else:
                given = ((parameter, value), *settings)
                change = AppliedModification(name, (*given, *_same_size(name, given, mark)), seed)
                _refused_early(change, network.own)
                yield GridPoint(step, change, said)

    def overwritten(self, network: EvaluatedNetwork, step: Step, mark: MarkedSubject, count: int, model: int) -> Step:
        """The network after further marks of the same method, each inserted by training."""
        method = mark.fields["method"]
        if method not in insertion_names():
            raise UsageError(f"{method} is not inserted in training; {OVERWRITING} does not apply to it")
        for number in range(count):
            label = f"{self.campaign.seed}/{network.name}/{model}/{method}/over {number}"
            seed = self.seed(model) + number + 1
            step = self.insert(network, mark.further, seed, step, method, mark.settings, label)
        return step


def _same_size(name: str, given: Settings, mark: MarkedSubject | None) -> Settings:
    """What makes overwriting marks of the mark's own N, strength and insertion [NNW-TEC 7.2.6], where a campaign says no other."""
    if name != OVERWRITING_IN_FILE or mark is None or mark.fields["method"] != "nct":
        return ()
    own = dict(mark.settings)
    said = {parameter for parameter, _ in given}
    return tuple((one, own[one]) for one in ("positions", "strength", "insertion") if one in own and one not in said)


def _is_folder(value: Value) -> bool:
    """Whether a parameter names a folder, whose content decides as much as its name."""
    return isinstance(value, str) and value != "" and Path(value).is_dir()


def _way(marks: Marks) -> tuple[object, ...]:
    """How a block inserts its method, except what the tables print."""
    unprinted = {name: values for name, values in marks.parameters.items() if name not in marks.published}
    return marks.epochs, marks.rate, marks.published, unprinted


def _usual(modification: str, parameter: str) -> object:
    """A parameter's default, with which trials are called by the modification's name alone."""
    known = {f.name: f for f in fields(find_modification(modification))}  # type: ignore[arg-type]
    if parameter not in known:
        raise UnknownName(f"parameter of {modification}", parameter, known)
    return known[parameter].default


@cache
def _refused_early(change: AppliedModification, own: bool) -> None:
    """Refuse a modification's impossible parameters before hours of training, not after them."""
    kind: Any = find_modification(change.name)
    context = {"network": "resnet8", "size": "reference", "data": "", "threads": 1}
    known = {field.name for field in fields(kind)}
    if own and "network" in known:
        raise UsageError(f"modification {change.name} trains, and a network of one's own is a file that is not trained")
    given = {name: value for name, value in context.items() if name in known}
    from_table(kind, given | dict(change.parameters), f"modification {change.name}")
