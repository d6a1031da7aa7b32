"""Rows and channels of two balanced weights in each other's order: first guesses, then columns by rows and rows by columns.

W is about D P W' Q E, with diagonal D, E of signs. Given the channels, the rows follow by one assignment on inner products, and the
other way round; what is needed is a beginning. It comes from orders that are likely (the same, one that was found elsewhere),
and from signatures that no order of channels changes. Where signs were flipped, signatures of magnitudes begin, and the leading
singular vectors of the products tell the signs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from onnxnnw.alignment.assignment import assign
from onnxnnw.alignment.balance import Cube
from onnxnnw.alignment.signatures import signatures

__all__ = ["GOOD", "Order", "Start", "find_order", "improved", "same_order", "score_of"]

Positions = NDArray[np.int64]
Signs = NDArray[np.float32]

GOOD = 0.9
"""From this score on no further beginning is tried."""

_SURE = 0.995
"""From this score on nothing is left to improve."""

_FAR = 0.3
"""Where no likely beginning comes so far, signs are the next guess: they make every row and channel a stranger to itself."""

_PLAIN = 0.8
_ALREADY = 0.5
_TRIED_LATER = 16
"""From so many channels on, that they stand where they stood is tried after the signatures: it is rarely so here."""

_ROUNDS, _GAIN, _SIGN_GAIN = 12, 1e-4, 2e-3
_HOPELESS, _SLOW = 0.6, 0.02
"""Below such a score a round that gains so little is the last: what corresponds is found at a stride."""

_CLEAR = 0.5
"""Cosine over the median one from which on a row or channel says its sign: dead channels, noise in any unit, have none."""

_TERMS, _SCORED = 1024, 2**18
"""Numbers in an inner product, and values on which a score is measured: more say no more."""

_FULL = 2**26
"""Multiplications up to which all numbers are used."""


@dataclass(frozen=True)
class Start:
    """An initial guess: for each reference row or channel the candidate's; None for what is not known."""

    rows: Positions | None = None
    channels: Positions | None = None


@dataclass(frozen=True)
class Order:
    """For each reference row and channel the candidate's, -1 for none, and its sign.

    Attributes:
        score: Cosine of what was matched.
        clear: Whether no stranger agrees so well (``clearness.py``), where that was asked.
    """

    rows: Positions
    channels: Positions
    row_signs: Signs
    channel_signs: Signs
    score: float
    clear: bool = False


def same_order(ours: Cube, theirs: Cube) -> Order | None:
    """The identity order with its score; None where the shapes differ or little agrees."""
    if ours.shape != theirs.shape:
        return None
    rows, channels, _ = ours.shape
    order = _order(ours, theirs, np.arange(rows), np.arange(channels), None, None)
    return order if order.score > _ALREADY else None


def find_order(ours: Cube, theirs: Cube, starts: Sequence[Start] = ()) -> Order:
    """The order of the candidate's rows and channels in which it agrees best with the reference."""
    found = same_order(ours, theirs)
    best, tried = (found, []) if found is not None and found.score > GOOD else (None, list[Order]())
    if best is None:
        best = _good(ours, theirs, _likely_starts(ours, theirs, starts, found), tried)
    if best is None and max((order.score for order in tried), default=0.0) < _FAR:
        turned = _turned(ours, theirs, _by_rows(*_both_magnitudes(ours, theirs)))
        if turned.score > GOOD:
            return turned
    if best is None:
        best = _good(ours, theirs, _other_starts(ours, theirs), tried) or _followed(ours, theirs, tried)
    if best.score > _SURE:
        return best
    best = _with_clear_signs(ours, theirs, improved(ours, theirs, best, signed=True))
    if best.score >= _PLAIN:
        return best
    one, other = _both_magnitudes(ours, theirs)
    tried = []
    guess = _good(one, other, chain(_likely_starts(one, other, (), None), _other_starts(one, other)), tried)
    turned = _turned(ours, theirs, guess or _followed(one, other, tried))
    return turned if turned.score > best.score else best


def _turned(ours: Cube, theirs: Cube, guess: Order) -> Order:
    """An order in which magnitudes agree, with the signs that its products tell, followed to its end."""
    order = _order(ours, theirs, guess.rows, guess.channels, *_signs_of(ours, theirs, guess))
    if order.score <= _SURE:
        order = improved(ours, theirs, order, signed=True)
    return _with_clear_signs(ours, theirs, order)


