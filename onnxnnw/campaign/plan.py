"""Campaign -> trials, each with the steps that it is read from [NNW-NNT]."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from onnxnnw.campaign.bench import Bench, GeneratedImages
from onnxnnw.campaign.cache import Entry
from onnxnnw.campaign.enrolling import Embed, Fingerprint, WrongKeys
from onnxnnw.campaign.examining import Asked, Change, Measure, Retrieve, Search, Verify
from onnxnnw.campaign.figures_of_nct import Scaling, Sharing
from onnxnnw.campaign.settings import Campaign, Evaluated, Fingerprints, Marks, Value
from onnxnnw.campaign.step import Step
from onnxnnw.campaign.trajectories import Insert, Moment, Schedule, Settings, Template, Train, inserted_as
from onnxnnw.errors import UnknownName, UsageError
from onnxnnw.methods.base import insertion_names, method_names
from onnxnnw.modifications.base import find_modification
from onnxnnw.networks import find_network
from onnxnnw.standard.grids import ALPHA, ROLES

__all__ = ["TRIAL_FORMAT", "Found", "Plan", "Trial", "planned"]

TRIAL_FORMAT = "onnxnnw/trial/1"
FINE_TUNING, OVERWRITING = "fine-tuning", "overwriting-in-training"
OVERWRITING_EPOCHS = 2


@dataclass(frozen=True)
class Found:
    """Where a field of a trial comes from: a step, and the way through what it found."""

    name: str
    step: Step
    way: tuple[str | int, ...]


@dataclass(frozen=True)
class Trial:
    """One trial before it is known.

    Attributes:
        fields: What is settled beforehand.
        results, costs: What is read from steps.
    """

    study: str
    fields: Mapping[str, Any]
    results: tuple[Found, ...] = ()
    costs: tuple[Found, ...] = ()

    @cached_property
    def address(self) -> str:
        """SHA-256 of everything that decides the trial."""
        found = [[one.name, one.step.address, list(one.way)] for one in self.results]
        return hashlib.sha256(json.dumps([self.study, self.fields, found], sort_keys=True).encode()).hexdigest()

    def steps(self) -> Iterator[Step]:
        """The steps that it is read from."""
        for found in (*self.results, *self.costs):
            yield found.step

    def line(self, entries: Mapping[str, Entry]) -> dict[str, Any]:
        """The trial as it is written, given the finished steps by address."""
        values = {one.name: _walk(entries[one.step.address].result, one.way) for one in self.results}
        costs = {one.name: _walk(entries[one.step.address].cost, one.way) for one in self.costs}
        environment = next(iter([entries[one.step.address].environment for one in self.results]), {})
        head = {"format": TRIAL_FORMAT, "trial": self.address[:16], "study": self.study}
        return {**head, **self.fields, **values, "environment": dict(environment), "cost": costs}


def _walk(content: Any, way: tuple[str | int, ...]) -> Any:
    for part in way:
        there = content is not None and (part in content if isinstance(part, str) else part < len(content))
        if not there:
            return None
        content = content[part]
    return content


@dataclass(frozen=True)
class Plan:
    """All trials, in the order in which they are written, each once."""

    campaign: Campaign
    trials: tuple[Trial, ...]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All steps, inputs before what is made from them."""
        found: dict[str, Step] = {}

        def add(step: Step) -> None:
            if step.address not in found:
                for one in step.inputs:
                    add(one)
                found[step.address] = step

        for trial in self.trials:
            for step in trial.steps():
                add(step)
        return tuple(found.values())


def planned(campaign: Campaign, data: str = "") -> Plan:
    """What is to be done.

    Args:
        data: What the user's data is known by (``running.identity_of``); campaigns that generate theirs need none.

    Raises:
        UnknownName: A network, method, modification or parameter that does not exist.
        UsageError: A value that one of them refuses.
        MissingExtra: torch is not installed.
    """
    for network in campaign.networks:
        find_network(network.name, network.size)
    planner = _Planner(campaign, data)
    trials = {trial.address: trial for trial in planner.trials()}
    return Plan(campaign, tuple(trials.values()))


@dataclass(frozen=True)
class _Point:
    """A network at one point of the grid: unmodified, or after a modification."""

    step: Step
    change: Change | None
    modification: Mapping[str, Any] | None


