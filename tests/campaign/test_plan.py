"""What a campaign plans: shared beginnings, NNW-NNT's numbers of networks, and errors before hours of training."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from onnxnnw.campaign.campaign_file import load_campaign, preset, preset_names
from onnxnnw.campaign.plan import planned
from onnxnnw.campaign.settings import Campaign
from onnxnnw.campaign.steps.evaluated_network import identity_of
from onnxnnw.campaign.steps.examining import MeasureStep
from onnxnnw.campaign.steps.trajectories import TrainStep
from onnxnnw.campaign.trial import Plan
from onnxnnw.errors import UnknownName, UsageError
from onnxnnw.report.settings import Setting
from onnxnnw.standard import grids
from tests.campaign.conftest import TINY


def campaign(tmp_path, text: str) -> Campaign:
    path = tmp_path / "campaign.toml"
    path.write_text(text)
    return load_campaign(path)


@cache
def plan_of_preset(name: str) -> Plan:
    return planned(preset(name), "data")


def test_inputs_come_before_what_is_made_from_them(tmp_path):
    """In the order of the steps, and each step once."""
    steps = planned(campaign(tmp_path, TINY)).steps
    place = {step.address: number for number, step in enumerate(steps)}
    assert len(place) == len(steps)
    for step in steps:
        assert all(place[one.address] < place[step.address] for one in step.inputs)


def test_trajectories_that_share_a_beginning_share_it(tmp_path):
    """The unmarked training is cut where marks are written, and every marked one goes on from there."""
    plan = planned(campaign(tmp_path, TINY))
    marked = [step for step in plan.steps if isinstance(step, TrainStep) and step.written is not None]
    unmarked = [
        step
        for step in plan.steps
        if isinstance(step, TrainStep) and not step.written and not step.schedule.resumed and step.seed == 3000
    ]
    assert sorted((step.written.epoch, step.until) for step in marked) == [(0, 2), (0, 2), (1, 2), (1, 2)]
    assert sorted(step.until for step in unmarked) == [1, 2]
    (first,) = [step for step in unmarked if step.until == 1]
    assert all(step.after is None if step.written.epoch == 0 else step.after == first for step in marked)


def test_another_strength_redoes_only_what_depends_on_it(tmp_path):
    """Networks, records and all other grid points keep their addresses."""
    before = {step.address: step for step in planned(campaign(tmp_path, TINY)).steps}
    after = {
        step.address: step for step in planned(campaign(tmp_path, TINY.replace("ratio = [0.1]", "ratio = [0.2]"))).steps
    }
    assert {step.kind for address, step in after.items() if address not in before} == {"measure", "verify"}
    assert len(after) == len(before)


def test_a_further_block_changes_nothing_of_the_others(tmp_path):
    """Their trials are the same, in the same order."""
    more = TINY + '\n[[marks]]\ntitle = "TBW"\nmethod = "tbw"\nepochs = 1\nparameters = { per_batch = [5] }\n'
    before = [trial.address for trial in planned(campaign(tmp_path, TINY)).trials]
    after = [trial.address for trial in planned(campaign(tmp_path, more)).trials]
    assert [address for address in after if address in set(before)] == before
    assert len(after) > len(before)


def test_there_are_as_many_networks_as_the_protocol_wants(tmp_path):
    """M(D + 1) networks at every grid point of every mark: D marked ones, and the unmarked one asked with D records."""
    trials = [trial for trial in planned(campaign(tmp_path, TINY)).trials if trial.study == "detection"]
    own = [
        trial.fields
        for trial in trials
        if trial.fields["mark"]["method"] == "nct" and trial.fields["mark"]["kind"] == "watermark"
    ]
    points = Counter((str(f["mark"]["published"]), str(f["modification"]), f["truth"]) for f in own)
    assert set(points.values()) == {2}
    assert len(points) == 3 * 3 * 2


AGAIN = """
[[marks]]
title = "NCT again"
method = "nct"
alpha = [2]
parameters = { positions = [256], strength = [2.0] }
published = { positions = "N" }
modifications = ["gaussian-noise"]
payloads = 3
wrong_keys = 1
testing = 20
"""


def test_blocks_that_ask_the_same_of_the_same_network_count_it_once(tmp_path):
    """With other keys beside it and other test samples; the one with more samples is kept."""
    trials = planned(campaign(tmp_path, TINY + AGAIN)).trials
    asked = Counter(str((trial.study, trial.fields)) for trial in trials)
    assert set(asked.values()) == {1}
    shared = [
        trial
        for trial in trials
        if trial.study == "detection"
        and trial.fields["mark"]["published"] == {"N": 256, "alpha": 2}
        and trial.fields["truth"]
        and trial.fields["modification"] is None
    ]
    testing = {trial.fields["payload"]: {f.name: f.step for f in trial.results}["quality"].testing for trial in shared}
    assert testing == {0: 0, 1: 0, 2: 20}


def test_added_marks_are_none_of_the_standards(tmp_path):
    """They are written as added, in training and at its end, and no printed cell takes their figures."""
    added = """