def _with_clear_signs(ours: Cube, theirs: Cube, order: Order) -> Order:
    """The same order; of rows and channels that hardly agree, dead ones as a rule, nobody can tell the sign."""
    if (order.row_signs > 0).all() and (order.channel_signs > 0).all():
        return order
    known, there = np.flatnonzero(order.rows >= 0), np.flatnonzero(order.channels >= 0)
    if not known.size or not there.size:
        return order
    one, other = ours[known][:, there], theirs[order.rows[known]][:, order.channels[there]]
    rows, channels = order.row_signs.copy(), order.channel_signs.copy()
    channels[there] = _signs_told((one * rows[known, None, None]).transpose(1, 0, 2), other.transpose(1, 0, 2))
    rows[known] = _signs_told(one * channels[None, there, None], other)
    return replace(order, row_signs=rows, channel_signs=channels)


def _signs_told(ours: Cube, theirs: Cube) -> Signs:
    """The sign of each line's inner product; positive where its cosine is far below that of most lines."""
    one, other = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    with np.errstate(all="ignore"):
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = np.nan_to_num(np.einsum("ij,ij->i", one, other) / norms)
    return np.where(cosines < -_CLEAR * np.median(np.abs(cosines)), -1, 1).astype(np.float32)


def improved(ours: Cube, theirs: Cube, order: Order, signed: bool = False, rounds: int = _ROUNDS) -> Order:
    """Match channels given rows and rows given channels in turn until the score stops rising.

    Args:
        ours, theirs: Balanced weights.
        order: Where to begin.
        signed: Whether every row and channel may have its own sign.
        rounds: At most so many.
    """
    best = order
    for _ in range(rounds):
        channels, channel_signs = _channels_by_rows(ours, theirs, best.rows, best.row_signs, signed)
        rows, row_signs = _rows_by_channels(ours, theirs, channels, channel_signs, signed)
        found = _order(ours, theirs, rows, channels, row_signs, channel_signs)
        if found.score <= best.score + (_SIGN_GAIN if signed and best is order else _GAIN):
            break
        slow = found.score < min(_HOPELESS, best.score + _SLOW)
        best = found
        if slow:
            break
    return best


def _likely_starts(ours: Cube, theirs: Cube, starts: Sequence[Start], found: Order | None) -> Iterator[Start]:
    """Where to begin, likeliest first; the later ones are computed only where they are needed."""
    if found is not None:
        yield Start(found.rows, found.channels)
    yield from starts
    if ours.shape[1] == theirs.shape[1] < _TRIED_LATER:
        yield Start(channels=np.arange(ours.shape[1]))
    if min(ours.shape[1], theirs.shape[1]) > 1:
        yield Start(rows=assign(*signatures(ours, theirs)))


def _other_starts(ours: Cube, theirs: Cube) -> Iterator[Start]:
    """Where else to begin."""
    if min(ours.shape[1], theirs.shape[1]) > 1:
        yield Start(channels=assign(*signatures(ours.transpose(1, 0, 2), theirs.transpose(1, 0, 2))))
    if ours.shape[1] == theirs.shape[1] >= _TRIED_LATER:
        yield Start(channels=np.arange(ours.shape[1]))
    if ours.shape[0] == theirs.shape[0]:
        yield Start(rows=np.arange(ours.shape[0]))


def _by_rows(ours: Cube, theirs: Cube) -> Order:
    """One round from the signatures of rows."""
    return _begun(ours, theirs, Start(rows=assign(*signatures(ours, theirs))))


def _good(ours: Cube, theirs: Cube, starts: Iterator[Start], tried: list[Order]) -> Order | None:
    """One round from each beginning until one is good; those that are not are added to what was tried."""
    for start in starts:
        order = _begun(ours, theirs, start)
        if order.score > _SURE:
            return order
        if order.score > _ALREADY:
            order = improved(ours, theirs, order)
        if order.score > GOOD:
            return order
        tried.append(order)
    return None


def _followed(ours: Cube, theirs: Cube, tried: Sequence[Order]) -> Order:
    """The best of what the two best became at their ends."""
    likeliest = sorted(tried, key=lambda order: -order.score)[:2]
    return max((improved(ours, theirs, order) for order in likeliest), key=lambda order: order.score)


def _begun(ours: Cube, theirs: Cube, start: Start) -> Order:
    rows, channels = start.rows, start.channels
    if channels is None:
        assert rows is not None
        channels, _ = _channels_by_rows(ours, theirs, rows, None, False)
    if rows is None or start.channels is None:
        rows, _ = _rows_by_channels(ours, theirs, channels, None, False)
    if start.rows is None and ours.shape[1] > 1:
        channels, _ = _channels_by_rows(ours, theirs, rows, None, False)
    return _order(ours, theirs, rows, channels, None, None)


