"""A folder with networks, records and a policy, as a repository has them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.gate.policy import Policy
from onnxnnw.gate.policy_file import load_policy
from tests.support.networks import dense, save


@dataclass(frozen=True)
class Place:
    """A repository."""

    folder: Path

    def policy(self, text: str, head: str = "") -> Policy:
        """A policy with this text after its format."""
        path = self.folder / "onnxnnw.toml"
        path.write_text(f'format = "onnxnnw/policy/1"\n{head}\n{text}')
        return load_policy(path)

    def entry(self, files: str = '"own.onnx"', records: str = '"own.record"', more: str = "") -> str:
        """An entry that wants files to be traced."""
        return f'[[network]]\nname = "own"\nfiles = [{files}]\nrecords = [{records}]\nrequire = "traced"\n{more}\n'


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """own.onnx with its record, a stranger, a copy that carries noise, files that are no record and no network."""
    folder = tmp_path_factory.mktemp("built")
    save(dense(width=64), folder / "own.onnx")
    save(dense(width=64, seed=9), folder / "stranger.onnx")
    fingerprint(folder / "own.onnx", folder / "own.record")
    fingerprint(folder / "own.onnx", folder / "small.record", positions=8)
    (folder / "broken.record").write_text("{}")
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.fixture
def place(built, tmp_path) -> Place:
    """A copy of it for one test."""
    folder = tmp_path / "repository"
    shutil.copytree(built, folder)
    return Place(folder)
