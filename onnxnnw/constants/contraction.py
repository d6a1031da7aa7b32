"""Einsum as a matrix product: which of an operand's axes are outputs, which are summed over, which count matrices of a stack."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnxnnw.constants.arrays import Constant
from onnxnnw.constants.moved import Reshaped, Transposed

__all__ = ["Contraction", "contraction_of"]

_MAX_LABELS, _MAX_OPERANDS = 52, 16


@dataclass(frozen=True)
class Contraction:
    """What an equation does with one of its operands.

    Attributes:
        rank: Axes that the operand has.
        batch: Axes that the other operand and the result have too: one matrix for each index.
        out: Axes that only the result has too.
        summed: Axes that only the other operands have too: they are summed over.
    """

    rank: int
    batch: tuple[int, ...]
    out: tuple[int, ...]
    summed: tuple[int, ...]

    @property
    def is_product(self) -> bool:
        """Whether it is a product with a matrix, or a stack of matrices; else it reads element by element."""
        return bool(self.summed)

    def canonical(self, constant: Constant) -> Constant | None:
        """The operand as [out, in], or as [stack, out, in]; None where its rank is another."""
        shape = constant.shape
        if len(shape) != self.rank:
            return None
        order = (*self.batch, *self.out, *self.summed)
        rows, columns = (math.prod(shape[axis] for axis in axes) for axes in (self.out, self.summed))
        stack = (math.prod(shape[axis] for axis in self.batch),) if self.batch else ()
        return Reshaped(Transposed(constant, order), (*stack, rows, columns))


def contraction_of(equation: str, place: int) -> Contraction | None:
    """What an Einsum does with one of its operands, if each of its elements takes part like in a matrix product.

    None for diagonals (an index twice in one operand), for an index that nothing else has (the operand is summed up alone), and
    for axes that an ellipsis stands for [NumPy einsum; ONNX Einsum].

    Args:
        equation: As ONNX has it: ``bi,ij->bj``; without an arrow the result has what stands once, in alphabetic order.
        place: Number of the operand.
    """
    terms, result = _parsed(equation)
    if not 0 <= place < len(terms) <= _MAX_OPERANDS or len(terms) < 2:
        return None
    if any(len(set(term)) < len(term) for term in (*terms, result)):
        return None
    own, others = terms[place], [label for number, term in enumerate(terms) if number != place for label in term]
    if "." in own or not own or any(label not in others and label not in result for label in own):
        return None
    batch = tuple(axis for axis, label in enumerate(own) if label in others and label in result)
    out = tuple(axis for axis, label in enumerate(own) if label not in others)
    summed = tuple(axis for axis, label in enumerate(own) if label not in result)
    if len(terms) > 2:  # another factor may be a weight too: what is summed over with which is not told
        return Contraction(len(own), tuple(range(len(own))), (), ())
    return Contraction(len(own), batch, out, summed)


def _parsed(equation: str) -> tuple[Sequence[str], str]:
    """The terms of the operands and of the result, an ellipsis as one dot; no terms where it is no equation."""
    text = equation.replace(" ", "").replace("...", ".")
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    if (
        not all(label.isascii() and label.isalpha() for label in text if label not in ".,->")
        or len(text) > _MAX_LABELS**2
    ):
        return [], ""
    if any(symbol in result for symbol in ",->") or any(symbol in left for symbol in "->"):
        return [], ""
    if not arrow:
        labels = left.replace(",", "")
        once = sorted(label for label in set(labels) if label != "." and labels.count(label) == 1)
        result = "." * ("." in labels) + "".join(once)
    return terms, result
