"""Do the steps of a plan, each once and after its inputs, and write the trials."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from onnxnnw.campaign.cache import Cache, CachedStep, DamagedEntry
from onnxnnw.campaign.estimate import Rates
from onnxnnw.campaign.plan import planned
from onnxnnw.campaign.progress import CampaignProgress, Silent
from onnxnnw.campaign.results import RunSummary, continued, refuse_foreign, refuse_other_inputs, write_results
from onnxnnw.campaign.settings import Campaign
from onnxnnw.campaign.step import Step
from onnxnnw.campaign.steps.evaluated_network import identity_of
from onnxnnw.campaign.trial import Plan
from onnxnnw.campaign.workers import Workers, in_this_process
from onnxnnw.errors import CannotLook, MissingData, TraceabilityError

__all__ = ["evaluate", "run"]

ATTEMPTS = 3
"""How often a step is tried whose worker died, or whose input turned out to be damaged."""

SUSPECTED = ATTEMPTS - 1
"""After so many a step is tried alone: the innocent beside it are not blamed for a third death."""


def evaluate(
    campaign: Campaign,
    out: Path,
    cache: Path,
    data: Path | None = None,
    workers: AbstractContextManager[Workers] | None = None,
    progress: CampaignProgress | None = None,
) -> RunSummary:
    """Evaluate a campaign: do its steps, or find them done, and write its trials.

    Args:
        out: Folder for ``results.json`` and ``trials.jsonl``; results of other campaigns, and of this one before it was changed,
            are not overwritten. This campaign goes on in the precision of its results there.
        cache: Folder of finished steps, which campaigns share.
        data: Directory of the tasks' data; see docs/guide/networks.md.
        workers: Who does the steps; this process by default.
        progress: Who is told.

    Raises:
        UsageError: The campaign says something impossible, or the folder holds the results of another one, or of this one
            in another precision than it asks for, or from other networks, samples or data.
        CannotLook: Data is missing, or results or steps cannot be written.
    """
    refuse_foreign(out, campaign)
    campaign = continued(out, campaign)
    if data is None and campaign.generated is None and not all(network.own for network in campaign.networks):
        raise MissingData(f"the campaign {campaign.name} needs data: give its directory with --data")
    plan = planned(campaign, "" if data is None else identity_of(data))
    refuse_other_inputs(out, plan)
    store = Cache(cache)
    with workers or in_this_process() as pool:
        for folder in (out, cache):  # before hours of work, not after them
            _writable(folder)
        ran, entries = run(plan, store, data, pool, progress or Silent())
    _say_of_cpu(campaign, entries)
    return write_results(plan, entries, ran, out)


def _say_of_cpu(campaign: Campaign, entries: Mapping[str, CachedStep]) -> None:
    """Say which results that were asked of CUDA are the CPU's: steps that were found done warn of nothing themselves."""
    cpu = sum(entry.environment.get("provider") == "cpu" for entry in entries.values())
    if campaign.provider == "cuda" and cpu:
        logging.getLogger("onnxnnw").warning(
            "CUDA was asked for, but %d of %d steps ran on the CPU; to measure them anew, give another --cache",
            cpu,
            len(entries),
        )


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CannotLook(f"{folder} cannot be written: {error.strerror}") from error


@dataclass
class _StepStates:
    """The state of each unfinished step: waiting for inputs, ready, running since when, or failed."""

    waiting: dict[str, set[str]] = field(default_factory=dict)
    followers: dict[str, set[str]] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)
    running: dict["Future[CachedStep]", str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)


def run(
    plan: Plan, cache: Cache, data: Path | None, workers: Workers, progress: CampaignProgress
) -> tuple[RunSummary, Mapping[str, CachedStep]]:
    """Run the steps that have no cache entry yet; returns the entries of all steps that trials are read from."""
    return _Run(plan, cache, data, workers, progress).run()


