"""Tables that follow a formula to 1e-3 of what neighbours differ by: masks, coordinate grids, windows, RoPE caches.

Every element is held against the formula, not a sample, and by what is around it: a large value far away swallows nothing.
"""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.constants.arrays import Constant

__all__ = ["FormulaCheck", "is_computed"]

_TOLERANCE = 1e-3
"""Of the range of a value and the two before it: angles of 32 bits are rounded by so much at the end of a RoPE cache."""

_ROUNDINGS = 8
"""Roundings of a value in its own precision that are allowed besides."""

_MASKED = 1e30
"""Beyond it there is only "never": infinity, and the largest numbers of a format."""

_MAX_ELEMENTS = 2**25
_MIN_LINE = 16
_FITTED = 2**12
"""Places of a line that its formula is fitted to; it is held against all."""
_BLOCK = 2**14
Floats = NDArray[np.float64]


class FormulaCheck:
    """``is_computed`` for the tables of one file, which may have very many.

    Args:
        room: Elements that are looked at together; of a table beyond, nothing is said for it.
    """

    def __init__(self, room: int) -> None:
        self._room = room

    def holds(self, constant: Constant) -> bool:
        """Whether a table follows a formula, as far as there is room to look."""
        if constant.size > self._room:
            return False
        self._room -= constant.size
        return is_computed(constant)


def is_computed(constant: Constant) -> bool:
    """Whether all values follow a formula: constant, one that depends on one axis only, a band, or a wave along each line."""
    if not 0 < constant.size <= _MAX_ELEMENTS:
        return False
    values = np.asarray(constant.array())
    if values.dtype.kind not in "fiub":
        return False
    if (values == values.reshape(-1)[0]).all():  # most are, and this takes a twentieth of what follows
        return True
    array = values.astype(np.float64).reshape([n for n in values.shape if n > 1] or [1])
    with np.errstate(all="ignore"):
        beyond = ~(np.abs(array) <= _MASKED)
        if beyond.any():
            if np.unique(np.nan_to_num(np.abs(array[beyond]), nan=0.0)).size > 2:  # numbers, not masks
                return False
            array = np.clip(np.nan_to_num(array, nan=0.0), -_MASKED, _MASKED)
        return _follows(array)


def _follows(array: Floats) -> bool:
    if array.size <= 1 or (array == array.reshape(-1)[0]).all():
        return True
    while array.ndim > 2:  # the same again and again along the first axis
        if not (array == array[:1]).all():
            return False
        array = array[0]
    if array.ndim == 1:
        return _is_step(array) or bool(_is_wave(array[None]))
    for turned in (array, array.T):
        if (turned == turned[:1]).all():
            return _follows(turned[0])
    return _is_band(array) or _is_wave(array) or _is_wave(array.T)


def _is_step(line: Floats) -> bool:
    """At most four stretches of one value each."""
    return int((np.diff(line) != 0).sum()) <= 3


def _is_band(array: Floats) -> bool:
    """The same along every diagonal, and a step function across: causal and windowed masks."""
    if not (array[1:, 1:] == array[:-1, :-1]).all():
        return False
    return _is_step(np.concatenate([array[::-1, 0], array[0, 1:]]))


def _is_wave(lines: Floats) -> bool:
    """Whether each line follows a x[i-1] + b x[i-2] + c: straight lines, waves, powers."""
    if lines.shape[1] < _MIN_LINE:
        return False
    rounding = _ROUNDINGS * _precision(lines)
    return all((values == values[0]).all() or _line_is_wave(values, rounding) for values in lines)


def _line_is_wave(values: Floats, rounding: float) -> bool:
    fitted = np.linspace(0, values.size - 3, min(values.size - 2, _FITTED)).astype(np.int64)
    one = np.full(fitted.size, np.abs(values).max())
    known = np.stack([values[fitted + 1], values[fitted], one], 1)
    solution = np.linalg.lstsq(known, values[fitted + 2], rcond=1e-12)[0]
    for start in range(0, values.size - 2, _BLOCK):  # what is held at once stays near the processor
        block = values[start : start + _BLOCK + 2]
        first, second, third = block[:-2], block[1:-1], block[2:]
        off = np.abs(solution[0] * second + solution[1] * first + solution[2] * one[0] - third)
        highest = np.maximum(np.maximum(first, second), third)
        lowest = np.minimum(np.minimum(first, second), third)
        if not (off <= _TOLERANCE * (highest - lowest) + rounding * np.maximum(highest, -lowest)).all():
            return False
    return True


def _precision(values: Floats) -> float:
    """By how much, relatively, the narrowest format of real numbers rounds that holds all of these values."""
    single = values.astype(np.float32)
    if not (single == values).all():
        return float(np.finfo(np.float64).eps)
    if not (single.view(np.uint32) & 0xFFFF).any():
        return 2.0**-7
    return float(np.finfo(np.float16 if (single.astype(np.float16) == single).all() else np.float32).eps)
