"""A campaign on files: an own network without torch, a reference network from its file, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxnnw.campaign import evaluate
from onnxnnw.campaign.campaign_file import load_campaign
from onnxnnw.campaign.plan import planned
from onnxnnw.campaign.steps.evaluated_network import identity_of
from onnxnnw.campaign.steps.examining import _number
from onnxnnw.errors import MissingData, UsageError
from tests.support.networks import dense, save

OWN = """
format = "onnxnnw/campaign/1"
seed = 5
[[networks]]
file = "net.onnx"
samples = "samples.npz"
metric = ["top1", "mse"]
[modifications]
gaussian-noise = { ratio = [0.1] }
quantization = { bits = [8, 2] }
watermark-overwriting = { marks = [1], positions = [128] }
[[marks]]
title = "NCT"
method = "nct"
payloads = 2
parameters = { positions = [256], strength = [2.0] }
published = { positions = "N" }
modifications = ["gaussian-noise", "quantization", "watermark-overwriting"]
wrong_keys = 3
[[fingerprints]]
title = "Fingerprints"
modifications = ["quantization"]
"""
SHIPPED = """
format = "onnxnnw/campaign/1"
generated = { training = 40, testing = 20 }
[[networks]]
name = "resnet8"
file = "shipped"
[modifications]
fine-tuning = { epochs = [1], rate = [0, 0.001] }
[[marks]]
title = "RTW"
method = "rtw"
epochs = 1
parameters = { weight = [0.01] }
modifications = ["fine-tuning"]
"""
ROOT = Path(__file__).parents[2]
_WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "onnxscript"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from onnxnnw.cli import main
sys.argv[0] = "onnxnnw"
main()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network, samples without targets, and a campaign beside them."""
    save(dense(2, 48), tmp_path / "net.onnx")
    np.savez(tmp_path / "samples.npz", inputs=np.random.default_rng(0).normal(size=(50, 48)).astype(np.float32))
    (tmp_path / "own.toml").write_text(OWN)
    return tmp_path


@pytest.mark.slow
def test_an_own_network_is_evaluated_and_reported_without_torch(folder):
    """NCT, fingerprints, graph modifications and quality, in a process that has no torch."""
    commands = [["evaluate", "own.toml", "-o", "out", "--cache", "cache"], ["report", "out", "-o", "page.html"]]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_TORCH, *command],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert (done.returncode, done.stderr.count("failed")) == (0, 0), done.stderr
    lines = [json.loads(line) for line in (folder / "out" / "trials.jsonl").read_text().splitlines()]
    marked = [t for t in lines if t["study"] == "detection" and t["truth"] and t["modification"] is None]
    assert {t["verdict"]["decision"] for t in marked} <= {"traced", "identical"}
    assert all(set(t["quality"]) == {"top1", "mse"} and t["samples"] == 50 for t in marked)
    assert {t["network"] for t in lines} == {"net"}
    unmarked = [t for t in lines if t["study"] == "detection" and not t["truth"] and t["modification"] is None]
    assert {(t["quality"]["top1"], t["quality"]["mse"]) for t in unmarked} == {(100.0, 0.0)}
    settings = [
        t["modification"].get("settings")
        for t in marked + lines
        if (t.get("modification") or {}).get("name") == "watermark-overwriting"
    ]
    assert settings[0] == {"positions": 128}
    assert "net" in (folder / "page.html").read_text()


