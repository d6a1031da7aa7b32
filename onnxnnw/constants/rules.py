"""Constant folding, one rule per operator.

A tool that leaves a constant subgraph behind is undone by the rules of its operators.
"""

from typing import Any

from onnxnnw.constants import arithmetic_rules, place_rules, quantisation_rules, structure_rules
from onnxnnw.constants.arrays import Constant
from onnxnnw.constants.rulebook import MAX_GROWTH, SMALL, find_rule
from onnxnnw.flow.nodes import Node

__all__ = ["MAX_GROWTH", "SMALL", "apply_rule"]

_MODULES = (arithmetic_rules, place_rules, quantisation_rules, structure_rules)
"""Where rules stand; each registers its own."""


def apply_rule(node: Node, parts: list[Any], place: int) -> Constant | None:
    """What a node makes of constants.

    Args:
        parts: One Constant or None (not given) per input; the first is given.
        place: Which of its outputs.

    Raises:
        ValueError, LookupError, TypeError, ArithmeticError: The node contradicts itself; so it has no constant.

    Returns:
        None where no rule is known.
    """
    rule = find_rule(node, place)
    return rule(node, parts) if rule is not None else None
