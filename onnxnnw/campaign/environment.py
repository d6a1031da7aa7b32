"""Environment of a step: hardware, versions, and the memory that it took."""

import contextlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from onnxnnw.runtime import usual_provider

__all__ = ["Memory", "environment"]

_PACKAGES = ("numpy", "onnx", "torch", "onnxruntime-gpu", "onnxruntime")


@cache
def environment() -> Mapping[str, str]:
    """Hardware and versions; absent packages are left out."""
    found = {"hardware": _hardware(), "python": platform.python_version(), "provider": usual_provider()}
    found |= _card()
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.setdefault(name.removesuffix("-gpu"), metadata.version(name))
    with contextlib.suppress(metadata.PackageNotFoundError):
        found["onnxnnw"] = metadata.version("onnxnnw")
    return found


def _card() -> dict[str, str]:
    """The first GPU's name, if the kernel reports it."""
    for place in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError):
            for line in place.read_text().splitlines():
                if line.startswith("Model:"):
                    return {"card": line.partition(":")[2].strip()}
    return {}


def _hardware() -> str:
    import os

    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{os.cpu_count()} cores, {name}"


class Memory:
    """High-water mark of this process since the beginning of the ``with`` block, where the kernel lets it be reset.

    Attributes:
        bytes: Known after the block; None elsewhere than on Linux.
    """

    def __init__(self) -> None:
        self.bytes: int | None = None

    def __enter__(self) -> "Memory":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.bytes = 1024 * int(line.split()[1])
