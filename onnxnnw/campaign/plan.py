"""Campaign -> trials: every network of NNW-NNT's protocol at every point of the grid, and the other studies of a method."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxnnw.campaign.settings import Campaign, EvaluatedNetwork, Fingerprints, Marks
from onnxnnw.campaign.step import Step
from onnxnnw.campaign.steps.enrolling import FingerprintStep, WrongKeysInFileStep, WrongKeysStep
from onnxnnw.campaign.steps.examining import (
    AppliedModification,
    MeasureStep,
    RecordFile,
    RetrieveStep,
    SearchStep,
    VerifyStep,
)
from onnxnnw.campaign.steps.figures_of_nct import ScalingStep
from onnxnnw.campaign.steps.pairs import PAIRED, PairsStep
from onnxnnw.campaign.steps.subjects import GridPoint, MarkedSubject, Subjects
from onnxnnw.campaign.steps.trajectories import InsertStep, TrainingPlan
from onnxnnw.campaign.trial import Plan, PlannedTrial, ResultField
from onnxnnw.errors import UsageError
from onnxnnw.recipes import Precision, find_precision, usual_precision
from onnxnnw.standard.grids import ROLES
from onnxnnw.training.networks import find_network

__all__ = ["planned"]

MAX_TRIALS = 1_000_000
"""As many as a report reads."""


def planned(campaign: Campaign, data: str = "") -> Plan:
    """The plan of a campaign: its trials, and the steps that they are read from.

    Args:
        data: What the user's data is known by (``evaluated_network.identity_of``); campaigns that generate theirs need none.

    Raises:
        UnknownName: A network, method, modification, precision or parameter that does not exist.
        UsageError: A value that one of them refuses.
        MissingExtra: torch is not installed.
    """
    for network in campaign.networks:
        if not network.own:
            find_network(network.name, network.size)
    trained = any(not network.own for network in campaign.networks)
    precision = find_precision(campaign.precision) or (usual_precision() if trained else Precision.FLOAT32)
    planner = _Planner(campaign, Subjects(campaign, data, precision))
    trials: dict[str, PlannedTrial] = {}
    for trial in planner.trials():
        question = _question(trial)
        if question not in trials or _testing(trial) > _testing(trials[question]):
            trials[question] = trial
        if len(trials) > MAX_TRIALS:
            raise UsageError(f"{campaign.name}: more than {MAX_TRIALS:,} trials")
    return Plan(campaign, tuple(trials.values()), precision)


def _question(trial: PlannedTrial) -> str:
    """What a trial asks of which network: trials that differ only in keys or test samples ask the same, and count once."""
    return replace(trial, results=()).address


def _testing(trial: PlannedTrial) -> float:
    """The largest number of test samples behind a trial's quality."""
    return max(
        (one.step.testing or math.inf for one in trial.results if isinstance(one.step, MeasureStep)), default=0.0
    )


