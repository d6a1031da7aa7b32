"""The example package's method, put into a copy of the package, works end to end: a new method is one new file."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from onnxnnw.records.record_file import load_record, save_record
from onnxnnw.tasks.classification import CLASSES
from tests.support import marks
from tests.support.images import write_classes

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "onnxnnw-sign-bits" / "onnxnnw_sign_bits.py"
BITS, PAYLOAD, KEYS = 64, "in signs", 1000

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("new method")]  # one worker copies the package and trains


@dataclass(frozen=True)
class PackageCopy:
    """A copy of the package and of the methods' tests, with one more file."""

    folder: Path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Python with the copy instead of the package that is installed here."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
        environment["OMP_NUM_THREADS"] = "1"  # threads that wait for each other on a busy machine take longer than one
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300
        )

    def onnxnnw(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The command line of the copy."""
        return self.run("-m", "onnxnnw", *arguments)


@dataclass(frozen=True)
class Marked:
    """A network that was trained with the new method, and its record."""

    network: Path
    record: Path


@pytest.fixture(scope="module")
def package_copy(tmp_path_factory):
    """The packages as they are installed, each in its place, and the new file among the methods."""
    folder = tmp_path_factory.mktemp("package_copy")
    for source, target in (
        ("onnxnnw", "onnxnnw"),
        ("exporters", "onnxnnw/exporters"),
        ("models", "onnxnnw/models"),
        ("models", "models"),
        ("tests/methods", "tests/methods"),
        ("tests/support", "tests/support"),
    ):
        shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "conftest.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    method = EXAMPLE.read_text("utf-8").replace("sign_bits_package", "sign_bits")
    (folder / "onnxnnw" / "methods" / "sign_bits.py").write_text(method, "utf-8")
    return PackageCopy(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A few generated images in CIFAR-10's classes."""
    folder = tmp_path_factory.mktemp("data")
    write_classes(folder / "train", CLASSES, 32, seed=1)
    write_classes(folder / "test", CLASSES, 2, seed=2)
    return folder


@pytest.fixture(scope="module")
def marked(package_copy, data, tmp_path_factory):
    """Trained for a moment, with the method's parameters given as options."""
    folder = tmp_path_factory.mktemp("marked")
    found = Marked(folder / "net.onnx", folder / "net.record")
    done = package_copy.onnxnnw(
        *("train", "resnet8", "--size", "small", "--data", data, "-o", found.network, "--record", found.record),
        *("--epochs", 4, "--threads", 1, "--method", "sign_bits", "--bits", BITS, "--payload", PAYLOAD),
    )
    assert done.returncode == 0, done.stderr
    assert "inserted" in done.stdout
    return found


def test_the_copy_is_what_runs(package_copy):
    """Not the package that is installed here."""
    code = "import onnxnnw.methods, onnxnnw.exporters, onnxnnw.models as m; print(m.__path__[0], onnxnnw.__file__)"
    assert package_copy.run("-c", code).stdout.count(str(package_copy.folder)) == 2


def test_the_method_is_listed_with_its_parameters(package_copy):
    """Name, sentence and options come from the file."""
    listed = package_copy.onnxnnw("train", "--list-methods").stdout
    _, own = listed.split("\nsign_bits\n")
    assert "A hinge on the signs of secret weights" in own
    for option in ("--bits", "--payload", "--layer", "--weight", "--margin"):
        assert option in own


def test_the_right_key_finds_the_mark(package_copy, marked):
    """Exit code 0, every Symbol right, the payload's text, and one chance in 2**64."""
    done = package_copy.onnxnnw("verify", marked.network, "--record", marked.record, "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["method"], verdict["decision"]) == ("sign_bits", "traced")
    assert verdict["payload"]["text"] == PAYLOAD
    assert verdict["log10_p"] == pytest.approx(-BITS * np.log10(2), abs=1e-3)


def test_a_wrong_key_does_not(package_copy, marked, tmp_path):
    """Exit code 1: the record of another secret, all else equal."""
    save_record(load_record(marked.record).with_key(marks.key(1)), tmp_path / "wrong.record")
    done = package_copy.onnxnnw("verify", marked.network, "--record", tmp_path / "wrong.record", "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["decision"] == "not traced"


def test_wrong_keys_toss_coins(package_copy, marked):
    """Right signs under 1,000 wrong keys are Binomial(64, 1/2), in the marked network as in one that never was."""
    script = f"""
import json, sys
from onnxnnw.graph.slots import find_slots
from onnxnnw.network_file.file import open_network
from onnxnnw.methods.sign_bits import SignBitsInsertion, mark_of
from onnxnnw.records.record_file import load_record
from tests.support import marks
found = []
for path, record in (
    (sys.argv[1], load_record(sys.argv[2])),
    (sys.argv[3], marks.drafted(sys.argv[3], SignBitsInsertion(payload={PAYLOAD!r}))),
):
    with open_network(path) as network:
        arrays = [slot.array().reshape(-1) for slot in find_slots(network).slots]
    wrong = [mark_of(record.with_key(marks.key(10_000 + number))) for number in range({KEYS})]
    found.append([int((mark.signs * arrays[mark.slot][mark.positions] > 0).sum()) for mark in wrong])
print(json.dumps(found))
"""
    done = package_copy.run(
        "-c", script, marked.network, marked.record, package_copy.folder / "models" / "resnet8.onnx"
    )
    assert done.returncode == 0, done.stderr
    for matches in json.loads(done.stdout):
        assert len(matches) == KEYS
        marks.assert_binomial(np.array(matches), BITS, 0.5)


def test_contract_tests_find_it(package_copy):
    """Unaided: each of them that goes by method takes the new one too."""
    done = package_copy.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "sign_bits", "tests/methods/test_contract.py"
    )
    assert done.returncode == 0, done.stdout
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    own = (ROOT / "tests" / "methods" / "test_contract.py").read_text()
    assert int(passed) == len(re.findall(r"^@every_(?:method|insertion)$", own, re.MULTILINE))


def test_it_may_overwrite_and_be_overwritten(package_copy, data, marked, tmp_path):
    """Another key's mark of the same method, inserted on top by the modification that trains."""
    over = tmp_path / "over.onnx"
    done = package_copy.onnxnnw(
        *("modify", marked.network, "overwriting-in-training", "--method", "sign_bits", "--network", "resnet8"),
        *("--size", "small", "--data", data, "--epochs", 1, "--rate", 0.01, "--threads", 1, "-o", over),
    )
    assert done.returncode == 0, done.stderr
    assert package_copy.onnxnnw("verify", over, "--record", marked.record).returncode == 0


CAMPAIGN = """
format = "onnxnnw/campaign/1"
generated = { training = 256, testing = 60 }

[[networks]]
name = "resnet8"
size = "small"
epochs = 1

[modifications]
gaussian-noise = { ratio = [0.1] }

[[marks]]
title = "Signs"
method = "sign_bits"
epochs = 6
parameters = { weight = [0.1], bits = [32] }
modifications = ["gaussian-noise"]
wrong_keys = 2
"""


def test_a_campaign_and_its_tables_find_it(package_copy, tmp_path):
    """Unaided: a campaign evaluates it by its name, and the report has its tables."""
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    results = tmp_path / "results"
    campaign = ("evaluate", tmp_path / "campaign.toml", "-o", results, "--cache", tmp_path / "cache")
    done = package_copy.onnxnnw(*campaign)
    assert done.returncode == 0, done.stderr
    trials = [json.loads(line) for line in (results / "trials.jsonl").read_text().splitlines()]
    own = [trial for trial in trials if trial["study"] == "detection" and trial["truth"]]
    assert {trial["mark"]["method"] for trial in own} == {"sign_bits"}
    assert [trial["verdict"]["values"]["ber"] for trial in own] == [0.0, 0.0]
    page, tables = tmp_path / "report.html", tmp_path / "tables"
    done = package_copy.onnxnnw("report", results, "-o", page, "--tables", tables)
    assert done.returncode == 0, done.stderr
    assert "sign_bits" in page.read_text().lower()
    written = [path.read_text().lower().replace("\\", "") for path in tables.rglob("*.md")]  # Markdown escapes the line
    assert any("sign_bits" in text for text in written)
