"""A campaign of seconds: half-width ResNet8 on generated images, every study, every kind of mark."""

import json
from pathlib import Path

import pytest

from onnxnnw.campaign import evaluate, load_campaign

TINY = """
format = "onnxnnw/campaign/1"
seed = 3
generated = { training = 256, testing = 60 }
sharing = { positions = 128, shares = [0.0, 1.0] }
scaling = { positions = [64, 128], repeats = 1 }
costs = { repeats = 1 }
unicity = { networks = 2, keys = 2, positions = 256, epochs = 1 }

[[networks]]
name = "resnet8"
size = "small"
epochs = 2
published_epochs = 2

[modifications]
gaussian-noise = { ratio = [0.1] }
fine-tuning = { epochs = [1, 2] }

[[marks]]
title = "NCT"
method = "nct"
alpha = [0, 1, 2]
parameters = { positions = [256], strength = [2.0] }
published = { positions = "N" }
modifications = ["gaussian-noise", "fine-tuning"]
values = { fine-tuning = [1] }
payloads = 2
wrong_keys = 3

[[marks]]
title = "RTW"
method = "rtw"
epochs = 2
parameters = { weight = [0.5], bits = [24] }
published = { weight = "lambda" }
wrong_keys = 2

[[fingerprints]]
title = "Fingerprints"
modifications = ["gaussian-noise", "fine-tuning"]
"""

EARLY = """
format = "onnxnnw/campaign/1"
seed = 3
generated = { training = 256, testing = 60 }
sharing = { positions = 128, strength = 2.0, shares = [0.0, 1.0], at_epoch_0 = true }
[[networks]]
name = "resnet8"
size = "small"
epochs = 1
"""


def trials_of(folder: Path) -> list[dict]:
    """The lines of a results folder."""
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def without_costs(folder: Path) -> str:
    """The trials without what differs from run to run."""
    return json.dumps([{k: v for k, v in trial.items() if k != "cost"} for trial in trials_of(folder)])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder with ``campaign.toml``, ``cache`` and ``results``."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "campaign.toml").write_text(TINY)
    evaluate(load_campaign(folder / "campaign.toml"), folder / "results", folder / "cache")
    return folder