@dataclass(frozen=True)
class _Mark:
    """A marked network with its record, and the unmarked network that it is compared with."""

    model: int
    payload: int
    step: Step
    record: Asked
    unmarked: Step
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class _Planner:
    campaign: Campaign
    data: str

    def trials(self) -> Iterator[Trial]:
        for network in self.campaign.networks:
            for marks in self.campaign.marks:
                if not marks.on or network.name in marks.on:
                    yield from self.marked(network, marks)
            for fingerprints in self.campaign.fingerprints:
                if not fingerprints.on or network.name in fingerprints.on:
                    yield from self.fingerprinted(network, fingerprints)
            yield from self.unicity(network)
            yield from self.figures(network)

    # --- networks

    def bench(self, network: Evaluated) -> Bench:
        made = self.campaign.generated
        data = self.data if made is None else GeneratedImages(made.training, made.testing, made.seed)
        return Bench(network.name, network.size, data, network.training)

    def seed(self, model: int) -> int:
        return 1000 * self.campaign.seed + model

    def schedule(self, network: Evaluated) -> Schedule:
        return Schedule(network.epochs, rate=network.rate, shape=network.schedule)

    def scaled(self, network: Evaluated, alpha: int) -> int:
        """α in epochs of this schedule."""
        return min(network.epochs, round(alpha * network.epochs / network.published_epochs))

    def stretch(self, network: Evaluated, model: int, epoch: int) -> Train | None:
        """The unmarked network's training up to an epoch, in stretches between the moments at which marks are written."""
        moments = {self.scaled(network, alpha) for alpha in ALPHA}
        moments |= {self.scaled(network, alpha) for marks in self.campaign.marks for alpha in marks.alpha}
        after: Train | None = None
        for until in sorted({m for m in moments if 0 < m < epoch} | {epoch} - {0}):
            after = self.train(network, self.schedule(network), self.seed(model), until, after)
        return after

    def train(
        self,
        network: Evaluated,
        schedule: Schedule,
        seed: int,
        until: int,
        after: Train | None = None,
        start: Step | None = None,
        moment: Moment | None = None,
    ) -> Train:
        template = Template(network.name, network.size)
        return Train(self.bench(network), template, schedule, seed, until, after, start, moment)

    def insert(
        self,
        network: Evaluated,
        schedule: Schedule,
        seed: int,
        start: Step | None,
        method: str,
        settings: Settings,
        label: str,
    ) -> Insert:
        template = Template(network.name, network.size)
        return Insert(self.bench(network), template, schedule, seed, start, method, settings, label)

    def base(self, network: Evaluated, model: int) -> Train:
        """The unmarked, trained network."""
        trained = self.stretch(network, model, network.epochs)
        assert trained is not None
        return trained

    # --- marks

    def marked(self, network: Evaluated, marks: Marks) -> Iterator[Trial]:
        for alpha in marks.alpha or (None,):
            for values in itertools.product(*marks.parameters.values()):
                parameters = dict(zip(marks.parameters, values, strict=True))
                for model in range(marks.networks):
                    own = [self.mark(network, marks, alpha, parameters, model, d) for d in range(marks.payloads)]
                    yield from self.robustness(network, marks, own, parameters)

    def mark(
        self,
        network: Evaluated,
        marks: Marks,
        alpha: int | None,
        parameters: Mapping[str, Value],
        model: int,
        payload: int,
    ) -> _Mark:
        label = f"{self.campaign.seed}/{network.name}/{model}/{payload}/{marks.method}"
        published = {name: parameters[parameter] for parameter, name in marks.published.items()}
        used: dict[str, Any] = dict(parameters)
        if alpha is not None:
            published["alpha"] = alpha
            used["epoch"] = self.scaled(network, alpha)
        if marks.epochs:
            used["epochs"] = marks.epochs
        head = {"method": marks.method, "kind": "watermark", "published": published, "parameters": used}
        step, unmarked = self.inserted(network, marks, parameters, used, model, label)
        return _Mark(model, payload, step, Asked(step), unmarked, head)

    def inserted(
        self,
        network: Evaluated,
        marks: Marks,
        parameters: Mapping[str, Value],
        used: Mapping[str, Any],
        model: int,
        label: str,
    ) -> tuple[Step, Step]:
        """The marked network and its unmarked counterpart, which was trained as long."""
        base, seed = self.base(network, model), self.seed(model)
        if marks.method in insertion_names():
            if "epoch" in used:
                raise UsageError(f"{marks.title}: {marks.method} marks during the whole training, so it has no alpha")
            inserted_as(marks.method, parameters)  # refuses what the method refuses
            settings: Settings = tuple(sorted(parameters.items()))
            if not marks.epochs:
                schedule = self.schedule(network)
                return self.insert(network, schedule, seed, None, marks.method, settings, label), base
            schedule = Schedule(marks.epochs, resumed=True, rate=network.rate)
            step = self.insert(network, schedule, seed, base, marks.method, settings, label)
            return step, self.train(network, schedule, seed, marks.epochs, start=base)
        if marks.method not in method_names():
            raise UnknownName("method", marks.method, method_names())
        if set(parameters) != {"positions", "strength"} or "epoch" not in used:
            raise UsageError(f"{marks.title}: {marks.method} has alpha, and the parameters positions and strength")
        moment = Moment(used["epoch"], int(parameters["positions"]), float(parameters["strength"]), label)
        if moment.epoch == network.epochs:
            return Embed(base, moment.positions, moment.strength, label), base
        before = self.stretch(network, model, moment.epoch)
        schedule = self.schedule(network)
        return self.train(network, schedule, seed, network.epochs, before, moment=moment), base

    def robustness(
        self, network: Evaluated, marks: Marks, own: list[_Mark], parameters: Mapping[str, Value]
    ) -> Iterator[Trial]:
        """All trials of the marks of one network: M = 1 of NNW-NNT's protocol, with the unmarked network beside them."""
        unmarked, model = own[0].unmarked, own[0].model
        settings: Settings = tuple(sorted(parameters.items()))
        label = f"{self.campaign.seed}/{network.name}/{model}/{marks.method}"
        subjects: list[tuple[Step, list[_Mark], bool, str]] = [
            (mark.step, [mark], True, f"{label}/{mark.payload}") for mark in own
        ]
        subjects.append((unmarked, own, False, label))
        reference = self.measure(network, unmarked, None, marks.testing)
        for step, asked, truth, name in subjects:
            before = self.measure(network, step, None, marks.testing)
            wrong: tuple[Asked, ...] = ()
            if marks.wrong_keys:
                drawn = WrongKeys(self.bench(network), step, marks.method, settings, marks.wrong_keys, name)
                wrong = tuple(Asked(drawn, file) for file in drawn.files)
            for point in self.points(network, marks, step, model, asked[0]):
                records = (*(mark.record for mark in asked), *wrong)
                verify = Verify(self.bench(network), point.step, point.change, records, self.campaign.rate)
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
                yield self.injection(network, asked[0], before, reference)
                if self.campaign.costs and self.campaign.costs.repeats:
                    yield self.retrieval(network, asked[0])

    def fields(
        self, network: Evaluated, model: int, payload: int, mark: Mapping[str, Any], truth: bool, point: _Point
    ) -> dict[str, Any]:
        fields = self.head(network, model, payload)
        if point.change is not None:
            fields["seeds"]["modification"] = point.change.seed
        settled = {"truth": truth, "mark": dict(mark), "modification": None}
        if point.modification is not None:
            settled["modification"] = dict(point.modification)
        return {**fields, **settled}

    def head(self, network: Evaluated, model: int, payload: int) -> dict[str, Any]:
        head = {"network": network.name, "size": network.size, "model": model, "payload": payload}
        return {**head, "seeds": {"training": self.seed(model)}}

    def measure(self, network: Evaluated, step: Step, change: Change | None, testing: int) -> Measure:
        return Measure(self.bench(network), step, change, testing)

    # --- modifications

    def points(
        self, network: Evaluated, block: Marks | Fingerprints, step: Step, model: int, mark: _Mark | None
    ) -> Iterator[_Point]:
        """The network as it is, then after each modification of the block."""
        yield _Point(step, None, None)
        for name in block.modifications:
            ((parameter, usual),) = self.campaign.modifications[name].items()
            values = block.values.get(name, usual)
            tuned: Train | None = None
            for number, value in enumerate(values):
                said = {"name": name, "parameter": parameter, "value": value}
                seed = self.seed(model) + 100 * (number + 1)
                if name == FINE_TUNING and parameter == "epochs":
                    schedule = Schedule(max(int(v) for v in values), resumed=True, rate=network.rate)
                    tuned = self.train(
                        network, schedule, self.seed(model) + 7, int(value), tuned, step if tuned is None else None
                    )
                    yield _Point(tuned, None, said)
                elif name == OVERWRITING and parameter == "marks" and mark is not None:
                    yield _Point(self.overwritten(network, step, mark, int(value), model), None, said)
                else:
                    change = Change(name, ((parameter, value),), seed)
                    _refused_early(change)
                    yield _Point(step, change, said)

    def overwritten(self, network: Evaluated, step: Step, mark: _Mark, count: int, model: int) -> Step:
        """The network after further marks of the same method, each inserted by training."""
        method = mark.fields["method"]
        if method not in insertion_names():
            raise UsageError(f"{method} is not inserted in training; {OVERWRITING} does not apply to it")
        schedule = Schedule(
            int(mark.fields["parameters"].get("epochs", OVERWRITING_EPOCHS)), resumed=True, rate=network.rate
        )
        known = {n: v for n, v in mark.fields["parameters"].items() if n not in ("epochs", "epoch")}
        for number in range(count):
            label = f"{self.campaign.seed}/{network.name}/{model}/{method}/over {number}"
            settings = tuple(sorted(known.items()))
            step = self.insert(network, schedule, self.seed(model) + number + 1, step, method, settings, label)
        return step

    # --- costs

    def injection(self, network: Evaluated, mark: _Mark, quality: Measure, reference: Measure) -> Trial:
        fields = {**self.head(network, mark.model, mark.payload), "mark": dict(mark.fields)}
        costs = [
            Found("seconds_per_batch", mark.step, ("seconds_per_batch",)),
            Found("peak_memory_bytes", mark.step, ("peak_memory_bytes",)),
            Found("unmarked_seconds_per_batch", mark.unmarked, ("seconds_per_batch",)),
            Found("unmarked_peak_memory_bytes", mark.unmarked, ("peak_memory_bytes",)),
            Found("inference_seconds", quality, ("inference_seconds",)),
            Found("unmarked_inference_seconds", reference, ("inference_seconds",)),
        ]
        iterations = Found("iterations", mark.step, ("iterations",))
        return Trial("injection", fields, (iterations,), tuple(costs))

    def retrieval(self, network: Evaluated, mark: _Mark) -> Trial:
        assert self.campaign.costs is not None
        step = Retrieve(self.bench(network), mark.step, mark.record, self.campaign.costs.repeats)
        fields = {**self.head(network, mark.model, mark.payload), "mark": dict(mark.fields)}
        names = ("seconds", "command_seconds", "memory_bytes")
        return Trial("retrieval", fields, (), tuple(Found(name, step, (name,)) for name in names))

    # --- fingerprints

    def fingerprint(self, network: Evaluated, step: Step, model: int, key: int, positions: int) -> Fingerprint:
        return Fingerprint(step, positions, f"{self.campaign.seed}/{network.name}/{model}/{key}/fingerprint")

    def fingerprinted(self, network: Evaluated, block: Fingerprints) -> Iterator[Trial]:
        parameters = {"positions": block.positions}
        head = {"method": "nct", "kind": "fingerprint", "published": {"N": block.positions}, "parameters": parameters}
        for model in range(block.networks):
            step = self.base(network, model)
            before = self.measure(network, step, None, block.testing)
            prints = [self.fingerprint(network, step, model, d, block.positions) for d in range(block.payloads)]
            for point in self.points(network, block, step, model, None):
                quality = self.measure(network, point.step, point.change, block.testing)
                records = tuple(Asked(one) for one in prints)
                verify = Verify(self.bench(network), point.step, point.change, records, self.campaign.rate)
                for number in range(block.payloads):
                    fields = self.fields(network, model, number, head, True, point)
                    modified = before if point.modification else None
                    yield _detection(fields, verify, number, quality, modified, modified)

    def unicity(self, network: Evaluated) -> Iterator[Trial]:
        wanted = self.campaign.unicity
        if wanted is None:
            return
        blocks: list[Marks | Fingerprints] = [*self.campaign.marks, *self.campaign.fingerprints]
        trained = max((block.networks for block in blocks), default=0)
        models: list[Step] = []
        for model in range(wanted.networks):
            if model < trained or not wanted.epochs:
                models.append(self.base(network, model))
            else:
                schedule = Schedule(wanted.epochs, rate=network.rate, shape=network.schedule)
                models.append(self.train(network, schedule, self.seed(model), wanted.epochs))
        prints = [
            (i, k, Asked(self.fingerprint(network, step, i, k, wanted.positions)))
            for i, step in enumerate(models)
            for k in range(wanted.keys)
        ]
        for j, candidate in enumerate(models):
            records = tuple(asked for _, _, asked in prints)
            verify = Verify(self.bench(network), candidate, None, records, self.campaign.rate)
            for number, (i, k, _) in enumerate(prints):
                fields = {
                    **self.head(network, j, k),
                    "record": {"model": i, "key": k},
                    "candidate": {"model": j},
                    "truth": i == j,
                }
                yield Trial("unicity", fields, (Found("verdict", verify, ("verdicts", number)),))
        for j, candidate in enumerate(models):
            first = tuple(asked for _, k, asked in prints if k == 0)
            step = Search(self.bench(network), candidate, first, j, self.campaign.rate)
            found = (Found("verdict", step, ("verdict",)), Found("right", step, ("right",)))
            cost = (Found("seconds_per_record", step, ("seconds_per_record",)),)
            yield Trial("search", {**self.head(network, j, 0), "records": len(first)}, found, cost)

    # --- figures

    def figures(self, network: Evaluated) -> Iterator[Trial]:
        head, label = self.head(network, 0, 0), f"{self.campaign.seed}/{network.name}/figures"
        shares = self.campaign.sharing
        if shares is not None:
            step: Step = Sharing(
                self.bench(network),
                self.base(network, 0),
                shares.positions,
                shares.strength,
                ROLES,
                shares.shares,
                label,
            )
            for place, (share, (number, role)) in enumerate(itertools.product(shares.shares, enumerate(ROLES, 1))):
                mark = {"method": "nct", "kind": "watermark", "number": number, "role": role, "N": shares.positions}
                found = Found("verdict", step, ("rows", place, "verdict"))
                yield Trial("sharing", {**head, "mark": mark, "share": share}, (found,))
        scales = self.campaign.scaling
        if scales is not None:
            step = Scaling(self.bench(network), self.base(network, 0), scales.positions, scales.repeats, label)
            for place in range(len(scales.positions)):
                found = Found("N", step, ("positions", place))
                names = ("insertion_seconds", "detection_seconds")
                costs = tuple(Found(name, step, ("rows", place, name)) for name in names)
                yield Trial("scaling", {**head, "repeats": scales.repeats}, (found,), costs)


