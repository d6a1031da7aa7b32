"""The example method of docs/examples, as if its package were installed."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from onnxnnw.methods import discovery

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "onnxnnw-sign-bits" / "onnxnnw_sign_bits.py"
NAME = "sign_bits_package"


@contextmanager
def brought(**modules: str) -> Iterator[None]:
    """As if packages had brought these: name of the method -> module."""
    points = [importlib.metadata.EntryPoint(name, module, discovery.ENTRY_POINTS) for name, module in modules.items()]
    installed = importlib.metadata.entry_points

    def entry_points(**asked: Any) -> Any:
        return points if asked.get("group") == discovery.ENTRY_POINTS else installed(**asked)

    with mock.patch("importlib.metadata.entry_points", entry_points):
        discovery._brought.cache_clear()
        try:
            yield
        finally:
            discovery._brought.cache_clear()


@contextmanager
def sign_bits() -> Iterator[ModuleType]:
    """The example's module, found under the name of its method."""
    spec = importlib.util.spec_from_file_location("onnxnnw_sign_bits", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with brought(**{NAME: spec.name}):
            spec.loader.exec_module(module)
            yield module
    finally:
        del sys.modules[spec.name]
