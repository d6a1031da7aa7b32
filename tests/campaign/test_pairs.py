"""Time and memory from interleaved pairs: planned where a campaign asks for them, and nothing shown where it does not."""

import json

import pytest

from onnxnnw.campaign import evaluate, load_campaign
from onnxnnw.campaign.plan import planned
from onnxnnw.campaign.steps.pairs import PAIRED, PairsStep
from onnxnnw.errors import UsageError
from tests.campaign.conftest import TINY

PAIRS = TINY.replace("costs = { repeats = 1 }", "costs = { repeats = 1, pairs = 2, batches = 2 }")


def campaign(tmp_path, text: str):
    path = tmp_path / "campaign.toml"
    path.write_text(text)
    return load_campaign(path)


def test_pairs_are_timed_of_marks_that_live_in_training(tmp_path):
    """NCT is written at one moment and has no time per batch of its own."""
    plan = planned(campaign(tmp_path, PAIRS))
    timed = {
        trial.fields["mark"]["method"]: [found.name for found in trial.costs]
        for trial in plan.trials
        if trial.study == "injection"
    }
    assert timed == {"nct": [], "rtw": list(PAIRED)}
    assert sum(isinstance(step, PairsStep) for step in plan.steps) == 1


def test_without_pairs_no_time_is_told(tmp_path):
    """What steps took that ran beside other work compares with nothing."""
    plan = planned(campaign(tmp_path, TINY))
    assert not any(trial.costs for trial in plan.trials if trial.study == "injection")


@pytest.mark.parametrize("costs", ["{ pairs = -1 }", "{ pairs = 2, batches = 0 }", "{ pairs = 5000 }"])
def test_impossible_pairs_are_refused(tmp_path, costs):
    with pytest.raises(UsageError, match="pairs"):
        campaign(tmp_path, TINY.replace("costs = { repeats = 1 }", f"costs = {costs}"))


@pytest.mark.slow
def test_pairs_have_time_and_memory_of_both_sides(tmp_path):
    """Each training in a process of its own; the increase lies between the smallest and the largest pair."""
    text = (
        PAIRS[: PAIRS.index("[[fingerprints]]")]
        .replace("sharing = ", "# sharing = ")
        .replace("scaling = ", "# scaling = ")
    )
    text = text.replace("unicity = ", "# unicity = ")
    start, end = text.index('[[marks]]\ntitle = "NCT"'), text.index('[[marks]]\ntitle = "RTW"')
    evaluate(campaign(tmp_path, text[:start] + text[end:]), tmp_path / "results", tmp_path / "cache")
    lines = [json.loads(line) for line in (tmp_path / "results" / "trials.jsonl").read_text().splitlines()]
    (cost,) = [line["cost"] for line in lines if line["study"] == "injection"]
    assert cost["pairs"] == 2
    assert cost["increase_low"] <= cost["increase_percent"] <= cost["increase_high"]
    assert min(cost["seconds_per_batch"], cost["unmarked_seconds_per_batch"]) > 0