class _Run:
    def __init__(
        self, plan: Plan, cache: Cache, data: Path | None, workers: Workers, progress: CampaignProgress
    ) -> None:
        self.plan, self.cache, self.data, self.workers, self.progress = plan, cache, data, workers, progress
        self.steps = {step.address: step for step in plan.steps}
        self.goals = {step.address for trial in plan.trials for step in trial.steps()}
        self.rates = Rates(cache.entries())
        self.states = _StepStates()
        self.entries: dict[str, CachedStep] = {}
        self.did = 0
        self.inline = 0.0

    def run(self) -> tuple[RunSummary, Mapping[str, CachedStep]]:
        own = time.process_time()
        for address in self.goals:
            self._want(address)
        self._weigh()
        self.progress.begin(len(self.steps), len(self.steps) - len(self.states.waiting), self._left())
        self._work()
        around = time.process_time() - own - self.inline
        for address in self.steps:  # what others were made from in earlier runs was not looked at yet
            self._find(address)
        done = [self.entries[address] for address in self.steps if address in self.entries]
        seconds, overhead = (sum(getattr(entry, name) for entry in done) for name in ("seconds", "overhead_seconds"))
        reasons = tuple(f"{self.steps[address].title}: {reason}" for address, reason in self.states.failed.items())
        read = {address: entry for address, entry in self.entries.items() if address in self.goals}
        precision = self.plan.precision.value
        return RunSummary(0, len(self.steps), self.did, seconds, overhead + around, reasons, precision), read

    def _find(self, address: str) -> bool:
        """Whether a step is done; its entry is read once."""
        if address not in self.entries:
            with contextlib.suppress(DamagedEntry):  # it was set aside, and is made anew
                found = self.cache.find(address)
                if found is not None:
                    self.entries[address] = found
        return address in self.entries

    # --- what is to be done

    def _want(self, address: str) -> None:
        """Queue a step and everything it is made from, unless it is done or queued."""
        board = self.states
        pending = [address]
        while pending:
            one = pending.pop()
            if one in board.waiting or one in board.failed:
                continue
            if self._find(one):
                continue
            inputs = {step.address for step in self.steps[one].inputs}
            for other in inputs:
                board.followers.setdefault(other, set()).add(one)
            board.waiting[one] = inputs
            pending += inputs
        # inputs that turned out to be done are not waited for
        for one, inputs in board.waiting.items():
            inputs.difference_update(self.entries)
            if not inputs and one not in board.running.values():
                board.ready.add(one)

    def _weigh(self) -> None:
        """Length of the longest path (critical path) from a step to the end; the longest is started first."""
        self.weight: dict[str, float] = {}
        for step in reversed(self.plan.steps):
            after = max(
                (self.weight[f] for f in self.states.followers.get(step.address, ()) if f in self.weight), default=0.0
            )
            self.weight[step.address] = after + self.rates.seconds(step)

    def _left(self) -> float:
        """Seconds of work left, over the workers."""
        now, running, left = time.monotonic(), set(self.states.running.values()), 0.0
        for address in self.states.waiting:
            elapsed = now - self.states.begun[address] if address in running else 0.0
            left += max(0.0, self.rates.seconds(self.steps[address]) - elapsed)
        return left / self.workers.count()

    # --- doing it

    def _work(self) -> None:
        board = self.states
        while board.waiting:
            while (chosen := self._next()) is not None:
                self._submit(chosen)
            if not board.running:
                break  # what still waits, waits for what failed
            finished, _ = wait(board.running, return_when=FIRST_COMPLETED)
            for future in finished:
                if future in board.running:
                    self._collect(future)
        for address in list(board.waiting):
            self._fail(address, "something that it is made from failed")

    def _next(self) -> str | None:
        """The step to start next: a step that two workers died of runs alone."""
        board = self.states
        if not board.ready or len(board.running) >= self.workers.count():
            return None
        if any(board.attempts.get(one, 0) >= SUSPECTED for one in board.running.values()):
            return None
        chosen = max(board.ready, key=lambda one: (-board.attempts.get(one, 0), self.weight.get(one, 0.0), one))
        return None if board.running and board.attempts.get(chosen, 0) >= SUSPECTED else chosen

    def _submit(self, address: str) -> None:
        step = self.steps[address]
        self.states.ready.discard(address)
        self.progress.started(step)
        self.states.begun[address] = time.monotonic()
        begin = time.process_time()
        try:
            future = self.workers.executor.submit(_make, self.cache, step, self.data)
            if self.workers.inline:
                self.inline += time.process_time() - begin
        except BrokenProcessPool:  # noticed before its futures were
            self.states.ready.add(address)
            self._restart()
            return
        self.states.running[future] = address

    def _collect(self, future: "Future[CachedStep]") -> None:
        board = self.states
        address = board.running.pop(future)
        step = self.steps[address]
        try:
            entry = future.result()
        except DamagedEntry as error:
            self.progress.noticed(f"{error}; it is made anew")
            self._again(address, str(error))
            self.entries.pop(error.address, None)
            board.waiting.get(address, set()).add(error.address)
            board.ready.discard(address)
            board.followers.setdefault(error.address, set()).add(address)
            self._want(error.address)
        except TraceabilityError as error:
            self._fail(address, str(error))
        except Exception as error:
            if not _a_worker_died(error):
                self._fail(address, f"{type(error).__name__}: {error}")
                return
            self._again(address, "its worker died")
            if isinstance(error, BrokenProcessPool):
                self._restart()
        else:
            self.did += 1
            self.rates.learn(step, entry.seconds)
            del board.waiting[address]
            self.entries[address] = entry
            for follower in board.followers.get(address, ()):
                if follower in board.waiting:
                    board.waiting[follower].discard(address)
                    if not board.waiting[follower] and follower not in board.running.values():
                        board.ready.add(follower)
            self.progress.finished(step, entry.seconds, self._left())

    def _again(self, address: str, reason: str) -> None:
        """Retry a step a limited number of times."""
        self.states.attempts[address] = self.states.attempts.get(address, 0) + 1
        if self.states.attempts[address] >= ATTEMPTS:
            self._fail(address, f"{reason}, {ATTEMPTS} times")
        else:
            self.states.ready.add(address)

    def _restart(self) -> None:
        """Restart the pool, whose processes all die with one of them; its steps resume from their state on the disk."""
        self.progress.noticed("a worker died; its step begins again")
        running = list(self.states.running.values())
        self.states.running.clear()
        for address in running:  # nobody can tell whose worker it was
            self._again(address, "its worker died")
        self.workers.restart()

    def _fail(self, address: str, reason: str) -> None:
        if address in self.states.failed:
            return
        self.states.failed[address] = reason
        self.states.waiting.pop(address, None)
        self.states.ready.discard(address)
        self.progress.failed(self.steps[address], reason)


def _a_worker_died(error: Exception) -> bool:
    return isinstance(error, BrokenProcessPool) or type(error).__name__ in (
        "KilledWorker",
        "FutureCancelledError",
        "CancelledError",
    )


def _make(cache: Cache, step: Step, data: Path | None) -> CachedStep:
    """Do a step in a worker."""
    try:
        return cache.make(step, data)
    except TraceabilityError:
        raise
    except OSError as error:
        raise CannotLook(f"{step.kind}: {error.strerror or error}") from None
