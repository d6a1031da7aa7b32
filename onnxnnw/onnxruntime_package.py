"""The state of the onnxruntime installation: missing, emptied, or two packages unpacked over each other.

``onnxruntime`` and ``onnxruntime-gpu`` install the same folder, and pip knows nothing of that: whoever has one and installs a tool
that depends on the other gets a mixture of both, and uninstalling either then removes files of the other.
"""

from functools import cache
from typing import Any

from onnxnnw.errors import CannotLook
from onnxnnw.notices import note

__all__ = ["import_onnxruntime", "installed_variants"]

VARIANTS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-qnn")
"""Packages that bring a folder ``onnxruntime``."""


@cache
def installed_variants() -> dict[str, str]:
    """The packages that say they brought onnxruntime, with their versions."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in VARIANTS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def import_onnxruntime(quantization: bool = False) -> Any:
    """The module, or its quantisers; a notice where it is a mixture of two packages.

    Raises:
        CannotLook: It is not installed, or broken, with what to do.
    """
    variants = installed_variants()
    try:
        import onnxruntime
        from onnxruntime import InferenceSession  # noqa: F401 - a folder that was left behind has none

        if quantization:
            import onnxruntime.quantization
    except ImportError as error:
        raise CannotLook(f"onnxruntime is needed to run networks: {_advice(variants, error)}") from error
    if len(variants) > 1:
        _note_once(f"{_listed(variants)} lie unpacked over each other, which may fail at any time; {_repair(variants)}")
    return onnxruntime.quantization if quantization else onnxruntime


_note_once = cache(note)


def _advice(variants: dict[str, str], error: ImportError) -> str:
    if len(variants) > 1:
        return (
            f"{_listed(variants)} lie unpacked over each other, and it cannot be imported any more; {_repair(variants)}"
        )
    if variants:
        return f"{_listed(variants)} is installed, but its files are not whole ({error}); {_repair(variants)}"
    if "No module named 'onnxruntime'" in str(error):
        return "it is not installed; install it with: pip install onnxruntime"
    return (
        f"a folder of it was left behind without its files ({str(error)[:200]}), as uninstalling one of two packages does; "
        "install it anew with: pip install --force-reinstall --no-deps onnxruntime"
    )


def _listed(variants: dict[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in variants.items())


def _repair(variants: dict[str, str]) -> str:
    """Keep the one for GPUs, where there is one: it computes without a GPU too."""
    kept = next((name for name in variants if name != "onnxruntime"), "onnxruntime")
    return f"keep one: pip uninstall -y {' '.join(variants)} && pip install {kept}"
