"""Scoped names inside nodes and functions, and the key by which a call finds its function."""

import hashlib
from collections.abc import Iterable

import onnx
from onnx import FunctionProto, NodeProto

__all__ = ["inside", "key_of", "versions_of"]

_LONG = 300


def inside(prefix: str, name: str) -> str:
    """The prefix of names inside a node; long ones are shortened, since every name inside repeats them."""
    inner = f"{prefix}{name}/"
    return inner if len(inner) <= _LONG else f"{inner[:40]}…{hashlib.sha256(inner.encode()).hexdigest()[:16]}/"


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def key_of(proto: FunctionProto | NodeProto) -> tuple[str, str, str]:
    """By what a call finds its function: domain, name and overload."""
    name = proto.name if isinstance(proto, FunctionProto) else proto.op_type
    return _domain(proto.domain), name, str(getattr(proto, "overload", ""))


def versions_of(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Opset version by domain."""
    return {_domain(entry.domain): int(entry.version) for entry in imports}
