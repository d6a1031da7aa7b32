"""onnxruntime missing, left empty, or two packages of it in one folder: each is said, with what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys
sys.path[:0] = [sys.argv[1]]
if len(sys.argv) > 3:
    sys.modules["onnxruntime"] = None
from onnxnnw.notices import listening
from onnxnnw.runtime import open_runtime
with listening(notes=lambda sentence: print("note:", sentence)):
    for _ in range(2):
        try:
            print(len(open_runtime(sys.argv[2]).inputs), "inputs")
        except Exception as error:
            print(type(error).__name__ + ":", error)
"""


def said(place: Path, resnet8: Path, *further: str) -> str:
    """What opening a network says where ``place`` comes first on the path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(place), str(resnet8), *further]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=120).stdout


def claim(place: Path, name: str, version: str = "1.2.3") -> None:
    """What pip leaves of a package that it believes to be installed."""
    folder = place / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_two_packages_over_each_other_are_noticed(tmp_path, resnet8):
    """It still runs, and a notice comes once: which two, and what keeps one."""
    claim(tmp_path, "onnxruntime")
    claim(tmp_path, "onnxruntime-gpu")
    text = said(tmp_path, resnet8)
    assert text.count("1 inputs") == 2
    assert text.count("note:") == 1
    assert "onnxruntime 1.2.3 and onnxruntime-gpu 1.2.3 lie unpacked over each other" in text
    assert "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu" in text


@pytest.mark.parametrize(
    ("claimed", "words"),
    [
        ((), "a folder of it was left behind"),
        (("onnxruntime",), "onnxruntime 1.2.3 is installed, but its files are not whole"),
    ],
)
def test_a_folder_that_uninstalling_left_behind_is_no_onnxruntime(claimed, words, tmp_path, resnet8):
    """It can be imported and holds nothing; where no package says that it is installed, neither may this environment's."""
    capi = tmp_path / "place" / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (capi.parent / "__init__.py").write_text("")
    (capi / "left.txt").write_text("x")
    for name in claimed:
        claim(tmp_path / "place", name)
    hidden = SCRIPT.replace(
        "from onnxnnw.runtime",
        f"import onnxnnw.onnxruntime_package as p; p.VARIANTS = {claimed!r}\nfrom onnxnnw.runtime",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", hidden, str(tmp_path / "place"), str(resnet8)]
    text = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=120).stdout
    assert text.count("CannotLook: onnxruntime is needed to run networks") == 2
    assert words in text
    assert "pip install" in text


def test_none_at_all_is_said(tmp_path, resnet8):
    """With how it is installed."""
    text = said(tmp_path, resnet8, "without")
    assert "CannotLook: onnxruntime is needed to run networks" in text
    assert "pip install" in text
