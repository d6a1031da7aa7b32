"""What is published says what it is: one version, its heading, a bill of materials, and a script that refuses what does not fit."""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import onnxnnw

ROOT = Path(__file__).parent.parent


def test_the_version_stands_once():
    """The project takes it from the package, and the changelog's first heading is of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "onnxnnw.__version__"}
    first = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] in (onnxnnw.__version__, "Unreleased")
    assert re.fullmatch(r"\d+\.\d+\.\d+", onnxnnw.__version__)


@pytest.mark.slow
def test_the_wheels_bill_of_materials(tmp_path):
    """Its hash, its licence, all that it asks for, and each locked package with a hash; the same for the same files."""
    place = tmp_path / "source"
    for name in ("onnxnnw", "exporters", "models"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(place)]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"onnxnnw-{onnxnnw.__version__}-py3-none-any.whl"
    script, lock = ROOT / ".ci" / "bill_of_materials.py", ROOT / "requirements" / "verify.txt"
    texts = [
        subprocess.run([sys.executable, script, wheel, lock], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert texts[0] == texts[1]
    bill = json.loads(texts[0])
    own = bill["metadata"]["component"]
    assert own["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}]
    assert own["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert any(p["value"].startswith("numpy") for p in own["properties"])
    names = [library["name"] for library in bill["components"]]
    assert {"numpy", "scipy", "onnx", "typer"} <= {*names}
    pinned = re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE)
    assert names == pinned
    references = [library["bom-ref"] for library in bill["components"]]
    assert len({*references}) == len(references)
    for library in bill["components"]:
        assert any(re.fullmatch("[0-9a-f]{64}", p["value"]) for p in library["properties"])
    if importlib.util.find_spec("cyclonedx") is not None:
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(texts[0]) is None


def git(place: Path, *arguments: str) -> None:
    identity = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@example.org",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "tag.gpgsign=false",
    ]
    subprocess.run(["git", *identity, *arguments], cwd=place, capture_output=True, check=True)


def released(place: Path) -> tuple[int, str]:
    command = ["bash", place / ".ci" / "release", place.parent / "out"]
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(shutil.which("git") is None or sys.platform == "win32", reason="needs git and bash")
def test_what_does_not_fit_is_not_released(tmp_path):
    """Changes that are not committed, another tag, a heading without its date: each is refused before anything is built."""
    place = tmp_path / "checkout"
    for name in (".ci/release", "onnxnnw/__init__.py"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    version = onnxnnw.__version__
    (place / "CHANGELOG.md").write_text(f"# Changes\n\n## [{version}] - not released yet\n")
    git(place, "init", "-q")
    assert released(place) == (1, "release: the tree has changes that are not committed\n")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "one")
    assert f"has no tag v{version}" in released(place)[1]
    git(place, "tag", f"v{version}9")
    assert f"has no tag v{version}" in released(place)[1]
    git(place, "tag", "-d", f"v{version}9")
    git(place, "tag", f"v{version}")
    assert "has no heading" in released(place)[1]
    assert not (tmp_path / "out").exists()
