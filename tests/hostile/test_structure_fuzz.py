"""Two thousand networks of mutated structure: an exit code of the contract, and "identical" only where nobody could tell."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from tests.support.networks import save
from tests.support.structures import MUTATIONS, NEUTRAL, NotHere, mutated
from tests.support.structures.fuzz import Behaviour, Subject
from tests.support.structures.seeds import SEEDS

ROOT = Path(__file__).parents[2]


def fuzz(seed: int, cases: int, folder: Path, seconds: int) -> tuple[list[str], dict[str, int]]:
    """What went wrong, and how many files and pairs were looked at; every case is reproducible by its number."""
    command = [sys.executable, "-m", "tests.support.structures.fuzz", str(seed), str(cases), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"in case {(folder / 'at').read_text()}: {done.stderr[-2000:]}"
    report = json.loads(done.stdout)
    return report["failures"], report["counts"]


@pytest.mark.slow
def test_some_networks_of_another_structure_are_judged_rightly(tmp_path):
    """Sixty of them, through the command line and onnxruntime."""
    failures, counts = fuzz(0, 60, tmp_path, 120)
    assert failures == []
    assert counts["files"] == 60


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_many_networks_of_another_structure_are_judged_rightly(part, tmp_path):
    """Two thousand, other ones, in four parts; among them more than three hundred pairs of one digest that both run."""
    failures, counts = fuzz(100_000 + 500 * part, 500, tmp_path, 550)
    assert failures == []
    assert counts["files"] == 500
    assert counts["pairs"] >= 100
    assert all(counts[decision] for decision in ("identical", "traced", "not traced", "refused"))


def changed(model: ModelProto, change, seed: int) -> ModelProto | None:
    """A copy after one mutation; None where there is nothing for it to change."""
    copy = ModelProto()
    copy.CopyFrom(model)
    try:
        change(copy, random.Random(seed))
    except NotHere:
        return None
    return copy


@pytest.mark.parametrize("name", [*MUTATIONS, *NEUTRAL])
def test_every_mutation_finds_something_to_change(name):
    """And it is the same change for the same numbers."""
    change = (MUTATIONS | NEUTRAL)[name]
    results = []
    for number in range(3 * len(SEEDS)):
        subject = list(SEEDS.values())[number % len(SEEDS)]
        before = subject.model.SerializeToString(deterministic=True)
        once, again = (changed(subject.model, change, number) for _ in range(2))
        assert (once is None) == (again is None)
        if once is not None and again is not None:
            after = once.SerializeToString(deterministic=True)
            assert after == again.SerializeToString(deterministic=True)
            results.append(after != before)
    assert any(results)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEUTRAL)
def test_another_writing_answers_as_before(name, tmp_path):
    """What the digest must not notice, onnxruntime does not notice either: else the rewriting itself would be wrong."""
    for number, (label, seed) in enumerate(SEEDS.items()):
        subject = Subject(seed, save(seed.model, tmp_path / f"{label}.onnx"), (tmp_path, tmp_path))
        model = changed(seed.model, NEUTRAL[name], number)
        if model is not None:
            other = subject.watch(save(model, tmp_path / "other.onnx"))
            assert subject.behaviour.runs
            assert subject.behaviour.difference(other) == ""


def test_a_file_is_the_same_for_the_same_number():
    """A case can be looked at again."""
    for seed in SEEDS.values():
        one, other = (mutated(seed.model, random.Random(7)) for _ in range(2))
        assert one[1] == other[1]
        assert one[0].SerializeToString(deterministic=True) == other[0].SerializeToString(deterministic=True)


ANSWER = {"y": ("float32", (1,), np.float32(1).tobytes())}
SEEN = Behaviour("", frozenset("x"), frozenset(), frozenset("y"), (ANSWER, None))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (SEEN, ""),
        (Behaviour(refused="no"), "refuses one: no"),
        (Behaviour("", frozenset("z"), frozenset(), frozenset("y"), (ANSWER, None)), "other inputs"),
        (Behaviour("", frozenset("x"), frozenset("w"), frozenset("y"), (ANSWER, None)), "other replaceable"),
        (Behaviour("", frozenset("x"), frozenset(), frozenset("z"), (ANSWER, None)), "other outputs"),
        (Behaviour("", frozenset("x"), frozenset(), frozenset("y"), (ANSWER, ANSWER)), "error on inputs 1"),
        (Behaviour("", frozenset("x"), frozenset(), frozenset("y"), ({"y": 0}, None)), "values of y on inputs 0"),
    ],
)
def test_what_a_caller_could_tell_is_a_difference(other, expected):
    """By name, in both directions, to the last bit."""
    for told in (SEEN.difference(other), other.difference(SEEN)):
        assert (told == "") == (expected == "")
        assert expected in told


@pytest.mark.parametrize("name", SEEDS)
def test_every_seed_runs_on_all_inputs(name, tmp_path):
    """NaN, infinity and zeros among them; all answers of one network differ, or the inputs would tell nothing."""
    subject = Subject(SEEDS[name], save(SEEDS[name].model, tmp_path / "m.onnx"), (tmp_path, tmp_path))
    answers = subject.behaviour.answers
    assert None not in answers
    assert len({str(answer) for answer in answers}) >= 3
