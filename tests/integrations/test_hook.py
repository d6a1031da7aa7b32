"""pre-commit, really run: this checkout as a repository of hooks, another one with networks and a pointer of Git LFS."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = Path(sys.executable).with_name("pre-commit")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TOOL.exists() or shutil.which("git") is None, reason="pre-commit is not installed"),
]

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"


def git(place: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=place, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def hooks(tmp_path_factory) -> Path:
    """This checkout's files as a repository with one commit."""
    place = tmp_path_factory.mktemp("hooks")
    for name in ("onnxnnw", "exporters", "models", "action", "requirements"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        shutil.copy(ROOT / name, place)
    git(place, "init", "-q")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "hooks")
    return place


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run_hook(place: Path, hooks: Path, cache: Path, enrolled, *files: str) -> tuple[int, str]:
    """`pre-commit run onnxnnw-verify` in a repository with these files, from nothing."""
    if not (place / ".git").exists():
        git(place, "init", "-q")
    shutil.copy(enrolled.record, place / "approved.record")
    (place / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {hooks}\n  rev: {git(hooks, 'rev-parse', 'HEAD')}\n  hooks:\n"
        "  - id: onnxnnw-verify\n    args: [--record, approved.record]\n"
    )
    git(place, "add", "-A")
    environment = {**os.environ, "PRE_COMMIT_HOME": str(cache)}
    environment.pop("PYTHONPATH", None)
    command = [TOOL, "run", "onnxnnw-verify", "--verbose", "--files", *files]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=590)
    return done.returncode, done.stdout + done.stderr


def test_the_hook_passes_ours_and_stops_others_and_pointers(hooks, cache, enrolled, tmp_path):
    """Two networks and a pointer, each alone: passed, stopped, and said what it is."""
    shutil.copy(enrolled.marked, tmp_path / "ours.onnx")
    shutil.copy(enrolled.original, tmp_path / "other.onnx")
    (tmp_path / "pointer.onnx").write_text(POINTER)
    (tmp_path / "notes.txt").write_text("no network")
    code, text = run_hook(tmp_path, hooks, cache, enrolled, "ours.onnx")
    assert (code, "traced" in text) == (0, True), text
    code, text = run_hook(tmp_path, hooks, cache, enrolled, "other.onnx")
    assert (code, "not traced" in text) == (1, True), text
    code, text = run_hook(tmp_path, hooks, cache, enrolled, "pointer.onnx")
    assert (code, "git lfs pull" in text.lower()) == (1, True), text
    code, text = run_hook(tmp_path, hooks, cache, enrolled, "notes.txt")
    assert (code, "no files to check" in text) == (0, True), text


def test_the_hook_takes_all_files_at_once(hooks, cache, enrolled, tmp_path):
    """One of two is another network: the commit is stopped, and both are named."""
    shutil.copy(enrolled.marked, tmp_path / "ours.onnx")
    shutil.copy(enrolled.original, tmp_path / "other.onnx")
    code, text = run_hook(tmp_path, hooks, cache, enrolled, "ours.onnx", "other.onnx")
    assert code == 1
    assert "ours.onnx" in text
    assert "other.onnx" in text
