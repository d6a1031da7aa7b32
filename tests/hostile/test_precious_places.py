"""No command replaces a registry, a record, a key or a network that it was not asked to replace."""

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from onnxnnw.cli import main
from onnxnnw.enrolment.enrol import fingerprint
from onnxnnw.errors import UsageError
from onnxnnw.network_file.writing import PAGE, refuse_place

SECRETS = ("reg.db", "net.record", "key.pem")
TEXTS = {
    "compare --html": "compare net.onnx net.onnx --html PLACE",
    "verify --html": "verify net.onnx --record net.record --html PLACE",
    "verify --sarif": "verify net.onnx --record net.record --sarif PLACE",
    "verify --junit": "verify net.onnx --record net.record --junit PLACE",
    "verify --attestation": "verify net.onnx --record net.record --attestation PLACE",
    "verify --sbom": "verify net.onnx --record net.record --sbom PLACE",
    "sign": "sign net.onnx --key key.pem -o PLACE",
    "registry log": "registry log --registry reg.db --name example.org/log -o PLACE",
    "method check": "method check rtw --keys 20 -o PLACE",
}
CHANGED = {
    "modify": "modify net.onnx gaussian-noise --ratio 0.1 -o PLACE",
    "embed": "embed net.onnx -o PLACE --record new.record",
}
MADE = {
    "export": "export resnet8 -o PLACE",
    "train": "train resnet8 --data . --epochs 1 -o PLACE",
    "train, marked": "train resnet8 --data . --epochs 1 -o PLACE --method rtw --record new.record",
}
CASES = [
    *((command, (*SECRETS, "net.onnx", "other.onnx")) for command in TEXTS.values()),
    *((command, (*SECRETS, "net.onnx")) for command in CHANGED.values()),  # another network may be replaced
    *((command, SECRETS) for command in MADE.values()),
]


@pytest.fixture
def folder(resnet8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network, its record, a registry with it, a private key, and a second network."""
    for name in ("net.onnx", "other.onnx"):
        shutil.copyfile(resnet8, tmp_path / name)
    fingerprint(tmp_path / "net.onnx", tmp_path / "net.record", 200)
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    monkeypatch.chdir(tmp_path)
    assert ended("registry add net.record --registry reg.db") == 0
    return tmp_path


def ended(command: str) -> int:
    """The exit code."""
    with pytest.raises(SystemExit) as end:
        main(command.split())
    return int(end.value.code or 0)


@pytest.mark.parametrize(("command", "places"), CASES, ids=[*TEXTS, *CHANGED, *MADE])
def test_what_is_precious_is_never_replaced(
    command: str, places: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 before anything is done; every file is as it was, and none came."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for place in places:
        assert ended(command.replace("PLACE", place)) == 2, (place, capsys.readouterr().err)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "begins", "text", "replaced"),
    [
        (b"", PAGE, True, True),
        (b"<!DOCTYPE html><p>", PAGE, True, True),
        (b"<html>", PAGE, True, False),
        (b"old text\n", b"", True, True),
        (b"\x08\x0a\x12\x00", b"", True, False),
        (b"\x08\x0a\x12\x00", b"", False, True),
        (b"SQLite format 3\0", b"", False, False),
        (b"SQLite format 3 is a format", b"", True, True),
        (b'{"bound":{', b"{", True, False),
        (b'{"other":{', b"{", True, True),
        (b"-----BEGIN PRIVATE KEY-----", b"", False, False),
    ],
)
def test_what_may_be_replaced_is_of_the_same_kind(tmp_path, content, begins, text, replaced):
    """Known by how it begins."""
    (tmp_path / "place").write_bytes(content)
    if replaced:
        refuse_place(tmp_path / "place", begins, text)
    else:
        with pytest.raises(UsageError, match=r"never overwritten|another kind"):
            refuse_place(tmp_path / "place", begins, text)
