"""Words of a vocabulary that an operator hands out and a cast reads as numbers: these may be weights."""

from collections.abc import Iterable

from onnxnnw.flow.nodes import Node

__all__ = ["HANDED_OUT", "words_become_numbers"]

HANDED_OUT = frozenset((("CategoryMapper", "cats_strings"), ("LabelEncoder", "classes_strings")))
"""Vocabularies that are not only looked up in, but answered with."""

_OPERATORS = frozenset(op for op, _ in HANDED_OUT)
_MOVED = frozenset(
    "Identity Reshape Transpose Squeeze Unsqueeze Flatten Concat Gather GatherND GatherElements Slice Split Expand Tile Where "
    "StringConcat StringSplit ScatterND Loop Scan If SequenceConstruct SequenceAt ConcatFromSequence".split()
)


def words_become_numbers(nodes: Iterable[Node]) -> bool:
    """Whether words that operators hand out reach a cast.

    Args:
        nodes: Each after those it depends on.
    """
    texts: set[int] = set()
    for node in nodes:
        if node.op in _OPERATORS and node.domain == "ai.onnx.ml":
            texts.update(node.outputs)
        elif texts and not texts.isdisjoint(node.inputs):
            if node.op == "Cast":
                return True
            if node.op in _MOVED:
                texts.update(node.outputs)
    return False
