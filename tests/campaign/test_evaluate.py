"""A whole campaign of seconds: its trials, and the command line."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from onnxnnw.campaign import evaluate, load_campaign
from onnxnnw.campaign.cache import Cache
from onnxnnw.campaign.estimate import estimate
from onnxnnw.campaign.plan import planned
from onnxnnw.campaign.results import RunSummary, refuse_foreign, write_results
from onnxnnw.campaign.step import key_of
from onnxnnw.campaign.workers import on_this_machine
from onnxnnw.cli import main
from onnxnnw.errors import MissingData, UsageError
from onnxnnw.report.results import read_results
from tests.campaign.conftest import EARLY, TINY, trials_of, without_costs
from tests.support.toy_campaigns import plan_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("campaigns"),
]  # one worker makes the tiny campaign for all of them


def command(*arguments) -> int:
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    return int(ended.value.code)


def test_every_study_has_its_trials(tiny):
    """As many as the plan has, each with its own name, seeds, versions and hardware."""
    trials = trials_of(tiny / "results")
    plan = planned(load_campaign(tiny / "campaign.toml"))
    assert [t["trial"] for t in trials] == [t.address[:16] for t in plan.trials]
    studies = Counter(t["study"] for t in trials)
    assert set(studies) == {
        "detection",
        "wrong key",
        "injection",
        "retrieval",
        "unicity",
        "search",
        "sharing",
        "scaling",
    }
    assert len({t["trial"] for t in trials}) == len(trials)
    for trial in trials:
        assert trial["format"] == "onnxnnw/trial/1"
        assert "training" in trial["seeds"]
    assert {"hardware", "python", "numpy", "torch", "onnx"} <= set(trials[0]["environment"])


def test_marks_are_found_and_nothing_else_is(tiny):
    """The strict verdict on every unmodified marked network, unmarked network and wrong key."""
    for trial in trials_of(tiny / "results"):
        if trial["study"] == "detection" and trial["truth"] and trial["modification"] is None:
            assert trial["verdict"]["decision"] == "traced" or trial["mark"]["method"] == "rtw", trial
        if trial["study"] == "wrong key" or (trial["study"] == "detection" and not trial["truth"]):
            assert trial["verdict"]["decision"] != "traced", trial


def test_each_trial_has_what_it_is_compared_with(tiny):
    """Impact needs the unmarked network's quality, the error that before the modification; they are those trials' own."""
    trials = [t for t in trials_of(tiny / "results") if t["study"] == "detection" and t["mark"]["method"] == "nct"]
    marks = [t for t in trials if t["mark"]["kind"] == "watermark"]
    for trial in marks:
        same = [
            t
            for t in marks
            if t["mark"] == trial["mark"] and t["payload"] == trial["payload"] and t["modification"] is None
        ]
        (unmarked,) = [t for t in same if not t["truth"]]
        (own,) = [t for t in same if t["truth"] == trial["truth"]]
        assert trial["unmodified"] == (own["quality"] if trial["modification"] else None)
        assert trial["unmarked"] == (unmarked["quality"] if trial["truth"] or trial["modification"] else None)


def test_a_fully_shared_mark_is_gone_and_the_last_one_stays(tiny):
    """Figure 4: whose positions all carry another mark no longer correlates; without sharing, all do.

    Where nothing is shared on purpose, 3 of the first mark's 128 positions are still hit by the other four on average, as the
    weights of this processor's training have it.
    """
    rows = {
        (t["share"], t["mark"]["number"]): t["verdict"]["values"]["spearman"]
        for t in trials_of(tiny / "results")
        if t["study"] == "sharing"
    }
    assert all(rows[0.0, number] > 0.85 for number in range(1, 6))
    assert rows[0.0, 5] > 0.95
    assert rows[1.0, 5] > 0.95
    assert all(abs(rows[1.0, number]) < 0.3 for number in range(1, 5))


def test_marks_of_epoch_0_are_still_there_after_the_training(tmp_path):
    """Figure 4 as the standard has it: five marks at epoch 0, then the training [NNW-TEC 7.2.6]."""
    (tmp_path / "five.toml").write_text(EARLY)
    evaluate(load_campaign(tmp_path / "five.toml"), tmp_path / "results", tmp_path / "cache")
    trials = trials_of(tmp_path / "results")
    rows = {(t["share"], t["mark"]["number"]): t["verdict"]["values"]["spearman"] for t in trials}
    assert all(0.85 < rows[0.0, number] < 1 for number in range(1, 6))
    assert 0.9 < rows[1.0, 5] < 1
    assert all(abs(rows[1.0, number]) < 0.3 for number in range(1, 5))
    assert {t["mark"]["alpha"] for t in trials} == {0}


def test_fingerprints_are_unique_and_found_again(tiny):
    """All pairs of networks and keys, and the search among all records."""
    trials = trials_of(tiny / "results")
    for trial in trials:
        if trial["study"] == "unicity":
            assert (trial["verdict"]["decision"] == "traced") == trial["truth"]
        if trial["study"] == "search":
            assert trial["right"]


def test_no_secret_is_in_the_results(tiny):
    """Neither the keys nor their labels' hashes."""
    content = (tiny / "results" / "trials.jsonl").read_text() + (tiny / "results" / "results.json").read_text()
    for label in ("3/resnet8/0/0/nct", "3/resnet8/0/1/nct", "3/resnet8/0/0/rtw", "3/resnet8/0/0/fingerprint"):
        assert key_of(label).secret.hex() not in content