def _rows_by_channels(
    ours: Cube, theirs: Cube, channels: Positions, signs: Signs | None, signed: bool
) -> tuple[Positions, Signs]:
    """The best rows where the channels are known."""
    return _channels_by_rows(ours.transpose(1, 0, 2), theirs.transpose(1, 0, 2), channels, signs, signed)


def _channels_by_rows(
    ours: Cube, theirs: Cube, rows: Positions, signs: Signs | None, signed: bool
) -> tuple[Positions, Signs]:
    """The best channels where the rows are known, on as many of these as tell them apart."""
    known = np.flatnonzero(rows >= 0)
    if not known.size:
        return np.full(ours.shape[1], -1, np.int64), np.ones(ours.shape[1], np.float32)
    taps = ours.shape[2]
    if known.size * taps * ours.shape[1] * theirs.shape[1] > _FULL and known.size * taps > _TERMS:
        known = known[np.linspace(0, known.size - 1, max(1, _TERMS // taps)).astype(np.int64)]
    mine = ours[known] if signs is None else ours[known] * signs[known, None, None]
    left = np.ascontiguousarray(mine.transpose(1, 0, 2)).reshape(ours.shape[1], -1)
    right = np.ascontiguousarray(theirs[rows[known]].transpose(1, 0, 2)).reshape(theirs.shape[1], -1)
    found = assign(left, right, either_sign=signed)
    out = np.ones(len(found), np.float32)
    there = found >= 0
    if signed and there.any():
        out[there] = _signs_told(left[there], right[found[there]])
    return found, out


def _order(
    ours: Cube, theirs: Cube, rows: Positions, channels: Positions, row_signs: Signs | None, channel_signs: Signs | None
) -> Order:
    row_signs = np.ones(len(rows), np.float32) if row_signs is None else row_signs
    channel_signs = np.ones(len(channels), np.float32) if channel_signs is None else channel_signs
    order = Order(rows, channels, row_signs, channel_signs, 0.0)
    return replace(order, score=score_of(ours, theirs, order))


def score_of(ours: Cube, theirs: Cube, order: Order) -> float:
    """Cosine of the values that an order matches, on rows at even distances."""
    rows, channels, row_signs, channel_signs = order.rows, order.channels, order.row_signs, order.channel_signs
    known, there = np.flatnonzero(rows >= 0), np.flatnonzero(channels >= 0)
    if not known.size or not there.size:
        return 0.0
    most = max(16, _SCORED // (there.size * ours.shape[2]))
    if known.size > most:
        known = known[np.linspace(0, known.size - 1, most).astype(np.int64)]
    one = ours[known] if there.size == ours.shape[1] else ours[known][:, there]
    other = theirs[rows[known][:, None], channels[there]]
    other = other * row_signs[known, None, None] * channel_signs[None, there, None]
    product = np.einsum("ijt,ijt->", one, other, dtype=np.float64)
    norms = np.einsum("ijt,ijt->", one, one, dtype=np.float64) * np.einsum("ijt,ijt->", other, other, dtype=np.float64)
    return float(product / np.sqrt(norms)) if norms > 0 else 0.0


def _both_magnitudes(ours: Cube, theirs: Cube) -> tuple[Cube, Cube]:
    return _magnitudes(ours), _magnitudes(theirs)


def _magnitudes(cube: Cube) -> Cube:
    out: Cube = np.abs(cube)
    out -= out.mean(dtype=np.float32)
    return out


def _signs_of(ours: Cube, theirs: Cube, order: Order) -> tuple[Signs, Signs]:
    """Signs of rows and channels whose products are all positive: the leading singular vectors, by power iteration."""
    products = np.zeros(ours.shape[:2], np.float32)
    known, there = np.flatnonzero(order.rows >= 0), np.flatnonzero(order.channels >= 0)
    if known.size and there.size:
        found = theirs[order.rows[known][:, None], order.channels[there]]
        products[np.ix_(known, there)] = np.einsum("ijt,ijt->ij", ours[np.ix_(known, there)], found)
    across = products[int(np.einsum("ij,ij->i", products, products).argmax())]
    down = np.einsum("ij,j->i", products, across)
    for _ in range(_ROUNDS):
        across = np.einsum("i,ij->j", down, products)
        across = across / max(float(np.abs(across).max()), 1e-30)
        down = np.einsum("ij,j->i", products, across)
        down = down / max(float(np.abs(down).max()), 1e-30)
    return np.where(down < 0, -1, 1).astype(np.float32), np.where(across < 0, -1, 1).astype(np.float32)