@dataclass(frozen=True)
class _Planner:
    campaign: Campaign
    subjects: Subjects

    def trials(self) -> Iterator[PlannedTrial]:
        for network in self.campaign.networks:
            for marks in self.campaign.marks:
                if not marks.on or network.name in marks.on:
                    yield from self.marked(network, marks)
            for fingerprints in self.campaign.fingerprints:
                if not fingerprints.on or network.name in fingerprints.on:
                    yield from self.fingerprinted(network, fingerprints)
            yield from self.unicity(network)
            yield from self.figures(network)

    # --- marks

    def marked(self, network: EvaluatedNetwork, marks: Marks) -> Iterator[PlannedTrial]:
        for alpha in marks.alpha or (None,):
            for values in itertools.product(*marks.parameters.values()):
                parameters = dict(zip(marks.parameters, values, strict=True))
                for model in range(marks.networks):
                    own = [
                        self.subjects.mark(network, marks, alpha, parameters, model, d) for d in range(marks.payloads)
                    ]
                    yield from self.robustness(network, marks, own)

    def robustness(self, network: EvaluatedNetwork, marks: Marks, own: list[MarkedSubject]) -> Iterator[PlannedTrial]:
        """All trials of the marks of one network: M = 1 of NNW-NNT's protocol, with the unmarked network beside them."""
        unmarked, model, settings = own[0].unmarked, own[0].model, own[0].settings
        label = f"{self.campaign.seed}/{network.name}/{model}/{marks.method}"
        subjects: list[tuple[Step, list[MarkedSubject], bool, str]] = [
            (mark.step, [mark], True, f"{label}/{mark.payload}") for mark in own
        ]
        subjects.append((unmarked, own, False, label))
        reference = self.measure(network, unmarked, None, marks.testing)
        for step, asked, truth, name in subjects:
            before = self.measure(network, step, None, marks.testing)
            wrong: tuple[RecordFile, ...] = ()
            if marks.wrong_keys:
                in_file = self.subjects.written_into_files(network, marks, asked[0].epoch)
                kind = WrongKeysInFileStep if in_file else WrongKeysStep
                drawn = kind(self.subjects.setup_of(network), step, marks.method, settings, marks.wrong_keys, name)
                wrong = tuple(RecordFile(drawn, file) for file in drawn.files)
            for point in self.subjects.points(network, marks, step, model, asked[0]):
                records = (*(mark.record for mark in asked), *wrong)
                verify = VerifyStep(
                    self.subjects.setup_of(network), point.step, point.change, records, self.campaign.rate
                )
                quality = self.measure(network, point.step, point.change, marks.testing)
                for number, mark in enumerate(asked):
                    fields = self.fields(network, model, mark.payload, mark.fields, truth, point)
                    yield _detection(
                        fields,
                        verify,
                        number,
                        quality,
                        before if point.modification else None,
                        reference if truth or point.modification else None,
                    )
                for number in range(marks.wrong_keys):
                    fields = self.fields(network, model, asked[0].payload, asked[0].fields, False, point)
                    fields |= {"key": number, "marked": truth}
                    yield _wrong(fields, verify, len(asked) + number)
            if truth:
                yield self.injection(network, asked[0])
                if self.campaign.costs and self.campaign.costs.repeats:
                    yield self.retrieval(network, asked[0])

    def fields(
        self,
        network: EvaluatedNetwork,
        model: int,
        payload: int,
        mark: Mapping[str, Any],
        truth: bool,
        point: GridPoint,
    ) -> dict[str, Any]:
        fields = self.head(network, model, payload)
        if point.change is not None:
            fields["seeds"]["modification"] = point.change.seed
        settled = {"truth": truth, "mark": dict(mark), "modification": None}
        if point.modification is not None:
            settled["modification"] = dict(point.modification)
        return {**fields, **settled}

    def head(self, network: EvaluatedNetwork, model: int, payload: int) -> dict[str, Any]:
        head = {"network": network.name, "size": network.size, "model": model, "payload": payload}
        return {**head, "seeds": {"training": self.subjects.seed(model)}}

    def measure(
        self, network: EvaluatedNetwork, step: Step, change: AppliedModification | None, testing: int
    ) -> MeasureStep:
        return MeasureStep(self.subjects.setup_of(network), step, change, testing)

    # --- costs

    def injection(self, network: EvaluatedNetwork, mark: MarkedSubject) -> PlannedTrial:
        fields = {**self.head(network, mark.model, mark.payload), "mark": dict(mark.fields)}
        iterations, costs = ResultField("iterations", mark.step, ("iterations",)), []
        wanted = self.campaign.costs
        if wanted is not None and wanted.pairs and isinstance(mark.step, InsertStep):
            own = mark.step
            pairs = PairsStep(
                own.setup,
                own.template,
                own.schedule,
                own.seed,
                own.start,
                own.method,
                own.parameters,
                wanted.batches,
                wanted.pairs,
            )
            costs = [ResultField(name, pairs, (name,)) for name in PAIRED]
        return PlannedTrial("injection", fields, (iterations,), tuple(costs))

    def retrieval(self, network: EvaluatedNetwork, mark: MarkedSubject) -> PlannedTrial:
        assert self.campaign.costs is not None
        step = RetrieveStep(self.subjects.setup_of(network), mark.step, mark.record, self.campaign.costs.repeats)
        fields = {**self.head(network, mark.model, mark.payload), "mark": dict(mark.fields)}
        names = ("seconds", "command_seconds", "memory_bytes")
        return PlannedTrial("retrieval", fields, (), tuple(ResultField(name, step, (name,)) for name in names))

    # --- fingerprints

    def fingerprint(
        self, network: EvaluatedNetwork, step: Step, model: int, key: int, positions: int
    ) -> FingerprintStep:
        return FingerprintStep(step, positions, f"{self.campaign.seed}/{network.name}/{model}/{key}/fingerprint")

    def fingerprinted(self, network: EvaluatedNetwork, block: Fingerprints) -> Iterator[PlannedTrial]:
        parameters = {"positions": block.positions}
        head = {"method": "nct", "kind": "fingerprint", "published": {"N": block.positions}, "parameters": parameters}
        for model in range(block.networks):
            step = self.subjects.base(network, model)
            before = self.measure(network, step, None, block.testing)
            prints = [self.fingerprint(network, step, model, d, block.positions) for d in range(block.payloads)]
            for point in self.subjects.points(network, block, step, model, None):
                quality = self.measure(network, point.step, point.change, block.testing)
                records = tuple(RecordFile(one) for one in prints)
                verify = VerifyStep(
                    self.subjects.setup_of(network), point.step, point.change, records, self.campaign.rate
                )
                for number in range(block.payloads):
                    fields = self.fields(network, model, number, head, True, point)
                    modified = before if point.modification else None
                    yield _detection(fields, verify, number, quality, modified, modified)

    def unicity(self, network: EvaluatedNetwork) -> Iterator[PlannedTrial]:
        wanted = self.campaign.unicity
        if wanted is None:
            return
        blocks: list[Marks | Fingerprints] = [*self.campaign.marks, *self.campaign.fingerprints]
        trained = max((block.networks for block in blocks), default=0)
        models: list[Step] = []
        for model in range(min(wanted.networks, len(network.file)) if network.file else wanted.networks):
            if network.file or model < trained or not wanted.epochs:
                models.append(self.subjects.base(network, model))
            else:
                schedule = TrainingPlan(wanted.epochs, rate=network.rate, shape=network.schedule)
                models.append(self.subjects.train(network, schedule, self.subjects.seed(model), wanted.epochs))
        prints = [
            (i, k, RecordFile(self.fingerprint(network, step, i, k, wanted.positions)))
            for i, step in enumerate(models)
            for k in range(wanted.keys)
        ]
        for j, candidate in enumerate(models):
            records = tuple(asked for _, _, asked in prints)
            verify = VerifyStep(self.subjects.setup_of(network), candidate, None, records, self.campaign.rate)
            for number, (i, k, _) in enumerate(prints):
                fields = {
                    **self.head(network, j, k),
                    "record": {"model": i, "key": k},
                    "candidate": {"model": j},
                    "truth": i == j,
                }
                yield PlannedTrial("unicity", fields, (ResultField("verdict", verify, ("verdicts", number)),))
        for j, candidate in enumerate(models):
            first = tuple(asked for _, k, asked in prints if k == 0)
            step = SearchStep(self.subjects.setup_of(network), candidate, first, j, self.campaign.rate)
            found = (ResultField("verdict", step, ("verdict",)), ResultField("right", step, ("right",)))
            cost = (ResultField("seconds_per_record", step, ("seconds_per_record",)),)
            yield PlannedTrial("search", {**self.head(network, j, 0), "records": len(first)}, found, cost)

    # --- figures

    def figures(self, network: EvaluatedNetwork) -> Iterator[PlannedTrial]:
        head, label = self.head(network, 0, 0), f"{self.campaign.seed}/{network.name}/figures"
        shares = self.campaign.sharing
        if shares is not None:
            for share in shares.shares:
                step = self.subjects.with_shared_marks(network, shares, share, label)
                for number, role in enumerate(ROLES, 1):
                    mark = {"method": "nct", "kind": "watermark", "number": number, "role": role, "N": shares.positions}
                    if shares.at_epoch_0:
                        mark["alpha"] = 0
                    found = ResultField("verdict", step, ("verdicts", number - 1))
                    yield PlannedTrial("sharing", {**head, "mark": mark, "share": share}, (found,))
        scales = self.campaign.scaling
        if scales is not None:
            scaling = ScalingStep(
                self.subjects.setup_of(network), self.subjects.base(network, 0), scales.positions, scales.repeats, label
            )
            for place, count in enumerate(scales.positions):
                found = ResultField("fits", scaling, ("fits", place))
                names = ("insertion_seconds", "detection_seconds")
                costs = tuple(ResultField(name, scaling, ("rows", place, name)) for name in names)
                yield PlannedTrial("scaling", {**head, "N": count, "repeats": scales.repeats}, (found,), costs)


def _detection(
    fields: Mapping[str, Any],
    verify: VerifyStep,
    number: int,
    quality: MeasureStep,
    unmodified: MeasureStep | None,
    unmarked: MeasureStep | None,
) -> PlannedTrial:
    results = [ResultField("verdict", verify, ("verdicts", number)), ResultField("quality", quality, ("quality",))]
    results += [ResultField("samples", quality, ("samples",))]
    settled = dict(fields)
    for name, step in (("unmodified", unmodified), ("unmarked", unmarked)):
        if step is None:
            settled[name] = None
        else:
            results.append(ResultField(name, step, ("quality",)))
    costs = (
        ResultField("verify_seconds", verify, ("verify_seconds", number)),
        ResultField("modify_seconds", quality, ("modify_seconds",)),
        ResultField("measure_seconds", quality, ("measure_seconds",)),
    )
    return PlannedTrial("detection", settled, tuple(results), costs)


def _wrong(fields: Mapping[str, Any], verify: VerifyStep, number: int) -> PlannedTrial:
    cost = (ResultField("verify_seconds", verify, ("verify_seconds", number)),)
    return PlannedTrial("wrong key", fields, (ResultField("verdict", verify, ("verdicts", number)),), cost)
