"""The installation that gates use: its size, its commands, and the Dockerfile that makes an image of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SLIM = """
verify {marked} --record {record} --full
verify {noisy} --record {record} --json
verify {marked} --records {folder}
fingerprint {original} -o new.record
check --policy onnxnnw.toml
compare {original} {noisy} --json
embed {original} -o new.onnx --record mark.record
inspect {original}
digest {original} --json
modify {original} gaussian-noise --ratio 0.1 -o changed.onnx
modify {original} magnitude-pruning --percentage 20 -o pruned.onnx
modify --list
--help
verify --help
"""


POLICY = """
format = "onnxnnw/policy/1"
[[network]]
name = "net"
files = ["net.onnx"]
records = ["net.record"]
require = "traced"
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """What a checkout has of what is installed: building leaves nothing in this one."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("onnxnnw", "exporters", "models", "action", "requirements"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    return place


@pytest.mark.slow
def test_gates_need_little(enrolled, source, tmp_path):
    """An environment of the locked packages and this one, without their dependencies, has the commands in 200 MB."""
    environment, place = tmp_path / "slim", tmp_path / "place"
    place.mkdir()
    command = [source / "action" / "install.sh", environment, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stderr
    program = Path(done.stdout.splitlines()[-1]) / "onnxnnw"

    shutil.copy(enrolled.marked, place / "net.onnx")
    shutil.copy(enrolled.record, place / "net.record")
    (place / "onnxnnw.toml").write_text(POLICY)
    noisy = place / "noisy.onnx"
    names = {
        **{k: str(v) for k, v in vars(enrolled).items()},
        "noisy": str(noisy),
        "folder": str(enrolled.record.parent),
    }
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for line in ["modify {marked} gaussian-noise --ratio 0.1 -o {noisy}", *SLIM.strip().splitlines()]:
        command = [program, *line.format(**names).split()]
        done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=clean, timeout=300)
        assert done.returncode == 0, f"{line}: {done.stdout[-300:]}{done.stderr[-1000:]}"
        assert "internal error" not in done.stderr
        assert not line.startswith("embed") or "not compared: onnxruntime is needed" in done.stdout
    absent = subprocess.run(
        [program.with_name("python"), "-c", "import onnxruntime"], capture_output=True, cwd=place, env=clean
    )
    assert absent.returncode == 1
    size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file() and not path.is_symlink())
    assert size <= 200 * 2**20, f"{size / 2**20:.0f} MiB"


def test_the_lock_has_what_the_commands_import():
    """Each package that is asked for, pinned, with a hash for every file; and nothing that only shows or checks colours."""
    for name in ("verify", "build"):
        asked = re.findall(r"^([a-z]+)", (ROOT / "requirements" / f"{name}.in").read_text(), re.MULTILINE)
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
        assert {*asked} <= {entry.partition("==")[0] for entry in entries}
        assert all(
            re.match(r"[a-z-]+==[\d.]+[^\n]*\\\n( +--hash=sha256:[0-9a-f]{64}[ \\]*\n)+", entry) for entry in entries
        )


DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_image_copies_what_is_there_and_runs_as_nobody():
    """As far as it can be read without building it: sources exist, the base is given by its digest, the user is a number."""
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        for name in sources:
            assert (ROOT / name).exists(), name
    assert re.search(r"^ARG BASE$", DOCKERFILE, re.MULTILINE), "a default would be a base that nobody pinned"
    assert {*re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)} == {"${BASE}"}
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert "0" not in user
    assert DOCKERFILE.rstrip().endswith('ENTRYPOINT ["/opt/onnxnnw/bin/onnxnnw"]')


@pytest.mark.slow
def test_the_images_own_commands_make_what_it_runs(source, tmp_path):
    """Its RUN lines, with its folders elsewhere; docker itself is not needed."""
    build, opt = tmp_path / "build", tmp_path / "opt"
    shutil.copytree(source, build)
    steps = re.findall(r"^RUN (.*?[^\\])\n", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert steps
    for step in steps:
        line = step.replace("\\\n", " ").replace("/opt/onnxnnw", str(opt)).replace("/build", str(build))
        done = subprocess.run(["bash", "-ec", line], capture_output=True, text=True, cwd=build, timeout=590)
        assert done.returncode == 0, done.stderr
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [opt / "bin" / "onnxnnw", "--version"], capture_output=True, text=True, env=clean, cwd=tmp_path
    )
    assert done.stdout.startswith("onnxnnw ")
