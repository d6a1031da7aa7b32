"""Indices from many streams at once: what each stream gives alone, in the time of a few arrays."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxnnw.records.key import BLOCK_BYTES, Key

__all__ = ["indices_of_many"]

Positions = NDArray[np.int64]

_FEW = 16
"""So many streams are drawn from one after the other, which is faster than arrays of them."""

_MOST = 2**22
"""Comparisons of drawn and barred indices that are made at once."""

_LARGEST = np.uint64(2**64 - 1)


def indices_of_many(
    key: Key,
    purpose: str,
    context: bytes,
    counts: Sequence[int],
    below: Sequence[int],
    barred: Sequence[Positions],
) -> list[Positions]:
    """For each number n, ``key.stream(f"{purpose}/{n}", context).indices(counts[n], below[n], barred[n])``.

    Raises:
        CapacityError: There are not so many indices to draw.
    """
    out: list[Positions] = [_NONE] * len(counts)
    alike: dict[int, list[int]] = {}
    for number, count in enumerate(counts):
        if count:
            alike.setdefault(count, []).append(number)
    for count, numbers in alike.items():
        words = count + count // 4 + 16  # as many as one stream is asked for first
        left = numbers
        width = max(barred[number].size for number in numbers)
        if len(numbers) > _FEW and words * 8 <= BLOCK_BYTES and len(numbers) * count * max(width, count) <= _MOST * 8:
            seeds = (key.stream(f"{purpose}/{number}", context).seed + bytes(8) for number in numbers)
            drawn = np.frombuffer(b"".join([hashlib.shake_256(seed).digest(count * 8) for seed in seeds]), "<u8")
            first, certain = _first(
                drawn.reshape(-1, count),
                np.array([below[number] for number in numbers], np.uint64),
                _padded([barred[number] for number in numbers], width),
            )
            for row, number in enumerate(numbers):
                out[number] = first[row]
            left = [numbers[row] for row in np.flatnonzero(~certain).tolist()]
        for number in left:
            stream = key.stream(f"{purpose}/{number}", context)
            out[number] = stream.indices(count, below[number], barred[number].tolist())
    return out


_NONE = np.empty(0, np.int64)


def _padded(barred: Sequence[Positions], width: int) -> Positions:
    """One row for each, -1 behind its end."""
    sizes = np.array([each.size for each in barred], np.int64)
    out = np.full((len(barred), width), -1, np.int64)
    out[np.arange(width) < sizes[:, None]] = np.concatenate([*barred, _NONE])
    return out


def _first(
    words: NDArray[np.uint64], below: NDArray[np.uint64], barred: Positions
) -> tuple[Positions, NDArray[np.bool_]]:
    """The first words of each stream as indices, and whether all of them are taken: none rejected, repeated, or barred."""
    beyond = (_LARGEST % below + np.uint64(1)) % below  # 2**64 mod below
    indices = (words % below[:, None]).astype(np.int64)
    taken = (words <= (_LARGEST - beyond)[:, None]).all(1)
    ascending = np.sort(indices, axis=1)
    taken &= (np.diff(ascending, axis=1) != 0).all(1)
    for start in range(0, barred.shape[1], 8):  # a piece at a time: no array of all comparisons
        taken &= (indices[:, :, None] != barred[:, None, start : start + 8]).all((1, 2))
    return indices, taken