def test_a_finished_campaign_is_found_done(tiny, tmp_path):
    """Nothing is done again, and the trials have the same bytes, costs included."""
    ran = evaluate(load_campaign(tiny / "campaign.toml"), tmp_path / "again", tiny / "cache")
    assert ran.done == 0
    assert (tmp_path / "again" / "trials.jsonl").read_bytes() == (tiny / "results" / "trials.jsonl").read_bytes()


@pytest.mark.slow
def test_several_processes_give_the_same_trials(tiny, tmp_path):
    """From nothing, two steps at once."""
    ran = evaluate(load_campaign(tiny / "campaign.toml"), tmp_path / "r", tmp_path / "c", workers=on_this_machine(2))
    assert ran.failed == ()
    assert without_costs(tmp_path / "r") == without_costs(tiny / "results")


def test_the_estimate_counts_what_is_left(tiny, tmp_path):
    """All of it at first, none of it in the end, and only measured rates once there are some."""
    plan = planned(load_campaign(tiny / "campaign.toml"))
    before, after = estimate(plan, Cache(tmp_path / "empty")), estimate(plan, Cache(tiny / "cache"))
    assert (before.done, before.steps) == (0, len(plan.steps))
    assert before.seconds > 1
    assert before.measured == 0
    assert (after.done, after.seconds, after.bytes) == (len(plan.steps), 0, 0)


