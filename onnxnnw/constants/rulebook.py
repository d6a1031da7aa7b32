"""The registry of constant-folding rules by operator domain and name, and helpers for rules."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxnnw.constants.arrays import Constant, Literal, Scattered, Stored
from onnxnnw.constants.decoding import Cast, Dequantized
from onnxnnw.constants.evaluated import Chosen
from onnxnnw.constants.moved import Expanded, Gathered, Joined, Reshaped, Sliced, Transposed
from onnxnnw.flow.nodes import Node

__all__ = ["MAX_GROWTH", "MAX_PARTS", "SMALL", "axis_of", "element_type", "find_rule", "integers_of", "number_of",
           "outputs_rule", "real", "rule", "text"]  # fmt: skip

MAX_GROWTH = 4
"""Elements of a constant over those that are stored."""

SMALL = 4096
"""Elements that a constant may always have."""

MAX_PARTS = 64

_AT_ONCE, _WORK_AT_ONCE = 2**16, 2**20
"""Elements and multiplications behind a shape or an index that is evaluated while the network is opened."""

Rule = Callable[[Node, "list[Any]"], "Constant | None"]
OutputsRule = Callable[[Node, "list[Any]", int], "Constant | None"]
_RULES: dict[tuple[str, str], Rule] = {}
_OUTPUTS_RULES: dict[tuple[str, str], OutputsRule] = {}


def rule(*ops: str, domains: Sequence[str] = ("",)) -> Callable[[Rule], Rule]:
    """Register a rule of some operators."""

    def register(found: Rule) -> Rule:
        _RULES.update(dict.fromkeys(((domain, op) for domain in domains for op in ops), found))
        return found

    return register


def outputs_rule(op: str) -> Callable[[OutputsRule], OutputsRule]:
    """Register a rule of an operator of ONNX with several outputs: it is also given which of them is meant."""

    def register(found: OutputsRule) -> OutputsRule:
        _OUTPUTS_RULES["", op] = found
        return found

    return register


def find_rule(node: Node, place: int) -> Rule | None:
    """The rule for an output of a node's operator."""
    of_outputs = _OUTPUTS_RULES.get((node.domain, node.op))
    if of_outputs is not None:
        return lambda node, parts: of_outputs(node, parts, place)
    return _RULES.get((node.domain, node.op)) if place == 0 else None


def axis_of(axis: int, part: Constant) -> int:
    """An axis counted from the front; ValueError where there is none."""
    rank = len(part.shape)
    if not -rank <= axis < rank:
        raise ValueError
    return axis % rank


def integers_of(part: Constant | None) -> list[int] | None:
    """A short list of whole numbers that takes little to evaluate."""
    if part is None or part.size > MAX_PARTS or part.peak > _AT_ONCE or part.work > _WORK_AT_ONCE:
        return None
    return [int(n) for n in part.array().reshape(-1)]


def number_of(part: Constant | None) -> Any:
    """The one number that a constant is, as NumPy has it; ValueError where it is none, or takes much to evaluate."""
    if part is None or part.size != 1 or part.peak > _AT_ONCE or part.work > _WORK_AT_ONCE:
        raise ValueError
    return part.array().reshape(-1)[0]


def real(node: Node, name: str, default: float) -> float:
    """A real attribute."""
    attribute = node.attributes().get(name)
    return default if attribute is None else float(attribute.f)


def text(node: Node, name: str, default: str) -> str:
    """An attribute that is a word."""
    attribute = node.attributes().get(name)
    return default if attribute is None else attribute.s.decode("ascii", "replace")


_SAME = (Transposed, Reshaped, Sliced, Gathered, Expanded, Joined, Chosen)


def element_type(constant: Constant) -> int | None:
    """ONNX's element type of a constant, where that is certain."""
    while isinstance(constant, _SAME):
        constant = constant.parts[0]
    if isinstance(constant, Stored | Scattered):
        return constant.tensor.data_type
    if isinstance(constant, Cast):
        return constant.target
    if isinstance(constant, Dequantized) and constant.scale is not None:
        return element_type(constant.scale)
    if isinstance(constant, Literal) and constant.values.dtype == np.int64:
        return int(TensorProto.INT64)
    return None
