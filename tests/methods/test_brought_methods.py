"""Methods of other packages: found by entry point, checked by command, and no hindrance where they are broken."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from onnxnnw.errors import UnknownName, UsageError
from onnxnnw.method_check import check_method
from onnxnnw.methods import discovery as base

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "onnxnnw-sign-bits"


def run(*arguments: str, where: Path) -> subprocess.CompletedProcess[str]:
    """The command with what is installed in a folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(where), str(ROOT)))}
    command = [sys.executable, "-m", "onnxnnw", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_a_package_of_its_own_brings_a_method(tmp_path):
    """Installed as a user does, it is offered, and its dossier is written."""
    source = tmp_path / "source"
    source.mkdir()
    for file in EXAMPLE.iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(source)], check=True, capture_output=True)
    done = run(
        "method", "check", "sign_bits_package", "--keys", "60", "-o", str(tmp_path / "d.md"), where=tmp_path / "site"
    )
    assert (done.returncode, "BROKEN" in done.stdout) == (0, False), done.stdout + done.stderr
    dossier = (tmp_path / "d.md").read_text()
    for heading in ("Description", "Parameters", "Training strategy", "Calibration"):
        assert f"## {heading}" in dossier
    assert "sign_bits_package" in run("train", "--list-methods", where=tmp_path / "site").stdout


def brought(monkeypatch, **modules: str) -> None:
    """As if packages had brought these."""
    points = [EntryPoint(name, module, base.ENTRY_POINTS) for name, module in modules.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    base._brought.cache_clear()
    monkeypatch.setattr(base, "_brought", base._brought.__wrapped__)


def test_a_package_takes_no_name_of_ours(monkeypatch):
    brought(monkeypatch, rtw="json")
    assert base.find_method("rtw").name == "rtw"


@pytest.mark.parametrize("module", ["no_such_module_anywhere", "json"])
def test_a_broken_package_is_named_and_hinders_no_other(monkeypatch, module):
    before = base.insertion_names()
    brought(monkeypatch, strange=module)
    assert base.insertion_names() == before
    assert "strange" in base.method_names()
    with pytest.raises(UsageError, match="strange"):
        base.find_method("strange")


@pytest.mark.parametrize("content", ["def broken(:", "raise RuntimeError('no')", "raise SystemExit(5)", "1 / 0"])
def test_a_package_that_raises_whatever_hinders_no_other(monkeypatch, tmp_path, content):
    """Its module is a stranger's code, and running it may end in any way."""
    (tmp_path / "strange_module_of_a_test.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    before = base.insertion_names(), base.file_insertion_names()
    brought(monkeypatch, strange="strange_module_of_a_test")
    assert (base.insertion_names(), base.file_insertion_names()) == before
    with pytest.raises(UsageError, match="strange: the package that brings it cannot be imported"):
        base.find_method("strange")


@pytest.mark.parametrize(
    ("part", "law"),
    [
        ("judge", "every key gets a judgement"),
        ("draft", "with its defaults it drafts a record"),
        ("required", "a stricter rate"),
    ],
)
def test_a_method_that_raises_gets_a_dossier_that_says_so(resnet8, monkeypatch, part, law):
    """A crash of a stranger's code is what was found, and no error of the check."""
    owner = base.find_insertion("rtw") if part == "draft" else type(base.find_method("rtw"))

    def crashed(*arguments, **named):
        raise RuntimeError("no idea")

    monkeypatch.setattr(owner, part, crashed)
    found = check_method("rtw", resnet8, keys=20)
    assert not found.kept
    assert any(law in one.sentence and not one.kept and "no idea" in one.came for one in found.laws)
    assert "no idea" in found.to_markdown()


def test_an_unknown_method_is_told_with_those_there_are():
    with pytest.raises(UnknownName, match="rtw"):
        base.find_method("nobody")


def test_a_method_that_owes_nothing_is_kept(resnet8):
    """RTW keeps all laws; its p-values are discrete and stay below the level."""
    found = check_method("rtw", resnet8, keys=120)
    assert found.kept
    assert found.calibration.shares[0][2] <= 0.05


def test_p_values_that_lie_are_noticed(resnet8, monkeypatch):
    """A method that calls everything probable: the levels are exceeded, and no law hides it."""
    from dataclasses import replace

    kind = type(base.find_method("rtw"))
    honest = kind.judge

    def lying(self, record, candidate, log10_rate):
        found = honest(self, record, candidate, log10_rate)
        return replace(found, association=replace(found.association, log10_p=found.association.log10_p - 1.5))

    monkeypatch.setattr(kind, "judge", lying)
    found = check_method("rtw", resnet8, keys=60)
    assert not found.calibration.sound
    assert not found.kept
