"""The example of a pipeline, from nothing to its evidence; and broken in five ways, each with its own code and sentence."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxnnw.gate.checking import PolicyAnswer, check
from onnxnnw.gate.policy_file import load_policy
from tests.support.keys import key_pair
from tests.support.networks import save
from tests.support.schemas import cyclonedx_errors, sarif_schema

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline-example")]


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    python = sys.executable
    environment = {
        **os.environ,
        "ONNXNNW": f"{python} -m onnxnnw",
        "PYTHON": python,
        "PYTHONPATH": str(ROOT),
        "SIGNING_KEY": "p256.pem",
    }
    return subprocess.run(["sh", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """The folder after its first release."""
    folder = tmp_path_factory.mktemp("example") / "pipeline"
    shutil.copytree(ROOT / "docs/examples/pipeline", folder)
    shutil.copy(ROOT / "models/resnet8.onnx", folder / "net.onnx")
    key_pair(folder)
    done = run("enrol.sh", folder)
    assert done.returncode == 0, done.stderr
    done = run("release.sh", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def copy(released, tmp_path) -> Path:
    """A copy of it to break."""
    return Path(shutil.copytree(released, tmp_path / "copy"))


@pytest.mark.slow
def test_it_leaves_evidence_of_every_kind(released):
    """SARIF without results, a report without failures, statements that hold, a BOM with the ancestor, a page, a log."""
    import jsonschema

    evidence = released / "evidence"
    log = json.loads((evidence / "onnxnnw.sarif").read_text())
    jsonschema.Draft7Validator(sarif_schema()).validate(log)
    assert log["runs"][0]["results"] == []
    suite = ET.parse(evidence / "onnxnnw.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "0", "0")
    bom = json.loads((evidence / "bom.json").read_text())
    assert [cyclonedx_errors(bom, version) for version in ("1.6", "1.7")] == ["", ""]
    references = [
        one["bom-ref"] for part in bom["components"] for one in (part, *part.get("pedigree", {}).get("ancestors", []))
    ]
    assert len(references) == len(set(references)) == 5
    assert {part["name"]: part["type"] for part in bom["components"]}["labels.txt"] == "file"
    (int8,) = [one for one in bom["components"] if one["name"] == "net.int8.onnx"]
    assert int8["pedigree"]["ancestors"][0]["name"] == "net.record"
    assert "<h1>4 files</h1>" in (evidence / "onnxnnw.html").read_text()
    assert len((evidence / "log.jsonl").read_text().splitlines()) == 4
    command = [sys.executable, "-m", "onnxnnw", "attest", "verify", "evidence/net.intoto.jsonl", "--key", "p256.pub"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--file", "dist/net.int8.onnx"], cwd=released, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0


def answer(folder: Path) -> PolicyAnswer:
    return check(load_policy(folder / "onnxnnw.toml"))


def reasons(checked: PolicyAnswer) -> dict[str, str]:
    return {problem.rule.id: problem.sentence for one in checked.answers for problem in one.problems}


def release_of(folder: Path, model: onnx.ModelProto) -> PolicyAnswer:
    """The answer about a release of another network: it is approved by nobody, and quantised like the one that was."""
    save(model, folder / "build/net.onnx")
    quantise = runpy.run_path(str(folder / "quantise.py"))["quantise"]
    quantise(str(folder / "build/net.onnx"), str(folder / "dist/net.int8.onnx"))
    return answer(folder)


def drawn(folder: Path, every: bool) -> onnx.ModelProto:
    """The approved network with its largest weight, or every one, drawn anew."""
    model = onnx.load(folder / "build/net.onnx")
    weights = sorted((t for t in model.graph.initializer if len(t.dims) > 1), key=lambda t: -len(t.raw_data))
    rng = np.random.default_rng(3)
    for tensor in weights if every else weights[:1]:
        values = numpy_helper.to_array(tensor)
        new = rng.normal(values.mean(), values.std(), values.shape).astype(values.dtype)
        tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    return model


def test_a_replaced_layer_fails(copy):
    """Traced, but not all of it, in float and in int8."""
    checked = release_of(copy, drawn(copy, every=False))
    found = reasons(checked)
    assert [one.code for one in checked.answers] == [1, 1, 1, 0]
    assert {"NNW006", "NNW007"} == set(found)
    assert "explains" in found["NNW006"]


def test_another_network_fails(copy):
    """Not traced."""
    checked = release_of(copy, drawn(copy, every=True))
    assert (checked.code, reasons(checked)) == (1, {"NNW001": "not traced to net.record"})


def test_a_stripped_mark_fails(copy):
    """The same network without the mark: a no, and it says so."""
    checked = release_of(copy, onnx.load(copy / "net.onnx"))
    assert checked.code == 1
    assert "but the mark is not there" in reasons(checked)["NNW001"]


def test_an_expired_policy_fails(copy):
    """Nothing is vouched for any more."""
    policy = copy / "onnxnnw.toml"
    policy.write_text(policy.read_text().replace("expires = 2036-12-31", "expires = 2026-01-31"))
    checked = answer(copy)
    assert (checked.code, reasons(checked)) == (3, {"NNW010": "the policy expired on 2026-01-31 23:59 UTC"})


def test_an_unreadable_record_fails(copy):
    """Nobody knows what it would have said."""
    record = copy / "records/net.record"
    record.chmod(0o600)
    record.write_bytes(record.read_bytes()[:-100])
    checked = answer(copy)
    assert (checked.code, set(reasons(checked))) == (3, {"NNW005"})
    assert "net.record" in reasons(checked)["NNW005"]
