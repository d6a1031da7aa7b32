"""A victim network with its records, which hostile candidates are held against."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from onnx import ModelProto

from onnxnnw.enrolment.enrol import embed, fingerprint
from onnxnnw.records.key import Key
from tests.support.networks import dense, save


@dataclass(frozen=True)
class Victim:
    """A marked network and what its tracker keeps."""

    model: ModelProto
    path: Path
    watermark: Path
    fingerprint: Path

    @property
    def records(self) -> tuple[Path, Path]:
        return self.watermark, self.fingerprint


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """Two dense layers of 64, marked with 512 positions, and the marked network fingerprinted."""
    folder = tmp_path_factory.mktemp("victim")
    original = save(dense(width=64), folder / "original.onnx")
    path = folder / "marked.onnx"
    embed(original, path, folder / "w.record", key=Key(b"w" * 32))
    fingerprint(path, folder / "f.record", key=Key(b"f" * 32))
    return Victim(ModelProto.FromString(path.read_bytes()), path, folder / "w.record", folder / "f.record")
