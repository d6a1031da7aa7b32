"""What a campaign's trainings compute in: settled when it is planned, in every address that it decides, and in the results."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from onnxnnw.campaign import evaluate, load_campaign, plan, results
from onnxnnw.campaign.plan import planned
from onnxnnw.campaign.results import RunSummary, continued, refuse_foreign, write_results
from onnxnnw.campaign.step import Place
from onnxnnw.campaign.steps.examining import AppliedModification
from onnxnnw.campaign.steps.subjects import Subjects
from onnxnnw.cli import main
from onnxnnw.errors import UsageError
from onnxnnw.recipes import Precision
from tests.campaign.conftest import TINY, trials_of
from tests.support.toy_campaigns import plan_of

pytestmark = pytest.mark.xdist_group("campaigns")  # one worker makes the tiny campaign for all of them

BEFORE_CAMPAIGN = load_campaign(Path(__file__).with_name("smoke_of_before.toml"))
"""The preset ``smoke`` as it was when these addresses were written down."""

BEFORE = {
    "train": "e813b28f8fde484c061d8cab5430f66c7cf7615f37320300b08ffed6bea1620e",
    "insert": "8711b6d5515c95b4e6d5056803b7070d1b50ced0085f4ee78513e91c00632a30",
    "fingerprint": "ab5e39e4380840b955d135d0e9ecaa688f1430b1c0c06419a7df2f55f9d419e0",
    "verify": "a55a2845e4801bb445c89def84c3895c2a6e9c2065c87de0b5ac783ac7fe53b2",
}
"""Addresses of the preset ``smoke`` of then when all trainings computed in bfloat16: of the last step of each of these kinds."""


def other_than(precision):
    """The other one."""
    (other,) = (one for one in Precision if one != precision)
    return other


def said_in(folder):
    """The precision that results name."""
    return json.loads((folder / "results.json").read_text())["environment"]["precision"]


def command(*arguments) -> int:
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    return int(ended.value.code)


@pytest.mark.parametrize("usual", Precision)
def test_the_processor_decides_where_the_campaign_does_not(tmp_path, monkeypatch, usual):
    """For all trainings, when it is planned: workers on other machines train in it too."""
    monkeypatch.setattr(plan, "usual_precision", lambda: usual)
    path = tmp_path / "campaign.toml"
    path.write_text(TINY)
    assert planned(load_campaign(path)).precision is usual
    for precision in Precision:
        path.write_text(TINY.replace("seed = 3", f'seed = 3\nprecision = "{precision}"', 1))
        found = planned(load_campaign(path))
        assert found.precision is precision
        assert {step.setup.precision for step in found.steps if hasattr(step, "setup")} == {precision}
    path.write_text(TINY.replace("seed = 3", 'seed = 3\nprecision = "half"', 1))
    with pytest.raises(UsageError, match="no precision named 'half'; there are bfloat16, float32"):
        load_campaign(path)


def test_precision_stands_in_the_addresses_of_all_that_follows_from_a_training():
    """Its twin in the other precision is another network; templates and generated images have none."""
    steps = [{s.address: s for s in planned(replace(BEFORE_CAMPAIGN, precision=p.value)).steps} for p in Precision]
    assert len(steps[0]) == len(steps[1])
    shared = steps[0].keys() & steps[1].keys()
    assert {steps[0][address].kind for address in shared} == {"export", "generate images"}
    assert not [s for s in steps[0].values() if s.kind in ("export", "generate images") and s.address not in shared]


def test_what_was_done_in_bfloat16_before_is_still_found():
    """Once all trainings were, and no address said so: these are the addresses of then, and trials have the names of then."""
    found = planned(replace(BEFORE_CAMPAIGN, precision="bfloat16"), "data")
    last = {step.kind: step.address for step in found.steps}
    assert {kind: last[kind] for kind in BEFORE} == BEFORE


def test_training_modifications_get_the_campaigns_precision(tmp_path):
    """They decide the networks that are measured and verified as much as the trainings that are steps."""
    campaign = BEFORE_CAMPAIGN
    place = Place(tmp_path, tmp_path, None)
    for precision in Precision:
        setup = Subjects(campaign, "", precision).setup_of(campaign.networks[0])
        assert (
            AppliedModification("distillation", (("epochs", 1),), 0).modification(setup, place).precision == precision
        )
        assert AppliedModification("gaussian-noise", (("ratio", 0.1),), 0).modification(setup, place).ratio == 0.1


@pytest.mark.slow
def test_results_and_trials_name_it(tiny):
    """Beside hardware and versions."""
    precision = planned(load_campaign(tiny / "campaign.toml")).precision
    assert said_in(tiny / "results") == precision
    found = [trial["environment"] for trial in trials_of(tiny / "results") if trial["environment"]]
    assert found
    assert {environment["precision"] for environment in found} == {precision}


@pytest.mark.slow
def test_a_campaign_goes_on_in_what_its_results_are_in(tiny, tmp_path, monkeypatch):
    """On a processor that would have taken the other one: nothing is done again, and the trials are the same."""
    precision = said_in(tiny / "results")
    folder = shutil.copytree(tiny / "results", tmp_path / "results")
    monkeypatch.setattr(plan, "usual_precision", lambda: other_than(precision))
    ran = evaluate(load_campaign(tiny / "campaign.toml"), folder, tiny / "cache")
    assert (ran.done, ran.precision) == (0, precision)
    assert (folder / "trials.jsonl").read_bytes() == (tiny / "results" / "trials.jsonl").read_bytes()


@pytest.mark.slow
def test_results_in_another_precision_are_not_overwritten(tiny, tmp_path, capsys):
    """Told before any work, with the exit code of wrong usage; the same one is welcome."""
    precision = said_in(tiny / "results")
    folder = shutil.copytree(tiny / "results", tmp_path / "results")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    common = [tiny / "campaign.toml", "-o", folder, "--precision"]
    assert command(*common, other_than(precision), "--cache", tmp_path / "cache") == 2
    said = capsys.readouterr().err
    assert f"holds the results of this campaign in {precision}, not in {other_than(precision)}; name another" in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "cache").exists()
    assert command(*common, precision, "--cache", tiny / "cache") == 0
    assert f"trained in  {precision}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_estimate_is_of_what_is_asked_for(tiny, capsys):
    """--dry-run says it, and finds only steps in it done."""
    precision = said_in(tiny / "results")
    for asked in Precision:
        assert (
            command(tiny / "campaign.toml", "--cache", tiny / "cache", "--dry-run", "--json", "--precision", asked) == 0
        )
        found = json.loads(capsys.readouterr().out)
        assert found["precision"] == asked
        assert (found["done"] == found["steps"]) == (asked == precision)
    assert command("--preset", "smoke", "--dry-run", "--precision", "half") == 2


def test_results_that_do_not_say_are_in_bfloat16(tmp_path):
    """All were once; of campaigns made in Python too, whose fields had no precision then."""
    made = plan_of()
    write_results(made, {}, RunSummary(0, 0, 0, 0.0, 0.0), tmp_path)
    content = json.loads((tmp_path / results.RESULTS).read_text())
    assert "precision" not in content["campaign"]
    del content["environment"]["precision"]
    (tmp_path / results.RESULTS).write_text(json.dumps(content))
    refuse_foreign(tmp_path, made.campaign)
    assert continued(tmp_path, made.campaign).precision == "bfloat16"
    with pytest.raises(UsageError, match="in bfloat16, not in float32"):
        continued(tmp_path, replace(made.campaign, precision="float32"))
    for nonsense in ("half", 7, [], {}):
        content["environment"]["precision"] = nonsense
        (tmp_path / results.RESULTS).write_text(json.dumps(content))
        with pytest.raises(UsageError, match="of no known campaign"):
            continued(tmp_path, made.campaign)