def test_the_command_line(tiny, tmp_path, capsys):
    """Dry run, run, compressed trials, and no other campaign's folder."""
    common = [str(tiny / "campaign.toml"), "--cache", str(tiny / "cache")]
    assert command(*common, "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "onnxnnw/estimate/1"
    assert found["done"] == found["steps"]
    assert command(*common, "-o", tmp_path / "r", "--compress") == 0
    assert "next" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["results.json", "trials.jsonl.gz"]
    shutil.copy(tiny / "campaign.toml", tmp_path / "other.toml")
    other = [str(tmp_path / "other.toml"), "--cache", str(tiny / "cache")]
    assert command(*other, "-o", tmp_path / "r") == 2
    assert "another folder" in capsys.readouterr().err


def test_packed_trials_make_room_for_new_ones(tiny, tmp_path):
    """Packed, then not, then packed again: the folder has one list of trials, which a report reads."""
    common = [str(tiny / "campaign.toml"), "--cache", str(tiny / "cache"), "-o", tmp_path / "r"]
    for options, name in (
        (["--compress"], "trials.jsonl.gz"),
        ([], "trials.jsonl"),
        (["--compress"], "trials.jsonl.gz"),
    ):
        assert command(*common, *options) == 0
        assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["results.json", name]
        assert len(read_results(tmp_path / "r").trials) == len(trials_of(tiny / "results"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("campaign", "seed = 3", "seed = 4"),
        ("campaign", "bits = [24]", "bits = [24, 32]"),
        ("campaign", 'title = "RTW"', 'title = "RTW2"'),
        ("other", "", ""),
    ],
)
def test_results_of_another_campaign_are_never_overwritten(tiny, tmp_path, name, old, new):
    """Another name, or the same name and anything else: refused by the library, before any work, nothing touched."""
    folder = shutil.copytree(tiny / "results", tmp_path / "results")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    path = tmp_path / f"{name}.toml"
    path.write_text(TINY.replace(old, new))
    with pytest.raises(UsageError, match=rf"{re.escape(str(folder))} holds .* another campaign.*; name another folder"):
        evaluate(load_campaign(path), folder, tmp_path / "cache")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "cache").exists()


def test_one_campaign_goes_on_in_its_folder(tiny, tmp_path):
    """From another file that says the same, comments and order apart."""
    folder = shutil.copytree(tiny / "results", tmp_path / "results")
    path = tmp_path / "campaign.toml"
    path.write_text(TINY.replace("seed = 3\n", "").replace("[[networks]]", "# a comment\nseed = 3\n[[networks]]", 1))
    assert evaluate(load_campaign(path), folder, tiny / "cache").done == 0


def test_campaigns_made_in_python_are_told_apart(tmp_path):
    """They were read from no file, so that their fields are what they say."""
    plan = plan_of()
    write_results(plan, {}, RunSummary(0, 0, 0, 0.0, 0.0), tmp_path)
    refuse_foreign(tmp_path, plan.campaign)
    with pytest.raises(UsageError, match="another campaign"):
        refuse_foreign(tmp_path, replace(plan.campaign, seed=1))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"name": "campaign"}', '{"name": "campaign", "campaign": 1}', "\xff"]
)
def test_a_folder_of_something_else_is_refused(tiny, tmp_path, content):
    """Whatever else results.json is."""
    (tmp_path / "results.json").write_text(content, "latin-1")
    with pytest.raises(UsageError, match="name another folder"):
        refuse_foreign(tmp_path, load_campaign(tiny / "campaign.toml"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "one of the two"),
        (["--preset", "smoke"], 2, "-o"),
        (["--preset", "smokey", "--dry-run"], 2, "cpu, gpu, nnw-tec, smoke"),
        (["--preset", "cpu", "-o", "r"], 3, "--data"),
        (["nowhere.toml", "--dry-run"], 2, "cannot be opened"),
        (["--preset", "smoke", "-o", "r", "--cluster", "tcp://127.0.0.1:9"], 3, "no Dask scheduler"),
    ],
)
def test_wrong_use_is_told(tmp_path, monkeypatch, capsys, arguments, code, said):
    """In one sentence, with the right exit code."""
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("place", ["--cache", "--output"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_done(tiny, tmp_path, capsys, place):
    """One sentence, exit code 3."""
    (tmp_path / "file").write_text("in the way")
    folders = {"--cache": tiny / "cache", "--output": tmp_path / "r", place: tmp_path / "file" / "folder"}
    code = command(tiny / "campaign.toml", *(part for pair in folders.items() for part in pair))
    assert code == 3
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert "steps" not in said


def test_data_is_asked_for_before_anything_is_done(tmp_path):
    """A campaign without generated images needs a directory."""
    path = tmp_path / "campaign.toml"
    path.write_text(TINY.replace("generated = { training = 256, testing = 60 }", ""))
    with pytest.raises(MissingData, match="--data"):
        evaluate(load_campaign(path), tmp_path / "r", tmp_path / "c")