[[marks]]
title = "NCT, added"
method = "nct"
alpha = [0, 2]
parameters = { positions = [256], strength = [0.4], insertion = ["added"] }
published = { positions = "N" }
wrong_keys = 1
"""
    plan = planned(campaign(tmp_path, TINY + added))
    marks = [trial.fields["mark"] for trial in plan.trials if trial.study == "detection"]
    assert {mark["published"].get("added") for mark in marks if mark["method"] == "nct"} == {None, 0.4}
    written = [step.written for step in plan.steps if getattr(step, "written", None) is not None]
    assert {(mark.epoch, mark.insertion) for mark in written if mark.strength == 0.4} == {(0, "added")}
    finished = [step for step in plan.steps if step.kind == "embed"]
    assert [step.insertion for step in finished if step.strength == 0.4] == ["added"]
    setting = Setting("resnet8", "reference", "nct", "watermark", (("alpha", 0), ("N", 512), ("added", 0.4)), "", ())
    assert not setting.agrees("resnet8", "nct", {"alpha": 0, "N": 512})
    assert replace(setting, published=setting.published[:2]).agrees("resnet8", "nct", {"alpha": 0, "N": 512})
    with pytest.raises(UnknownName, match="insertion"):
        planned(campaign(tmp_path, TINY + added.replace('["added"]', '["mixed"]')))


def test_blocks_that_insert_in_another_way_are_told_apart(tmp_path):
    """What the tables print is the same, the networks are not; each block has rows of its own."""
    other = """
[[marks]]
title = "RTW, longer"
method = "rtw"
epochs = 3
parameters = { weight = [0.5], bits = [24] }
published = { weight = "lambda" }
"""
    for text, blocks in ((TINY, {None}), (TINY + other, {"RTW", "RTW, longer"})):
        trials = planned(campaign(tmp_path, text)).trials
        marks = [trial.fields["mark"] for trial in trials if trial.study == "detection"]
        assert {mark.get("block") for mark in marks if mark["method"] == "rtw"} == blocks
        assert {mark.get("block") for mark in marks if mark["method"] == "nct"} == {None}


def test_fine_tuning_goes_on_from_fewer_epochs_to_more(tmp_path):
    """In whatever order the file has them."""

    def tuned(text: str) -> set[str]:
        return {trial.address for trial in planned(campaign(tmp_path, text)).trials}

    assert tuned(TINY.replace("epochs = [1, 2] }", "epochs = [2, 1] }")) == tuned(TINY)


def test_marks_that_overwrite_are_of_the_marks_own_size(tmp_path):
    """N, strength and insertion are the mark's, unless the campaign says which [NNW-TEC 7.2.6]."""
    text = TINY.replace("[modifications]", "[modifications]\nwatermark-overwriting = { marks = [1, 4] }")
    text = text.replace('"gaussian-noise", "fine-tuning"]\nvalues', '"watermark-overwriting", "fine-tuning"]\nvalues')
    for asked, wanted in ((text, 2.0), (text.replace("marks = [1, 4]", "marks = [1], strength = [0.5]"), 0.5)):
        changes = {
            step.change.parameters
            for step in planned(campaign(tmp_path, asked)).steps
            if isinstance(step, MeasureStep) and step.change and step.change.name == "watermark-overwriting"
        }
        assert changes
        for change in changes:
            assert dict(change)["positions"] == 256
            assert dict(change)["strength"] == wanted
    added = text.replace("strength = [2.0] }", 'strength = [0.4], insertion = ["added"] }', 1)
    found = [
        dict(step.change.parameters)
        for step in planned(campaign(tmp_path, added)).steps
        if isinstance(step, MeasureStep) and step.change and step.change.name == "watermark-overwriting"
    ]
    assert {(change["strength"], change["insertion"]) for change in found} == {(0.4, "added")}