def test_a_moved_file_is_the_same_network(folder, tmp_path_factory):
    """Addresses follow from contents, not from places."""
    other = tmp_path_factory.mktemp("elsewhere")
    for name in ("net.onnx", "samples.npz", "own.toml"):
        (other / name).write_bytes((folder / name).read_bytes())
    before, after = (planned(load_campaign(place / "own.toml")) for place in (folder, other))
    assert [trial.address for trial in before.trials] == [trial.address for trial in after.trials]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('metric = ["top1", "mse"]', 'metric = ["goodness"]', "goodness"),
        ('file = "net.onnx"', 'file = "none.onnx"', "none.onnx"),
        ('samples = "samples.npz"', "", "all three"),
        ('method = "nct"', 'method = "rtw"', "not trained"),
        ("gaussian-noise = { ratio = [0.1] }", "fine-tuning = { epochs = [1] }", "gaussian-noise"),
        ('file = "net.onnx"', 'file = ["net.onnx", "net.onnx"]', "one file"),
        ('file = "net.onnx"', 'file = "net.onnx"\nname = "vgg16"', "network of the standard"),
        ("seed = 5", "seed = 5\nunicity = { networks = 50, keys = 1, positions = 64 }", "which has 1 file"),
        ("quantization = { bits = [8, 2] }", "quantization = { bits = [8] }\nnosuch = { a = [1] }", "nosuch"),
    ],
)
def test_what_cannot_be_done_with_a_file_is_refused_by_name(folder, old, new, said):
    (folder / "own.toml").write_text(OWN.replace(old, new))
    with pytest.raises(Exception, match=said):
        planned(load_campaign(folder / "own.toml"))


def test_a_finished_network_has_no_epoch_0(folder):
    shares = "seed = 5\nsharing = { positions = 64, shares = [0.0], at_epoch_0 = true }"
    assert "seed = 5" in OWN
    (folder / "own.toml").write_text(OWN.replace("seed = 5", shares))
    with pytest.raises(UsageError, match="no epoch 0"):
        planned(load_campaign(folder / "own.toml"))


def test_what_trains_is_refused_for_a_file(folder):
    text = OWN.replace("gaussian-noise = { ratio = [0.1] }", "fine-tuning = { epochs = [1] }")
    (folder / "own.toml").write_text(text.replace('"gaussian-noise"', '"fine-tuning"'))
    with pytest.raises(UsageError, match="trains"):
        planned(load_campaign(folder / "own.toml"))


def test_a_shipped_network_is_trained_on_and_fine_tuned_at_two_rates(tmp_path):
    """Nothing trains it first; an unusual rate is a setting that trials name, the usual one is not."""
    (tmp_path / "c.toml").write_text(SHIPPED)
    plan = planned(load_campaign(tmp_path / "c.toml"))
    kinds = [step.kind for step in plan.steps]
    assert kinds.count("take a network") == 1
    tuned = [t.fields["modification"] for t in plan.trials if t.study == "detection" and t.fields["modification"]]
    assert [m.get("settings") for m in tuned if m["value"] == 1] == [None, {"rate": 0.001}] * 2


def test_results_from_other_samples_are_not_overwritten(folder):
    """The campaign's file is the same, and its contents are others."""
    campaign = OWN.partition("[modifications]")[0] + '[[fingerprints]]\ntitle = "F"\npositions = 64\n'
    (folder / "own.toml").write_text(campaign)
    evaluate(load_campaign(folder / "own.toml"), folder / "out", folder / "cache")
    before = (folder / "out" / "results.json").read_bytes()
    np.savez(folder / "samples.npz", inputs=np.random.default_rng(1).normal(size=(50, 48)).astype(np.float32))
    with pytest.raises(UsageError, match="other contents"):
        evaluate(load_campaign(folder / "own.toml"), folder / "out", folder / "cache")
    assert (folder / "out" / "results.json").read_bytes() == before


def test_small_numbers_keep_their_digits():
    """An error of 1e-8 is none of 0."""
    assert _number(8.351234567891e-8) == 8.35123457e-8
    assert _number(float("nan")) is None


def test_data_behind_links_has_an_identity(tmp_path):
    """A folder of links to folders holds what they hold; one of nothing has none."""
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "train").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path / "links")  # in a circle
    with pytest.raises(MissingData, match="no files"):
        identity_of(tmp_path / "links")
    found = set()
    for content in ("a", "b"):
        (tmp_path / "real" / "image").write_text(content)
        found.add(identity_of(tmp_path / "links"))
    assert len(found) == 2
