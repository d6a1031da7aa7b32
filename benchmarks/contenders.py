"""The commands that are held side by side: ours, and what other people would use."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import Contender, Failed, python, run

__all__ = [
    "BARE",
    "bare_imports",
    "copy_sync_hash",
    "make",
    "network",
    "onnx_load",
    "ours",
    "read_json",
    "sha256sum",
    "sign",
    "signature",
]

BARE = "import typer, pydantic, numpy, onnx"


def ours(name: str, *arguments: str | Path, before: Callable[[], object] = lambda: None) -> Contender:
    """``onnxnnw …``."""
    return Contender(name, python("-m", "onnxnnw", *map(str, arguments)), before)


def bare_imports(packages: str = BARE) -> Contender:
    """Start Python and import what a tool of this kind is made of; as many of it as there are."""
    wanted = packages.removeprefix("import ").split(", ")
    present = [name for name in wanted if importlib.util.find_spec(name) is not None]
    return Contender(f"import {', '.join(present)}", python("-c", f"import {', '.join(present)}"))


def onnx_load(model: Path) -> Contender:
    """Load the whole network with onnx."""
    return Contender("onnx.load", python("-c", "import sys, onnx; onnx.load(sys.argv[1])", str(model)))


def sha256sum(*files: Path) -> Contender:
    """Hash the bytes."""
    command = shutil.which("sha256sum")
    return Contender("sha256sum", [command, *map(str, files)] if command else None)


def copy_sync_hash(source: Path, target: Path) -> Contender:
    """``cp``, ``sync`` of the copy and ``sha256sum``, as one command."""
    there = all(shutil.which(tool) for tool in ("sh", "cp", "sync", "sha256sum"))
    script = 'cp "$1" "$2" && sync "$2" && sha256sum "$1"'
    command = ["sh", "-c", script, "sh", str(source), str(target)] if there else None
    return Contender("cp + sync + sha256sum", command, lambda: target.unlink(missing_ok=True))


_KEYS = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
Path(sys.argv[1]).write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
Path(sys.argv[2]).write_bytes(public)
"""


def sign(model: Path, place: Path) -> bool:
    """Sign a model, which may be its folder, once; False where model_signing is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("model_signing", "OpenSSL", "cryptography")):
        return False
    private, public = place / "private.pem", place / "public.pem"
    if not private.exists():
        make(python("-c", _KEYS, str(private), str(public)))
    options = ("--private_key", str(private), "--signature", str(place / "model.sig"))
    make(python("-m", "model_signing", "sign", "key", str(model), *options))
    return True


def signature(model: Path, place: Path, installed: bool) -> Contender:
    """``model_signing verify``: hash all bytes, check the signature."""
    command = python("-m", "model_signing", "verify", "key", str(model))
    command += ["--public_key", str(place / "public.pem"), "--signature", str(place / "model.sig")]
    return Contender("model_signing verify", command if installed else None)


def make(command: list[str]) -> str:
    """Run a command that only prepares.

    Raises:
        Failed: It did not work.
    """
    done = run(command)
    if done.code:
        raise Failed(f"{' '.join(command)} ended with {done.code}:\n{done.output[-2000:]}")
    return done.output


def network(path: Path, *options: str) -> Path:
    """Write a synthetic network, in a process of its own."""
    make([sys.executable, "-m", "benchmarks.networks", str(path), *options])
    return path


def read_json(output: str) -> dict[str, object]:
    """The JSON that a command printed, warnings before it left out."""
    found: dict[str, object] = json.loads(output[output.index("{") :])
    return found