def test_data_is_known_by_its_content(tmp_path):
    """Other bytes in files of the same name and size are other data."""
    found = []
    for name, content in (("a", b"12"), ("b", b"21"), ("c", b"12")):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "batch").write_bytes(content)
        found.append(identity_of(tmp_path / name))
    assert found[0] == found[2] != found[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_presets_are_sound(name):
    """Each is read and planned, every parameter checked."""
    chosen = preset(name)
    assert chosen.name == name
    assert plan_of_preset(name).trials


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "nnw-tec"])
def test_presets_have_the_whole_grid(name):
    """Every alpha, N, lambda, rho, S, E, B and P of the standard is in them, for ResNet8 at least."""
    trials = [
        trial.fields for trial in plan_of_preset(name).trials if trial.study == "detection" and trial.fields["truth"]
    ]
    own = [t for t in trials if t["network"] == "resnet8" and t["mark"]["kind"] == "watermark"]
    found = {tuple(sorted(t["mark"]["published"].items())) for t in own if t["modification"] is None}
    assert {(("N", n), ("alpha", alpha)) for n in grids.N for alpha in grids.ALPHA} <= found
    assert {(("lambda", weight),) for weight in grids.LAMBDA} | {(("rho", rho),) for rho in grids.RHO} <= found
    strengths = {
        "gaussian-noise": grids.S,
        "fine-tuning": grids.E,
        "quantization": grids.B,
        "magnitude-pruning": grids.P,
    }
    for published in [{"alpha": alpha, "N": 512} for alpha in grids.ALPHA] + [{"lambda": 0.01}, {"rho": 10}]:
        for modification, values in strengths.items():
            there = {
                t["modification"]["value"]
                for t in own
                if t["mark"]["published"] == published and (t["modification"] or {}).get("name") == modification
            }
            assert there == set(values), (published, modification)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("onnxnnw/campaign/1", "onnxnnw/campaign/9", "begins with format"),
        ("epochs = 2", "epochs = 0", "epochs are at least 1"),
        ("epochs = 2", 'epochs = "two"', "networks 1: epochs is an int"),
        ('size = "small"', 'size = "tiny"', "size of resnet8"),
        ('name = "resnet8"', 'name = "resnet9"', "resnet9"),
        ('method = "rtw"', 'method = "rwt"', "no method named 'rwt'"),
        ("weight = [0.5]", "wait = [0.5]", "parameter"),
        ("weight = [0.5]", "weight = [-0.5]", "lambda"),
        ("ratio = [0.1]", "ratio = [-0.1]", "ratio"),
        ("ratio = [0.1]", "rate = [0.1]", "rate"),
        ("ratio = [0.1]", "ratio = [nan]", "gaussian-noise is a table of parameters with lists of values, not"),
        ('modifications = ["gaussian-noise", "fine-tuning"]\nvalues', 'modifications = ["noise"]\nvalues', "'noise'"),
        ("wrong_keys = 3", "wrong_keys = -1", "at least 0"),
        ("wrong_keys = 3", "wrung_keys = 3", "wrung_keys"),
        ("alpha = [0, 1, 2]", "", "has alpha"),
        ("[[fingerprints]]", "[fingerprints]", "list of tables"),
        ("seed = 3", "seed = ", "is not TOML"),
        ("seed = 3", "seed = true", "seed is an int"),
        ("seed = 3", f'name = "{"n" * 201}"', "at most 200"),
        ("shares = [0.0, 1.0]", "shares = [-0.1]", "between 0 and 1"),
        ("shares = [0.0, 1.0]", 'shares = [0.0], at_epoch_0 = "yes"', "at_epoch_0"),
        ("positions = [64, 128], repeats = 1", "positions = [64, 128], repeats = 0", "repeats and positions"),
        ("published_epochs = 2", 'published_epochs = 2\nschedule = "onecycle"', "no schedule named 'onecycle'"),
        ("published_epochs = 2", "published_epochs = 2\nrate = -0.1", "a rate is above 0"),
        ("ratio = [0.1]", 'ratio = ["much"]', "modification gaussian-noise: ratio is a float, not 'much'"),
        ("alpha = [0, 1, 2]", "alpha = [0, 1, 2]\nepochs = 7", "no epochs of its own"),
        ("alpha = [0, 1, 2]", "alpha = [0, 1, 2]\nrate = 0.5", "a rate is that of the epochs"),
        (
            'modifications = ["gaussian-noise", "fine-tuning"]\nvalues',
            'modifications = ["gaussian-noise"]\nvalues',
            "not among",
        ),
        (
            'weight = [0.5], bits = [24] }\npublished = { weight = "lambda" }',
            'form = ["mean-log2"] }\npublished = { form = "lambda" }',
            "numbers only",
        ),
    ],
)
def test_impossible_campaigns_are_refused_before_anything_is_trained(tmp_path, old, new, said):
    """The message names the entry."""
    assert old in TINY
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        planned(campaign(tmp_path, TINY.replace(old, new, 1)))
