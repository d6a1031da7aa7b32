"""A policy and files: every file by every entry that names it, on all cores, and one answer."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxnnw.errors import CannotLook
from onnxnnw.evidence.answer import WORDS, Answer, could_not_look, summary
from onnxnnw.evidence.rules import RULES, Problem, worst
from onnxnnw.gate.jobs import Job, jobs_of
from onnxnnw.gate.judging import Judge
from onnxnnw.gate.policy import Policy
from onnxnnw.verification.visible import visible

__all__ = ["FORMAT", "PolicyAnswer", "check"]

FORMAT = "onnxnnw/check/1"
ALONE = 8
"""Fewer files than that are looked at in this process: another one takes half a second to start."""


@dataclass(frozen=True)
class PolicyAnswer:
    """The answer of a policy.

    Attributes:
        policy: It.
        answers: One for each file and entry, bundles last.
        lineage: Commitment of each record -> canonical digest of the network that it was made of.
        left_out: Networks that are as they were at the revision that was given.
    """

    policy: Policy
    answers: tuple[Answer, ...]
    lineage: dict[str, str]
    left_out: int = 0

    @property
    def code(self) -> int:
        """3 wins over 1 wins over 0."""
        return worst([answer.code for answer in self.answers])

    @property
    def summary(self) -> str:
        """Which answers there were, and which decides."""
        left = f"; {self.left_out} unchanged and left out" if self.left_out else ""
        return (summary(self.answers) if self.answers else "no network to check: exit code 0") + left

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/json-formats.md."""
        units = list(dict.fromkeys(answer.unit for answer in self.answers))
        of = {unit: [answer for answer in self.answers if answer.unit == unit] for unit in units}
        until = self.policy.until
        return {
            "format": FORMAT,
            "answer": WORDS[self.code],
            "exit_code": self.code,
            "summary": self.summary,
            "policy": {
                "path": visible(str(self.policy.path)),
                "sha256": self.policy.sha256,
                "mode": self.policy.mode,
                "expires": None if until is None else until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            "units": [_unit(unit, answers) for unit, answers in of.items()],
        }


def _unit(unit: str, answers: Sequence[Answer]) -> dict[str, Any]:
    code = worst([answer.code for answer in answers])
    return {
        "unit": visible(unit),
        "answer": WORDS[code],
        "exit_code": code,
        "files": [_file(answer) for answer in answers],
    }


def _file(answer: Answer) -> dict[str, Any]:
    search = answer.search
    return {
        "file": answer.name,
        "sha256": answer.subject.model.sha256 if answer.subject is not None else None,
        "answer": WORDS[answer.code],
        "exit_code": answer.code,
        "enforced": answer.enforced,
        "wanted": visible(answer.asked),
        "problems": [{"rule": p.rule.id, "name": p.rule.name, "sentence": p.sentence} for p in answer.problems],
        "notes": list(answer.notes),
        "records": [verdict.to_json() for verdict in (search.verdicts[:20] if search is not None else ())],
    }


def check(
    policy: Policy, paths: Sequence[Path | str] = (), revision: str = "", canonical: bool = False, processes: int = 0
) -> PolicyAnswer:
    """One answer about files by a policy.

    Args:
        paths: Files, folders and, as texts, addresses; none for all files that the policy names.
        revision: Leave out networks that are as they were at this revision of git.
        canonical: Whether the canonical digest of each file is wanted.
        processes: How many; 0 means one for each core.

    Raises:
        CannotLook: A folder, a key, or git cannot be read, or a process died. What of one file cannot be read is its answer.
    """
    judge = Judge(policy, canonical)
    jobs, left_out = jobs_of(policy, paths, revision, [Path(path) for path in judge.kept] if revision else [])
    cores = processes or _cores()
    answers: dict[int, Answer] = {}
    lineage: dict[str, str] = {}
    here = [number for number, job in enumerate(jobs) if isinstance(job.path, Path)]
    try:
        if len(here) >= ALONE and cores > 1:
            spread = _spread(policy, canonical, [jobs[number] for number in here], min(cores, len(here)))
            for number, (answer, known) in zip(here, spread, strict=True):
                answers[number] = answer
                lineage |= known
        for number, job in enumerate(jobs):  # servers are asked from here, so that one limit holds for all
            if number not in answers:
                answers[number] = _done(judge, job)
        lineage |= judge.lineage()
    finally:
        judge.close()
    return PolicyAnswer(policy, tuple(answers[number] for number in range(len(jobs))), lineage, left_out)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _done(judge: Judge, job: Job) -> Answer:
    policy = judge.policy
    unit = f"bundle {job.bundle}" if job.bundle else ""
    if job.error is not None and job.mode != "off":
        asked = policy.entry(job.network).asked if job.network else "named by an entry of the policy"
        unit = unit or (f"network {job.network}" if job.network else "no entry")
        return replace(could_not_look(job.path, asked, job.error), enforced=job.mode == "enforce", unit=unit)
    if job.missing and job.mode != "off":
        asked = policy.entry(job.network).asked
        return judge.missing(Path(job.path), asked, unit or f"network {job.network}", job.mode)
    if job.member is not None:
        bundle = next(bundle for bundle in policy.bundles if bundle.name == job.bundle)
        over = bundle.expires.verify(judge.now) or policy.expires.verify(judge.now)
        if over and job.mode != "off":
            return Answer(job.path, unit, problems=over, enforced=job.mode == "enforce", unit=unit)
        if not job.network:
            return judge.member(job.member, job.bundle, job.mode)
    if job.network:
        return judge.answer(job.path, policy.entry(job.network), unit, job.mode)
    answer = Answer(job.path, "named by an entry of the policy", enforced=job.mode == "enforce", unit="no entry")
    problem = Problem(RULES["NotInPolicy"], f"{answer.name}: no entry of the policy names it")
    return replace(answer, problems=() if job.mode == "off" else (problem,))


_judge: Judge | None = None


def _begin(policy: Policy, canonical: bool) -> None:
    global _judge
    _judge = Judge(policy, canonical)


def _there(job: Job) -> tuple[Answer, dict[str, str]]:
    assert _judge is not None
    return _done(_judge, job), _judge.lineage()


def _spread(
    policy: Policy, canonical: bool, jobs: Sequence[Job], cores: int
) -> Iterator[tuple[Answer, dict[str, str]]]:
    """Answers in the order of the jobs, from one process for each core."""
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(cores, context, _begin, (policy, canonical))
    try:
        size = max(1, min(16, len(jobs) // (4 * cores)))
        yield from executor.map(_there, jobs, chunksize=size)
    except BrokenProcessPool:
        raise CannotLook(
            "a process died while it looked at a file, perhaps for want of memory; try again with fewer files"
        ) from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