def _detection(
    fields: Mapping[str, Any],
    verify: Verify,
    number: int,
    quality: Measure,
    unmodified: Measure | None,
    unmarked: Measure | None,
) -> Trial:
    results = [Found("verdict", verify, ("verdicts", number)), Found("quality", quality, ("quality",))]
    results += [Found("samples", quality, ("samples",))]
    settled = dict(fields)
    for name, step in (("unmodified", unmodified), ("unmarked", unmarked)):
        if step is None:
            settled[name] = None
        else:
            results.append(Found(name, step, ("quality",)))
    costs = (
        Found("verify_seconds", verify, ("verify_seconds", number)),
        Found("modify_seconds", quality, ("modify_seconds",)),
        Found("measure_seconds", quality, ("measure_seconds",)),
    )
    return Trial("detection", settled, tuple(results), costs)


def _wrong(fields: Mapping[str, Any], verify: Verify, number: int) -> Trial:
    cost = (Found("verify_seconds", verify, ("verify_seconds", number)),)
    return Trial("wrong key", fields, (Found("verdict", verify, ("verdicts", number)),), cost)


@cache
def _refused_early(change: Change) -> None:
    """Refuse a modification's impossible parameters before hours of training, not after them."""
    from dataclasses import fields

    kind: Any = find_modification(change.name)
    context = {"network": "resnet8", "size": "reference", "data": "", "threads": 1}
    known = {f.name: f for f in fields(kind)}
    for name, _ in change.parameters:
        if name not in known:
            raise UnknownName(f"parameter of {change.name}", name, known)
    kind(**{name: value for name, value in context.items() if name in known}, **dict(change.parameters))
